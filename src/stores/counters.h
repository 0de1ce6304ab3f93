/*
 * Counters by key, in memory that is taken once: what limits count in, exact over all workers.
 *
 *      key (64 bits of SipHash) -> one set of 7 slots, each a tag and its words
 *
 * A key's words are changed by a `step`, a pure function that is given them (four zeros or more for a key that is not
 * there) and leaves what they shall be.  words[0] says until when they mean anything, on whatever clock the caller
 * counts with: a slot whose words[0] is not in the future is free for the taking, and when all seven are in use the
 * one that would be over soonest gives way (EVICTED).  So a key that is far over its limit outlasts a flood of new
 * ones.  A step is never given a state that another worker changes meanwhile.
 *
 * With one word a key, a decision is one compare-and-swap on the slot, and `step` may be called again when another
 * worker was first; a new key, and any key with more words, takes its set's lock for some tens of nanoseconds.  These
 * are the only locks, one for each 7 keys; nothing is done under them but the step.
 *
 * Owned by whoever made it; any thread may update.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct counters;

enum { COUNTERS_WAYS = 7, COUNTERS_FRESH_WORDS = 4 };

struct counters_shape {
    uint32_t keys;  /* that shall find room together, nearly always (98 in 100 sets of slots at the least) */
    uint32_t words; /* a key: 1, or 4 and more */
    bool keep_live; /* a key that is in use never gives way: a new one finds no room (FULL) */
};

enum counters_result {
    COUNTERS_DONE,
    COUNTERS_EVICTED, /* done, and another key's count was lost for it */
    COUNTERS_FULL,    /* keep_live: the step was tried on zeros, and what it said is kept nowhere */
};

/* Bytes that it takes. */
uint64_t counters_bytes(const struct counters_shape *shape);
/* NULL without memory. */
struct counters *counters_new(const struct counters_shape *shape);
void counters_free(struct counters *counters);

typedef void counters_step(uint64_t *words, void *ctx);
/* `make`: a key that is not there gets a slot, unless the step leaves words[0] at zero; otherwise the step runs on
 * zeros and nothing is kept (more than the fresh words must not be looked at then). */
enum counters_result counters_update(struct counters *counters, uint64_t key, uint64_t now, bool make,
                                     counters_step *step, void *ctx);
