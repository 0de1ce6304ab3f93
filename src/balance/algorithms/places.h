/*
 * The targets of a group in an order that all gateways agree on: by a hash of their addresses, whatever order the
 * configuration, a name server or an earlier reload gave them.  Consistent tables are built from it.
 *
 * And what those tables have in common: which targets may serve a key now, and the way out when a table's own tries
 * find none.
 */
#pragma once

#include "balance/balance.h"

struct place {
    uint64_t hash;
    uint32_t index; /* in the group */
    uint16_t weight;
};

struct places {
    uint32_t count;   /* those with a weight */
    uint64_t weight;  /* of all */
    struct place v[]; /* by hash */
};

/* NULL without memory; to be freed with mem_free. */
struct places *places_new(const struct target_group *group);

/* Bounded load (Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads", 2018): a target's requests in
 * flight may reach its part of `load`; 0: there is no bound. */
struct load_bound {
    uint64_t load;   /* percent, times all in flight and this one */
    uint64_t weight; /* of the targets that share it, times 100 */
};

static inline bool place_fits(const struct target_group *group, uint32_t index, const struct pick *pick,
                              const struct load_bound *bound)
{
    const struct target_slot *slot = &group->slots[index];
    if (!pick_allowed(pick, slot))
        return false;
    if (bound->load == 0)
        return true;
    uint64_t in_flight = atomic_load_explicit(&slot->target->in_flight, memory_order_relaxed);
    return in_flight * bound->weight < bound->load * slot->weight;
}

/* From the key's own start on, the first that fits; PICK_NONE when none does. At most all are looked at. */
int places_walk(const struct places *places, const struct target_group *group, const struct pick *pick,
                const struct load_bound *bound);

/* How keys are placed. Tables are immutable, and one serves all workers. */
struct placement {
    void *(*build)(const struct target_group *group);
    void (*free)(void *table);
    int (*find)(const void *table, const struct target_group *group, const struct pick *pick,
                const struct load_bound *bound);
};
extern const struct placement placement_maglev, placement_ring, placement_rendezvous;
