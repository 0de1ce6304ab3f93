/*
 * Rendezvous, or highest random weight (Thaler and Ravishankar, 1998): key and target together give a number, and the
 * highest wins.  By weight (Mosberger; Schindelhauer and Schomaker, 2005) the number is  -weight / ln(u),  with u
 * evenly between 0 and 1.  Nobody else's keys move when a target comes, goes, or changes its weight.
 *
 * Each target is asked, but cheaply: among those of one weight the highest u wins, so there is one logarithm for each
 * weight rather than for each target, and only a new highest is asked whether it may be picked.  Memory: 16 bytes a
 * target.
 */
#include "balance/algorithms/places.h"

#include <math.h>

#include "base/hash.h"
#include "base/sys.h"

static int compare_weights(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    if (left->weight != right->weight)
        return left->weight < right->weight ? -1 : 1;
    return (left->hash > right->hash) - (left->hash < right->hash);
}

static void *rendezvous_build(const struct target_group *group)
{
    struct places *places = places_new(group);
    if (places)
        qsort(places->v, places->count, sizeof *places->v, compare_weights);
    return places;
}

/* The highest among those of one weight from `at` on; where the next weight begins. */
struct highest {
    int index;
    uint64_t hash;
    uint32_t next;
};

static struct highest find_highest(const struct places *places, uint32_t at, const struct target_group *group,
                                   const struct pick *pick, const struct load_bound *bound)
{
    struct highest best = { .index = PICK_NONE };
    uint16_t weight = places->v[at].weight;
    for (; at < places->count && places->v[at].weight == weight; at++) {
        uint64_t hash = hash_mix(pick->key ^ places->v[at].hash);
        if ((best.index == PICK_NONE || hash > best.hash) && place_fits(group, places->v[at].index, pick, bound)) {
            best.index = (int)places->v[at].index;
            best.hash = hash;
        }
    }
    best.next = at;
    return best;
}

static int rendezvous_find(const void *table, const struct target_group *group, const struct pick *pick,
                           const struct load_bound *bound)
{
    const struct places *places = table;
    int best = PICK_NONE;
    double best_score = 0;
    for (uint32_t at = 0; at < places->count;) {
        double weight = places->v[at].weight;
        struct highest highest = find_highest(places, at, group, pick, bound);
        at = highest.next;
        if (highest.index == PICK_NONE)
            continue;
        double u = ((double)(highest.hash >> 11) + 0.5) * 0x1p-53, score = -weight / log(u);
        if (best == PICK_NONE || score > best_score) {
            best = highest.index;
            best_score = score;
        }
    }
    return best;
}

const struct placement placement_rendezvous = { rendezvous_build, mem_free, rendezvous_find };
