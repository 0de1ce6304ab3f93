/*
 * Sorting by address, walking by key.
 */
#include "balance/algorithms/places.h"

#include "base/hash.h"
#include "base/sys.h"

static int compare_places(const void *a, const void *b)
{
    const struct place *left = a, *right = b;
    return (left->hash > right->hash) - (left->hash < right->hash);
}

struct places *places_new(const struct target_group *group)
{
    struct places *places = mem_alloc(sizeof *places + group->count * sizeof *places->v);
    if (!places)
        return NULL;
    places->count = 0;
    places->weight = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct target_slot *slot = &group->slots[i];
        if (slot->weight == 0)
            continue;
        char text[ADDRESS_TEXT_MAX];
        size_t len = address_format(&slot->target->address, true, text);
        places->v[places->count++] =
            (struct place){ .hash = hash_stable(slice_make(text, len), 0), .index = i, .weight = slot->weight };
        places->weight += slot->weight;
    }
    qsort(places->v, places->count, sizeof *places->v, compare_places);
    return places;
}

int places_walk(const struct places *places, const struct target_group *group, const struct pick *pick,
                const struct load_bound *bound)
{
    uint32_t at = (uint32_t)((hash_mix(~pick->key) >> 32) * places->count >> 32);
    for (uint32_t i = 0; i < places->count; i++) {
        if (place_fits(group, places->v[at].index, pick, bound))
            return (int)places->v[at].index;
        at = at + 1 == places->count ? 0 : at + 1;
    }
    return PICK_NONE;
}
