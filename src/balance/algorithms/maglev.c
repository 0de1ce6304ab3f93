/*
 * Maglev (Eisenbud and others, "Maglev: a fast and reliable software network load balancer", 2016): a table of a prime
 * number of places, each of which belongs to a target.  Targets fill it in turns, as often as their weights say, and
 * each takes the next free place of its own permutation.
 *
 *      key -> place -> target        may not be picked?  another hash of the key -> place ...
 *
 * Shares are exact to one place.  When a target comes or goes a few keys of others move too, because the turns shift;
 * when one is barred the table stays as it is, and only its keys go elsewhere.  Memory: 256 KiB, and 16 bytes a target.
 */
#include "balance/algorithms/places.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"

#include "balance/algorithms/edf.h"

enum {
    PLACES = 65537,
    HASHES_MAX =
        64, /* of a key, before all targets are walked over; with nine tenths barred one key in 800 needs more */
    FREE = UINT32_MAX,
};

struct maglev {
    struct places *places;
    uint32_t target_at[PLACES]; /* indices in the group */
};

/* How far a target has come in its permutation of the places. */
struct walk {
    uint32_t at, skip;
};

static void maglev_free(void *table)
{
    struct maglev *maglev = table;
    mem_free(maglev->places);
    mem_free(maglev);
}

static void fill_places(struct maglev *maglev, struct edf *turns, struct walk *walks)
{
    const struct places *places = maglev->places;
    memset(maglev->target_at, 0xff, sizeof maglev->target_at);
    turns->count = 0;
    for (uint32_t i = 0; i < places->count; i++) {
        uint64_t hash = places->v[i].hash;
        walks[i] =
            (struct walk){ .at = (uint32_t)(hash % PLACES), .skip = (uint32_t)(hash_mix(hash) % (PLACES - 1)) + 1 };
        edf_add(turns, i, places->v[i].weight);
    }
    edf_heapify(turns);
    for (uint32_t filled = 0; filled < PLACES; filled++) {
        struct walk *walk = &walks[turns->entries[0].index];
        while (maglev->target_at[walk->at] != FREE)
            walk->at = (walk->at + walk->skip) % PLACES;
        maglev->target_at[walk->at] = places->v[turns->entries[0].index].index;
        edf_advance(turns);
    }
}

static void *maglev_build(const struct target_group *group)
{
    struct maglev *maglev = mem_alloc(sizeof *maglev);
    struct places *places = places_new(group);
    struct edf *turns = mem_alloc(sizeof *turns + group->count * sizeof *turns->entries);
    struct walk *walks = mem_alloc((group->count + 1u) * sizeof *walks);
    if (maglev && places && turns && walks) {
        maglev->places = places;
        if (places->count > 0)
            fill_places(maglev, turns, walks);
    } else {
        mem_free(maglev);
        mem_free(places);
        maglev = NULL;
    }
    mem_free(turns);
    mem_free(walks);
    return maglev;
}

static int maglev_find(const void *table, const struct target_group *group, const struct pick *pick,
                       const struct load_bound *bound)
{
    const struct maglev *maglev = table;
    if (maglev->places->count == 0)
        return PICK_NONE;
    uint64_t hash = pick->key;
    for (int i = 0; i < HASHES_MAX; i++) {
        uint32_t index = maglev->target_at[(hash >> 32) * PLACES >> 32];
        if (place_fits(group, index, pick, bound))
            return (int)index;
        hash = hash_mix(hash + 0x9e3779b97f4a7c15ull);
    }
    return places_walk(maglev->places, group, pick, bound);
}

const struct placement placement_maglev = { maglev_build, maglev_free, maglev_find };
