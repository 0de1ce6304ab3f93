/*
 * Least response time: the lowest of  expected time x (1 + in flight) / weight,  the time that a request would spend
 * on a target that serves one at a time.  What is expected is told by response_time.h: the average of recent answers,
 * or the age of those still awaited.
 *
 * Up to LOOK_MAX targets all are looked at.  Among more, a sample drawn by weight is: each look is a cache line that
 * other workers write, and the best of sixteen is nearly the best of all.
 */
#include "base/sys.h"

#include "balance/algorithms/algorithms.h"
#include "balance/algorithms/weighted_draw.h"

enum { LOOK_MAX = 32, STATUS_FAILED = 500 };

struct least_response_time {
    uint32_t cursor;            /* where looking begins: among equals the one behind the last */
    struct weighted_draw *draw; /* NULL: all are looked at */
};

static void least_response_time_free(void *table)
{
    struct least_response_time *lrt = table;
    mem_free(lrt->draw);
    mem_free(lrt);
}

static void *least_response_time_build(const struct target_group *group, const struct balance_conf *conf,
                                       unsigned worker)
{
    struct least_response_time *lrt = mem_zalloc(sizeof *lrt);
    if (!lrt)
        return NULL;
    if (group->count <= LOOK_MAX) {
        lrt->cursor = group->count ? worker % group->count : 0;
        return lrt;
    }
    lrt->draw = weighted_draw_new(group);
    if (lrt->draw)
        return lrt;
    mem_free(lrt);
    return NULL;
}

/* The best so far. */
struct fastest {
    int index;
    uint64_t cost;
    uint16_t weight;
};

static void compare(struct fastest *best, const struct target_group *group, uint32_t index, uint64_t now_ns)
{
    const struct target_slot *slot = &group->slots[index];
    uint64_t in_flight = atomic_load_explicit(&slot->target->in_flight, memory_order_relaxed);
    uint64_t cost = response_time_expected_us(&slot->target->times, now_ns) * (1 + in_flight);
    if (best->index != PICK_NONE &&
        (unsigned __int128)cost * best->weight >= (unsigned __int128)best->cost * slot->weight)
        return;
    *best = (struct fastest){ (int)index, cost, slot->weight };
}

static int least_response_time_pick(void *table, const struct target_group *group, const struct pick *pick)
{
    struct least_response_time *lrt = table;
    struct fastest best = { .index = PICK_NONE };
    if (lrt->draw) {
        int sample[DRAW_SAMPLE];
        uint32_t count = weighted_draw_sample(lrt->draw, group, pick, sample);
        for (uint32_t i = 0; i < count; i++)
            compare(&best, group, (uint32_t)sample[i], pick->now_ns);
        return best.index;
    }
    uint32_t at = lrt->cursor;
    for (uint32_t i = 0; i < group->count; i++) {
        if (pick_allowed(pick, &group->slots[at]))
            compare(&best, group, at, pick->now_ns);
        at = at + 1 == group->count ? 0 : at + 1;
    }
    if (best.index != PICK_NONE)
        lrt->cursor = (uint32_t)best.index + 1 == group->count ? 0 : (uint32_t)best.index + 1;
    return best.index;
}

static void least_response_time_taken(struct target *target, uint64_t now_ns)
{
    response_time_began(&target->times, now_ns);
}

static void least_response_time_over(struct target *target, uint64_t waiting_since_ns, uint64_t now_ns)
{
    if (waiting_since_ns)
        response_time_ended(&target->times, waiting_since_ns);
}

/* An answer ends the wait. What the client did wrong is no failure of the target. */
static void least_response_time_judged(struct target *target, const struct outcome *outcome)
{
    if (outcome->err == ERR_NONE)
        response_time_ended(&target->times, outcome->started_ns);
    else if (err_info(outcome->err)->side != SIDE_UPSTREAM)
        return;
    bool failed = outcome->err != ERR_NONE || outcome->status >= STATUS_FAILED;
    uint64_t took_ns = outcome->now_ns > outcome->started_ns ? outcome->now_ns - outcome->started_ns : 0;
    response_time_note(&target->times, took_ns, failed, outcome->now_ns);
}

const struct algorithm algorithm_least_response_time = {
    .name = "least_response_time",
    .doc = LEAST_RESPONSE_TIME_DOC,
    .build = least_response_time_build,
    .pick = least_response_time_pick,
    .free = least_response_time_free,
    .taken = least_response_time_taken,
    .over = least_response_time_over,
    .judged = least_response_time_judged,
};
