/*
 * Weighted round robin in three forms, chosen when the table is built:
 *
 *      equal weights      a cursor: one step a pick, and one for each target that it passes by
 *      up to SMOOTH_MAX   smooth, O(n): credits grow by the weights, and the highest is charged their sum
 *      more               earliest deadline first (edf.h): as even but for ties, O(log n)
 *
 * A target that may not be picked earns no credit meanwhile, so it comes back without a burst.  Workers start at
 * different places, else all of them would send their first request to the first target.
 */
#include "base/assert.h"
#include "base/sys.h"

#include "balance/algorithms/algorithms.h"
#include "balance/algorithms/edf.h"

enum {
    SMOOTH_MAX = 32,    /* where the pass over all targets begins to cost more than the heap, as measured */
    PASSED_BY_MAX = 8,  /* targets at the top of the heap that may not be picked, before all are looked at */
    STAGGER_MAX = 1000, /* turns that a worker is ahead, at most */
};

struct round_robin {
    uint32_t cursor;
    int32_t *credits; /* smooth: one a target; NULL otherwise */
    struct edf *edf;  /* NULL otherwise */
};

static bool weights_equal(const struct target_group *group);
static int pick_rotating(struct round_robin *rr, const struct target_group *group, const struct pick *pick);
static int pick_smooth(struct round_robin *rr, const struct target_group *group, const struct pick *pick);
static int pick_edf(struct round_robin *rr, const struct target_group *group, const struct pick *pick);
static struct edf *edf_build(const struct target_group *group);

/* Without a pick (when workers are staggered) only the weight counts. */
static bool allowed(const struct pick *pick, const struct target_slot *slot)
{
    return pick ? pick_allowed(pick, slot) : slot->weight > 0;
}

static int choose(struct round_robin *rr, const struct target_group *group, const struct pick *pick)
{
    if (rr->credits)
        return pick_smooth(rr, group, pick);
    if (rr->edf)
        return pick_edf(rr, group, pick);
    return pick_rotating(rr, group, pick);
}

static void round_robin_free(void *table)
{
    struct round_robin *rr = table;
    mem_free(rr->credits);
    mem_free(rr->edf);
    mem_free(rr);
}

static void *round_robin_build(const struct target_group *group, const struct balance_conf *conf, unsigned worker)
{
    struct round_robin *rr = mem_zalloc(sizeof *rr);
    if (!rr)
        return NULL;
    if (!weights_equal(group)) {
        if (group->count <= SMOOTH_MAX)
            rr->credits = mem_zalloc(group->count * sizeof *rr->credits);
        else
            rr->edf = edf_build(group);
        if (!rr->credits && !rr->edf) {
            round_robin_free(rr);
            return NULL;
        }
    }
    for (unsigned i = 0; i < worker % STAGGER_MAX; i++)
        (void)choose(rr, group, NULL);
    return rr;
}

static int round_robin_pick(void *table, const struct target_group *group, const struct pick *pick)
{
    return choose(table, group, pick);
}

const struct algorithm algorithm_round_robin = {
    .name = "round_robin",
    .doc = ROUND_ROBIN_DOC,
    .build = round_robin_build,
    .pick = round_robin_pick,
    .free = round_robin_free,
};

/* Those of weight 0 apart: they are passed by. */
static bool weights_equal(const struct target_group *group)
{
    uint16_t weight = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        if (group->slots[i].weight == 0)
            continue;
        if (weight != 0 && group->slots[i].weight != weight)
            return false;
        weight = group->slots[i].weight;
    }
    return true;
}

static int pick_rotating(struct round_robin *rr, const struct target_group *group, const struct pick *pick)
{
    uint32_t at = rr->cursor;
    for (uint32_t i = 0; i < group->count; i++) {
        uint32_t here = at;
        at = at + 1 == group->count ? 0 : at + 1;
        if (allowed(pick, &group->slots[here])) {
            rr->cursor = at;
            return (int)here;
        }
    }
    return PICK_NONE;
}

static int pick_smooth(struct round_robin *rr, const struct target_group *group, const struct pick *pick)
{
    int best = PICK_NONE;
    int32_t sum = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        if (!allowed(pick, &group->slots[i]))
            continue;
        rr->credits[i] += group->slots[i].weight;
        sum += group->slots[i].weight;
        if (best == PICK_NONE || rr->credits[i] > rr->credits[best])
            best = (int)i;
    }
    if (best != PICK_NONE)
        rr->credits[best] -= sum;
    return best;
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
        if (allowed(pick, &group->slots[entry->index]) && (!best || edf_before(entry, best)))
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

static int pick_edf(struct round_robin *rr, const struct target_group *group, const struct pick *pick)
{
    struct edf *edf = rr->edf;
    for (int i = 0; i < PASSED_BY_MAX; i++) {
        uint32_t index = edf->entries[0].index;
        if (allowed(pick, &group->slots[index])) {
            edf_advance(edf);
            return (int)index;
        }
        edf_advance(edf);
    }
    return pick_edf_among_all(edf, group, pick);
}

static struct edf *edf_build(const struct target_group *group)
{
    struct edf *edf = mem_alloc(sizeof *edf + group->count * sizeof *edf->entries);
    if (!edf)
        return NULL;
    edf->count = 0;
    for (uint32_t i = 0; i < group->count; i++)
        if (group->slots[i].weight > 0)
            edf_add(edf, i, group->slots[i].weight);
    edf_heapify(edf);
    return edf;
}
