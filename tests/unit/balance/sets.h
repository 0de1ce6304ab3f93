/*
 * Sets of targets for the balancer's tests: target i is 10.0.x.y:80 and called "a", "b", ... or by its number.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balance/algorithms/algorithms.h"
#include "base/assert.h"
#include "base/sys.h"

static inline struct target *target_numbered(unsigned i)
{
    struct address address = { .family = AF_INET, .port = 80, .ip = { 10, 0, (uint8_t)(i >> 8), (uint8_t)i } };
    char name[16];
    if (i < 26)
        (void)snprintf(name, sizeof name, "%c", 'a' + i);
    else
        (void)snprintf(name, sizeof name, "%u", i);
    struct target *target = target_get("test", &address, name);
    assert_non_null(target);
    return target;
}

/* weights NULL: all 1. */
static inline struct target_set *set_of(const uint16_t *weights, uint32_t count)
{
    struct target_slot *slots = mem_must((count + 1) * sizeof *slots);
    for (uint32_t i = 0; i < count; i++)
        slots[i] = (struct target_slot){ .target = target_numbered(i), .weight = weights ? weights[i] : 1 };
    struct target_set *set = target_set_new(slots, count);
    assert_non_null(set);
    mem_free(slots);
    return set;
}

static inline void set_health(const struct target_set *set, uint32_t index, enum target_health health)
{
    atomic_store(&set->slots[index].target->health, health);
}

static inline void balancer_over(struct balancer *b, const struct algorithm *algorithm, const uint16_t *weights,
                                 uint32_t count, unsigned worker)
{
    struct target_set *set = set_of(weights, count);
    assert_int_equal(balancer_init(b, algorithm, set, worker), 0);
    target_set_drop(set);
}

/* Picks and finishes at once; NULL when there is none. */
static inline struct target *pick_one(struct balancer *b, const struct tried *tried)
{
    struct target *target = NULL;
    if (balancer_pick(b, 0, tried, false, &target) != 0)
        return NULL;
    balancer_finish(b, target, ERR_NONE, 0);
    return target;
}

/* The names of the next picks in a row, one letter each, '-' for none. */
static inline const char *picks(struct balancer *b, unsigned count)
{
    static char text[128];
    assert_true(count < sizeof text);
    for (unsigned i = 0; i < count; i++) {
        const struct target *target = pick_one(b, NULL);
        text[i] = target ? target->name[0] : '-';
    }
    text[count] = '\0';
    return text;
}

/* How often each index comes in so many picks. The caller frees. */
static inline uint32_t *tally(struct balancer *b, uint32_t count)
{
    uint32_t *times = mem_must(b->set->count * sizeof *times);
    for (uint32_t n = 0; n < count; n++) {
        struct target *target = pick_one(b, NULL);
        assert_non_null(target);
        unsigned index = target->address.ip[2] * 256u + target->address.ip[3];
        assert_true(index < b->set->count);
        times[index]++;
    }
    return times;
}
