/*
 * Least connections: the lowest ratio of requests in flight to weight, over all workers.
 *
 * Ties are common (an idle upstream is one big tie) and decide the distribution under light load, so they take turns:
 * by a cursor where weights are equal, by smooth weighted round robin among the tied where they are not.
 *
 * Up to LOOK_MAX targets all are looked at, each on cache lines that other workers write; with equal weights looking
 * stops at the first one that is idle.  Among more targets a sample drawn by weight is: the best of sixteen is nearly
 * the best of all, and among the idle the draw divides by weight.
 */
#include "base/assert.h"
#include "base/sys.h"

#include "balance/algorithms/algorithms.h"
#include "balance/algorithms/weighted_draw.h"

enum { LOOK_MAX = 128 };

struct least_connections {
    struct weighted_draw *draw; /* NULL: all are looked at */
    uint32_t cursor;            /* where looking begins: behind the last one picked */
    bool equal;                 /* all weights are the same */
    int32_t credits[];          /* when they are not: of the smooth choice among tied targets */
};

/* What a pass over all targets found. */
struct lowest {
    int index; /* the first of the lowest, from the cursor */
    uint32_t in_flight, weight;
    uint32_t tied; /* how many are as low */
};

static struct lowest find_lowest(const struct least_connections *lc, const struct target_group *group,
                                 const struct pick *pick);
static int choose_tied(struct least_connections *lc, const struct target_group *group, const struct pick *pick,
                       struct lowest low);
static int pick_of_sample(const struct least_connections *lc, const struct target_group *group,
                          const struct pick *pick);

static void least_connections_free(void *table)
{
    struct least_connections *lc = table;
    mem_free(lc->draw);
    mem_free(lc);
}

static void *least_connections_build(const struct target_group *group, const struct balance_conf *conf, unsigned worker)
{
    uint32_t looked_at = group->count <= LOOK_MAX ? group->count : 0;
    struct least_connections *lc = mem_zalloc(sizeof *lc + looked_at * sizeof *lc->credits);
    if (!lc)
        return NULL;
    if (group->count > LOOK_MAX) {
        lc->draw = weighted_draw_new(group);
        if (lc->draw)
            return lc;
        mem_free(lc);
        return NULL;
    }
    lc->cursor = group->count ? worker % group->count : 0;
    lc->equal = true;
    for (uint32_t i = 1; i < group->count; i++)
        lc->equal &= group->slots[i].weight == group->slots[0].weight;
    return lc;
}

static int least_connections_pick(void *table, const struct target_group *group, const struct pick *pick)
{
    struct least_connections *lc = table;
    if (lc->draw)
        return pick_of_sample(lc, group, pick);
    struct lowest low = find_lowest(lc, group, pick);
    int index = low.tied > 1 && !lc->equal ? choose_tied(lc, group, pick, low) : low.index;
    if (index != PICK_NONE)
        lc->cursor = (uint32_t)index + 1 == group->count ? 0 : (uint32_t)index + 1;
    return index;
}

const struct algorithm algorithm_least_connections = {
    .name = "least_connections",
    .doc = LEAST_CONNECTIONS_DOC,
    .build = least_connections_build,
    .pick = least_connections_pick,
    .free = least_connections_free,
};

static uint32_t in_flight_of(const struct target_slot *slot)
{
    return atomic_load_explicit(&slot->target->in_flight, memory_order_relaxed);
}

static struct lowest find_lowest(const struct least_connections *lc, const struct target_group *group,
                                 const struct pick *pick)
{
    struct lowest low = { .index = PICK_NONE };
    uint32_t at = lc->cursor;
    for (uint32_t i = 0; i < group->count; i++) {
        uint32_t here = at;
        at = at + 1 == group->count ? 0 : at + 1;
        const struct target_slot *slot = &group->slots[here];
        if (!pick_allowed(pick, slot))
            continue;
        uint32_t in_flight = in_flight_of(slot);
        uint64_t ours = (uint64_t)in_flight * low.weight, theirs = (uint64_t)low.in_flight * slot->weight;
        if (low.index != PICK_NONE && ours >= theirs) {
            low.tied += ours == theirs;
            continue;
        }
        low = (struct lowest){ .index = (int)here, .in_flight = in_flight, .weight = slot->weight, .tied = 1 };
        if (lc->equal && in_flight == 0)
            break;
    }
    return low;
}

/* Counts move while we look, since other workers pick too; then the first one found before is as good as any. */
static int choose_tied(struct least_connections *lc, const struct target_group *group, const struct pick *pick,
                       struct lowest low)
{
    int best = PICK_NONE;
    int32_t sum = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct target_slot *slot = &group->slots[i];
        if (!pick_allowed(pick, slot) ||
            (uint64_t)in_flight_of(slot) * low.weight != (uint64_t)low.in_flight * slot->weight)
            continue;
        lc->credits[i] += slot->weight;
        sum += slot->weight;
        if (best == PICK_NONE || lc->credits[i] > lc->credits[best])
            best = (int)i;
    }
    if (best == PICK_NONE)
        return low.index;
    lc->credits[best] -= sum;
    return best;
}

static int pick_of_sample(const struct least_connections *lc, const struct target_group *group, const struct pick *pick)
{
    int sample[DRAW_SAMPLE];
    uint32_t count = weighted_draw_sample(lc->draw, group, pick, sample);
    if (count == 0)
        return PICK_NONE;
    const struct target_slot *best = &group->slots[sample[0]];
    uint64_t lowest = in_flight_of(best);
    for (uint32_t i = 1; i < count && lowest > 0; i++) {
        const struct target_slot *slot = &group->slots[sample[i]];
        uint64_t in_flight = in_flight_of(slot);
        if (in_flight * best->weight >= lowest * slot->weight)
            continue;
        best = slot;
        lowest = in_flight;
    }
    return (int)(best - group->slots);
}
