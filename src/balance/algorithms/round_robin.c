/*
 * Weighted round robin, even over all workers together: they draw tickets from one counter, and a ticket says whose
 * turn it is.
 *
 *      equal weights       the ticket modulo the number of targets
 *      unequal             the ticket modulo the period of a schedule: weights 5, 1 and 1 give  a a b a c a a
 *      period too long     earliest deadline first (edf.h), by each worker for itself, from different places
 *
 * When the one whose turn it is may not be picked, the worker goes on from where it last did so: the turns of a target
 * that is away are dealt out to the others by the same schedule, so by their weights, and it comes back without a
 * burst.  The counter wraps around at 2^32, which moves the schedule once in so many requests.
 */
#include "base/assert.h"
#include "base/sys.h"

#include "balance/algorithms/algorithms.h"
#include "balance/algorithms/edf.h"

enum {
    SCHEDULE_MAX = 16384, /* entries: 64 KiB a worker */
    SMOOTH_MAX = 32,      /* targets; building it is O(targets) an entry, so that more take the heap's order */
    PASSED_BY_MAX = 8,    /* targets at the top of the heap that may not be picked, before all are looked at */
    STAGGER_MAX = 1000,   /* turns that a worker is ahead with a heap, at most */
};

struct round_robin {
    uint32_t period;    /* 0: there is none */
    uint32_t cursor;    /* in the schedule, of this worker's own way */
    uint32_t *schedule; /* indices of targets; NULL: each one in turn */
    struct edf *edf;    /* instead of a schedule; NULL otherwise */
};

static bool weights_equal(const struct target_group *group);
static uint64_t turns_of(const struct target_group *group, uint32_t *ret_unit);
static bool schedule_build(struct round_robin *rr, const struct target_group *group, uint32_t unit);
static int pick_turn(struct round_robin *rr, const struct target_group *group, const struct pick *pick);
static int pick_edf(struct edf *edf, const struct target_group *group, const struct pick *pick);
static struct edf *edf_build(const struct target_group *group, uint32_t unit);

static void round_robin_free(void *table)
{
    struct round_robin *rr = table;
    mem_free(rr->schedule);
    mem_free(rr->edf);
    mem_free(rr);
}

static void *round_robin_build(const struct target_group *group, const struct balance_conf *conf, unsigned worker)
{
    struct round_robin *rr = mem_zalloc(sizeof *rr);
    if (!rr)
        return NULL;
    uint32_t unit;
    uint64_t turns = turns_of(group, &unit);
    if (weights_equal(group)) {
        rr->period = group->weight > 0 ? group->count : 0;
    } else if (turns <= SCHEDULE_MAX || turns <= group->count) {
        rr->period = (uint32_t)turns;
        if (!schedule_build(rr, group, unit)) {
            round_robin_free(rr);
            return NULL;
        }
    } else {
        rr->edf = edf_build(group, unit);
        if (!rr->edf) {
            round_robin_free(rr);
            return NULL;
        }
        for (unsigned i = 0; i < worker % STAGGER_MAX; i++)
            edf_advance(rr->edf);
    }
    return rr;
}

static int round_robin_pick(void *table, const struct target_group *group, const struct pick *pick)
{
    struct round_robin *rr = table;
    return rr->edf ? pick_edf(rr->edf, group, pick) : pick_turn(rr, group, pick);
}

const struct algorithm algorithm_round_robin = {
    .name = "round_robin",
    .doc = ROUND_ROBIN_DOC,
    .build = round_robin_build,
    .pick = round_robin_pick,
    .free = round_robin_free,
};

static bool weights_equal(const struct target_group *group)
{
    for (uint32_t i = 1; i < group->count; i++)
        if (group->slots[i].weight != group->slots[0].weight)
            return false;
    return true;
}

/* How many turns a period has, and the weight that one turn stands for. */
static uint64_t turns_of(const struct target_group *group, uint32_t *ret_unit)
{
    uint32_t unit = 0;
    for (uint32_t i = 0; i < group->count; i++)
        for (uint32_t a = group->slots[i].weight; a != 0;) {
            uint32_t rest = unit % a;
            unit = a;
            a = rest;
        }
    *ret_unit = unit;
    return unit ? group->weight / unit : 0;
}

static uint32_t turn_at(const struct round_robin *rr, uint32_t place)
{
    return rr->schedule ? rr->schedule[place] : place;
}

static int pick_turn(struct round_robin *rr, const struct target_group *group, const struct pick *pick)
{
    if (rr->period == 0)
        return PICK_NONE;
    uint32_t ticket = atomic_fetch_add_explicit(&group->shared->turn, 1, memory_order_relaxed);
    uint32_t due = turn_at(rr, ticket % rr->period);
    if (pick_allowed(pick, &group->slots[due]))
        return (int)due;
    uint32_t at = rr->cursor;
    for (uint32_t i = 0; i < rr->period; i++) {
        uint32_t here = turn_at(rr, at);
        at = at + 1 == rr->period ? 0 : at + 1;
        if (pick_allowed(pick, &group->slots[here])) {
            rr->cursor = at;
            return (int)here;
        }
    }
    return PICK_NONE;
}

/* In each turn all credits grow by the weights, and the highest is charged their sum (nginx's way). */
static bool fill_smooth(struct round_robin *rr, const struct target_group *group)
{
    int64_t credits[SMOOTH_MAX] = { 0 };
    for (uint32_t turn = 0; turn < rr->period; turn++) {
        uint32_t best = 0;
        for (uint32_t i = 0; i < group->count; i++) {
            credits[i] += group->slots[i].weight;
            if (credits[i] > credits[best])
                best = i;
        }
        credits[best] -= group->weight;
        rr->schedule[turn] = best;
    }
    return true;
}

static bool fill_by_deadlines(struct round_robin *rr, const struct target_group *group, uint32_t unit)
{
    struct edf *edf = edf_build(group, unit);
    if (!edf)
        return false;
    for (uint32_t turn = 0; turn < rr->period; turn++) {
        rr->schedule[turn] = edf->entries[0].index;
        edf_advance(edf);
    }
    mem_free(edf);
    return true;
}

static bool schedule_build(struct round_robin *rr, const struct target_group *group, uint32_t unit)
{
    rr->schedule = mem_alloc(rr->period * sizeof *rr->schedule);
    if (!rr->schedule)
        return false;
    return group->count <= SMOOTH_MAX ? fill_smooth(rr, group) : fill_by_deadlines(rr, group, unit);
}

/*
 * Many at the top may not be picked: looks at all. Those that are behind the one found are brought up to it, so that
 * neither the next pick nor their return has to work off what they missed.
 */
static int pick_edf_among_all(struct edf *edf, const struct target_group *group, const struct pick *pick)
{
    struct edf_entry *best = NULL;
    for (uint32_t i = 0; i < edf->count; i++) {
        struct edf_entry *entry = &edf->entries[i];
        if (pick_allowed(pick, &group->slots[entry->index]) && (!best || edf_before(entry, best)))
            best = entry;
    }
    if (!best)
        return PICK_NONE;
    int index = (int)best->index;
    uint64_t now = best->deadline;
    best->deadline += best->stride;
    for (uint32_t i = 0; i < edf->count; i++)
        if ((int64_t)(edf->entries[i].deadline - now) < 0)
            edf->entries[i].deadline = now;
    edf_heapify(edf);
    return index;
}

static int pick_edf(struct edf *edf, const struct target_group *group, const struct pick *pick)
{
    for (int i = 0; i < PASSED_BY_MAX; i++) {
        uint32_t index = edf->entries[0].index;
        edf_advance(edf);
        if (pick_allowed(pick, &group->slots[index]))
            return (int)index;
    }
    return pick_edf_among_all(edf, group, pick);
}

static struct edf *edf_build(const struct target_group *group, uint32_t unit)
{
    struct edf *edf = mem_alloc(sizeof *edf + group->count * sizeof *edf->entries);
    if (!edf)
        return NULL;
    edf->count = 0;
    for (uint32_t i = 0; i < group->count; i++)
        if (group->slots[i].weight > 0)
            edf_add(edf, i, (uint16_t)(group->slots[i].weight / unit));
    edf_heapify(edf);
    return edf;
}
