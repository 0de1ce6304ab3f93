/*
 * Earliest deadline first: weighted turns among many at O(log n) each.
 *
 * An entry of weight w is due every SCALE / w units of virtual time, first after half of that, which spreads the
 * entries and makes each come exactly w times in any period.  Deadlines wrap around and are compared by their
 * difference.
 */
#pragma once

#include <stdint.h>

struct edf_entry {
    uint64_t deadline, stride;
    uint32_t index; /* the user's */
};

/* entries[0] is due first. Built by its user: fill with edf_add, then edf_heapify. */
struct edf {
    uint32_t count;
    struct edf_entry entries[];
};

/* A stride is exact to a part in 10^9, and a million periods fit in the 63 bits of a difference. */
enum { EDF_SCALE_BITS = 40 };

void edf_add(struct edf *edf, uint32_t index, uint16_t weight);
void edf_heapify(struct edf *edf);
/* The first has had its turn, or let it pass. */
void edf_advance(struct edf *edf);
/* a is due before b; among equals, the lower index. */
static inline int edf_before(const struct edf_entry *a, const struct edf_entry *b)
{
    return a->deadline == b->deadline ? a->index < b->index : (int64_t)(a->deadline - b->deadline) < 0;
}
