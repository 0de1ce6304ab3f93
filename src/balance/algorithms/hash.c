/*
 * Consistent hashing: requests with the same key go to the same target, on every worker, gateway and after every
 * restart, as long as it is there.  How keys are placed is one of three tables (places.h); this file has what is around
 * them: the table that the workers share, and the bound on a target's load.
 *
 * The bound counts all of the upstream's requests in flight against the weight of the group's targets that are
 * available; when everything that may be picked is at its bound, the bound does not count.
 */
#include "base/assert.h"
#include "base/sys.h"

#include "balance/algorithms/algorithms.h"
#include "balance/algorithms/places.h"

struct hash {
    const struct placement *placement;
    const void *table; /* the group's */
    const struct hash_conf *conf;
};

static const struct placement *const placements[] = {
    [HASH_MAGLEV] = &placement_maglev,
    [HASH_RING] = &placement_ring,
    [HASH_RENDEZVOUS] = &placement_rendezvous,
};

static void *hash_build(const struct target_group *group, const struct balance_conf *conf, unsigned worker)
{
    ENSURE((unsigned)conf->hash.table < ARRAY_LEN(placements));
    struct hash *hash = mem_zalloc(sizeof *hash);
    if (!hash)
        return NULL;
    hash->conf = &conf->hash;
    hash->placement = placements[conf->hash.table];
    hash->table = target_group_table(group, hash->placement->build, hash->placement->free);
    if (!hash->table) {
        mem_free(hash);
        return NULL;
    }
    return hash;
}

static int hash_pick(void *table, const struct target_group *group, const struct pick *pick)
{
    const struct hash *hash = table;
    return hash->placement->find(hash->table, group, pick, &(struct load_bound){ .load = 0 });
}

static int bounded_hash_pick(void *table, const struct target_group *group, const struct pick *pick)
{
    const struct hash *hash = table;
    if (group->count == 0)
        return PICK_NONE;
    const struct cluster *cluster = group->slots[0].target->cluster;
    uint64_t in_flight = atomic_load_explicit(&cluster->in_flight, memory_order_relaxed);
    struct load_bound bound = { .load = (uint64_t)hash->conf->bound_percent * (in_flight + 1),
                                .weight = (uint64_t)pick->ready * 100 };
    int index = hash->placement->find(hash->table, group, pick, &bound);
    return index != PICK_NONE ? index : hash_pick(table, group, pick);
}

const struct algorithm algorithm_hash = {
    .name = "hash",
    .doc = HASH_DOC,
    .build = hash_build,
    .pick = hash_pick,
    .free = mem_free,
    .keyed = true,
};

const struct algorithm algorithm_ip_hash = {
    .name = "ip_hash",
    .doc = IP_HASH_DOC,
    .build = hash_build,
    .pick = hash_pick,
    .free = mem_free,
    .keyed = true,
};

const struct algorithm algorithm_bounded_hash = {
    .name = "hash",
    .doc = HASH_DOC,
    .build = hash_build,
    .pick = bounded_hash_pick,
    .free = mem_free,
    .counts_total = true,
    .keyed = true,
};
