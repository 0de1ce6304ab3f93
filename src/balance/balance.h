/*
 * Where does this request go?  An algorithm picks an index of a target set; the balancer around it keeps the counts and
 * skips what may not be picked. It never knows who the client is: it sees a key, the targets tried already and the
 * permits left.
 *
 *      balancer (one an upstream and worker) = target_set + algorithm's table
 *      pick -> index -> attempt -> done(err, latency)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balance/target.h"
#include "base/err.h"
#include "base/rng.h"

enum { TRIED_MAX = 8 };

/* Targets that this exchange's earlier attempts used, by identity, so that it outlives a change of the set. */
struct tried {
    const struct target *v[TRIED_MAX];
    uint8_t count;
};

/* How many more requests a target may take at once; NULL table: no limits. */
struct permits {
    uint32_t per_target_max; /* 0: none */
};

struct pick {
    uint64_t key;                  /* of consistent algorithms; 0 otherwise */
    const struct tried *tried;     /* may be NULL */
    const struct permits *permits; /* may be NULL */
    struct rng *rng;
};

enum { PICK_NONE = -1 };

struct algorithm {
    const char *name; /* the configuration's word */
    const char *doc;
    /* Builds what pick needs from a set (which outlives it). `worker` staggers workers' starting points. NULL without
     * memory. */
    void *(*build)(const struct target_set *set, unsigned worker);
    /* An index, or PICK_NONE. Must skip whatever pick_allowed refuses; takes no lock, allocates nothing. */
    int (*pick)(void *table, const struct target_set *set, const struct pick *pick);
    /* The attempt on that index ended; may be NULL. err is ERR_NONE when it was answered. */
    void (*done)(void *table, uint32_t index, enum err err, uint32_t latency_us);
    void (*free)(void *table);
};

/* The registry: balance/algorithms/; ended by NULL. */
extern const struct algorithm *const algorithms[];
const struct algorithm *algorithm_find(const char *name);

/* Weight above 0, up, not tried, a permit left. */
static inline bool pick_allowed(const struct pick *pick, const struct target_slot *slot)
{
    if (slot->weight == 0 || atomic_load_explicit(&slot->target->health, memory_order_relaxed) != TARGET_UP)
        return false;
    if (pick->tried)
        for (unsigned i = 0; i < pick->tried->count; i++)
            if (pick->tried->v[i] == slot->target)
                return false;
    if (pick->permits && pick->permits->per_target_max &&
        atomic_load_explicit(&slot->target->in_flight, memory_order_relaxed) >= pick->permits->per_target_max)
        return false;
    return true;
}

struct target_place;

/* One an upstream and worker, touched by that worker alone. `permits` may be set after balancer_init and at any time
 * later. */
struct balancer {
    const struct algorithm *algorithm;
    struct target_set *set;
    void *table;
    struct target_place *places; /* target -> index, only for an algorithm that has `done` */
    struct permits permits;
    struct rng rng;
    unsigned worker;
};

/* A reference of the set is taken. 0 or -ERR_MEMORY. */
MUST_USE int balancer_init(struct balancer *b, const struct algorithm *algorithm, struct target_set *set,
                           unsigned worker);
/* Swaps the set (a reference is taken); the old one keeps serving when there is no memory: -ERR_MEMORY. */
MUST_USE int balancer_update(struct balancer *b, struct target_set *set);
void balancer_done(struct balancer *b);

/* 0 and the target (a reference and an in-flight count are taken), -ERR_NO_TARGET, or -ERR_UPSTREAM_FULL when only
 * permits were missing. When all allowed targets have been tried already, tried ones are allowed again if `retry_same`
 * is set. */
MUST_USE int balancer_pick(struct balancer *b, uint64_t key, const struct tried *tried, bool retry_same,
                           struct target **ret_target);
/* Ends what pick began, and is right after a change of the set too. */
void balancer_finish(struct balancer *b, struct target *target, enum err err, uint32_t latency_us);

static inline void tried_add(struct tried *tried, const struct target *target)
{
    if (tried->count < TRIED_MAX)
        tried->v[tried->count++] = target;
}
