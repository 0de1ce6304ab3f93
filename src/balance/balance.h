/*
 * Where does this request go?  An algorithm picks an index of a group of targets; the balancer around it keeps the
 * counts and skips what may not be picked. It never knows who the client is: it sees a key, a session's mark, the
 * targets tried already and the permits left.
 *
 *      balancer (one an upstream and worker)
 *          sticky session?    its target, if that is well
 *          spread             which group: priority, zone, panic            spread.h
 *          algorithm          which target of the group                     algorithms/
 *          share              may it yet? slow start, a closing breaker     share.h
 *      pick -> target -> try -> balancer_judge (answered, failed) -> balancer_finish
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balance/conf.h"
#include "balance/set.h"
#include "balance/spread.h"
#include "base/err.h"
#include "base/rng.h"

enum { TRIED_MAX = 8 };

/* Targets that this exchange's earlier attempts used, by identity, so that it outlives a change of the set. */
struct tried {
    const struct target *v[TRIED_MAX];
    uint8_t count;
};

/* What an algorithm may look at. */
struct pick {
    uint64_t key;              /* of consistent algorithms; evenly spread over all 64 bits */
    const struct tried *tried; /* may be NULL */
    struct tried passed;       /* picked a moment ago and refused: for want of a permit or a share */
    uint32_t per_target_max;   /* requests that a target may have in flight, unless its slot says so; 0: any number */
    bool called;               /* it has waited for its turn: lines at targets are not for it */
    bool past_limits;          /* permits do not count: it is only asked for whom there would be one */
    unsigned ignored;          /* bars that do not count: there is a panic */
    uint32_t ready;            /* weight of the group's targets that may be picked, when all were looked at last */
    uint64_t now_ns;           /* of the loop */
    struct rng *rng;
};

enum { PICK_NONE = -1 };

/* How a try went, as far as a target can be blamed or praised for it. */
struct outcome {
    enum err err;    /* ERR_NONE: there was an answer */
    uint16_t status; /* the answer's, gRPC's translated to HTTP's; 0: none */
    uint64_t started_ns, now_ns;
    bool again; /* its head was judged before; now its body broke */
};

struct algorithm {
    const char *name; /* the configuration's word */
    const char *doc;
    /* Builds what pick needs from a group (which outlives it) and its settings (which too). `worker` staggers workers'
     * starting points. NULL without memory. */
    void *(*build)(const struct target_group *group, const struct balance_conf *conf, unsigned worker);
    /* An index in the group, or PICK_NONE. Must skip whatever pick_allowed refuses; takes no lock, allocates nothing.
     */
    int (*pick)(void *table, const struct target_group *group, const struct pick *pick);
    void (*free)(void *table);
    /* Of the target that was taken in the end, and of the same when its try is over; what they keep is in the target,
     * as a set may change in between. `waiting_since_ns` is 0 when the try has been answered. May be NULL. */
    void (*taken)(struct target *target, uint64_t now_ns);
    void (*over)(struct target *target, uint64_t waiting_since_ns, uint64_t now_ns);
    /* The try was answered or failed (never: cancelled by us or the client). May be NULL. */
    void (*judged)(struct target *target, const struct outcome *outcome);
    bool counts_total; /* cluster->in_flight is kept */
    bool keyed;        /* pick.key counts */
};

/* The registry: balance/algorithms/; ended by NULL. */
extern const struct algorithm *const algorithms[];
const struct algorithm *algorithm_find(const char *name);
const struct algorithm *algorithm_of(const struct balance_conf *conf); /* the one that the settings mean */

static inline uint32_t slot_requests_max(const struct target_slot *slot, uint32_t per_target_max)
{
    return slot->requests_max ? slot->requests_max : per_target_max;
}

/* A target for which sessions wait has no permit for newcomers: the next that comes free is theirs. */
static inline bool pick_has_permit(const struct pick *pick, const struct target_slot *slot)
{
    uint32_t max = slot_requests_max(slot, pick->per_target_max);
    if (max == 0 || pick->past_limits)
        return true;
    return atomic_load_explicit(&slot->target->in_flight, memory_order_seq_cst) < max &&
           (pick->called || !queue_line_has_waiters(&slot->target->line));
}

/* Weight above 0, nothing bars it, not tried, not passed by, a permit left. */
static inline bool pick_allowed(const struct pick *pick, const struct target_slot *slot)
{
    const struct target *target = slot->target;
    if (slot->weight == 0 || (target_barred(target) & ~pick->ignored))
        return false;
    if (pick->tried)
        for (unsigned i = 0; i < pick->tried->count; i++)
            if (pick->tried->v[i] == target)
                return false;
    for (unsigned i = 0; i < pick->passed.count; i++)
        if (pick->passed.v[i] == target)
            return false;
    return pick_has_permit(pick, slot);
}

/* One an upstream and worker, touched by that worker alone. `per_target_max` may be set after balancer_init and at any
 * time later; `requests_max` and `queues` before the first pick. */
struct balancer {
    const struct algorithm *algorithm;
    const struct balance_conf *conf;
    struct cluster *cluster; /* a reference */
    struct target_set *set;
    void **tables; /* one a group */
    struct spread spread;
    uint32_t per_target_max;      /* 0: none */
    uint32_t requests_max;        /* of the upstream as a whole; 0: none */
    bool queues;                  /* who finds no permit may wait: given back, one calls the next */
    enum limit lacked;            /* why the last pick said ERR_UPSTREAM_FULL */
    struct target *lacked_target; /* borrowed: the session's, which alone was asked for; NULL: any would have done */
    struct rng rng;
    unsigned worker;
    uint64_t looked_ns; /* when all targets were looked at last */
    uint64_t trial_ns;  /* when a breaker's open time is over, and its target may be picked again; 0: none is open */
};

/* What one request wants. */
struct wish {
    uint64_t key;
    uint64_t sticky;           /* of its session; 0: none */
    const struct tried *tried; /* may be NULL */
    bool retry_same;           /* when all allowed targets have been tried, tried ones are allowed again */
    bool waits;                /* for its session's target when that is full, rather than go to another */
    bool called;               /* it has waited, and this is its turn */
    uint64_t now_ns;           /* the loop's */
};

/* References of the set and the cluster are taken; `conf` outlives it. 0 or -ERR_MEMORY. */
MUST_USE int balancer_init(struct balancer *b, const struct algorithm *algorithm, const struct balance_conf *conf,
                           struct cluster *cluster, struct target_set *set, unsigned worker);
/* Swaps the set (a reference is taken); the old one keeps serving when there is no memory: -ERR_MEMORY. */
MUST_USE int balancer_update(struct balancer *b, struct target_set *set);
void balancer_done(struct balancer *b);

/* 0 and the target (a reference and an in-flight count are taken), -ERR_NO_TARGET, or -ERR_UPSTREAM_FULL when only
 * permits were missing; -ERR_BREAKER_OPEN when the upstream's circuit breaker does not let it try. */
MUST_USE int balancer_pick(struct balancer *b, const struct wish *wish, struct target **ret_target);
/* An answer's head came, or the try failed: what the target is judged by. Not for tries that were cancelled. A try may
 * be judged twice: first its head was fine, then its body broke. `started_ns` is the wish's now_ns. */
void balancer_judge(struct balancer *b, struct target *target, const struct outcome *outcome);
/* An answer whose head was judged has come to its end. */
void balancer_whole(struct balancer *b, struct target *target);
/* Ends what pick began, and is right after a change of the set too. `waiting_since_ns`: the wish's now_ns, exactly; or
 * 0 when an answer has been judged, since nothing is waited for any more: a download that takes hours is no hung try.
 */
void balancer_finish(struct balancer *b, struct target *target, uint64_t waiting_since_ns, uint64_t now_ns);
/* The same for a pick that came to nothing, as there was no connection. Nobody is called for it: the next would find no
 * more than this one. */
void balancer_undo(struct balancer *b, struct target *target, uint64_t picked_ns);

static inline bool tried_has(const struct tried *tried, const struct target *target)
{
    for (unsigned i = 0; i < tried->count; i++)
        if (tried->v[i] == target)
            return true;
    return false;
}
static inline void tried_add(struct tried *tried, const struct target *target)
{
    if (tried->count < TRIED_MAX)
        tried->v[tried->count++] = target;
}
