/*
 * What stands around every algorithm: the set it chooses from, the counts on the chosen, and the answer when there is
 * none.
 *
 * Permits are exact over all workers: the algorithm skips targets that look full, but only the counter's own answer to
 * our increment decides, since another worker may have taken the last permit in between.  Nothing here takes a lock.
 */
#include "base/assert.h"
#include "base/sys.h"

#include "balance/balance.h"

/* An algorithm with `done` wants an index, its caller has a target: sorted by pointer, searched by halving. */
struct target_place {
    const struct target *target;
    uint32_t index;
};

/* Another worker can take the permit we saw, but each time it does somebody gets on; this many lost races in a row mean
 * full. */
enum { LOST_RACES_MAX = 16 };

static int take(struct balancer *b, const struct pick *pick);
static bool only_full(const struct balancer *b, const struct tried *tried);
static struct target_place *places_new(const struct target_set *set);
static const struct target_place *places_find(const struct balancer *b, const struct target *target);

int balancer_init(struct balancer *b, const struct algorithm *algorithm, struct target_set *set, unsigned worker)
{
    ENSURE(algorithm && algorithm->build && algorithm->pick && algorithm->free && set);
    *b = (struct balancer){ .algorithm = algorithm, .worker = worker };
    rng_init(&b->rng);
    return balancer_update(b, set);
}

int balancer_update(struct balancer *b, struct target_set *set)
{
    void *table = b->algorithm->build(set, b->worker);
    if (!table)
        return -ERR_MEMORY;
    struct target_place *places = NULL;
    if (b->algorithm->done) {
        places = places_new(set);
        if (!places) {
            b->algorithm->free(table);
            return -ERR_MEMORY;
        }
    }
    target_set_hold(set);
    if (b->set)
        balancer_done(b);
    b->set = set;
    b->table = table;
    b->places = places;
    return 0;
}

void balancer_done(struct balancer *b)
{
    if (b->table)
        b->algorithm->free(b->table);
    mem_free(b->places);
    target_set_drop(b->set);
    b->table = NULL;
    b->places = NULL;
    b->set = NULL;
}

int balancer_pick(struct balancer *b, uint64_t key, const struct tried *tried, bool retry_same,
                  struct target **ret_target)
{
    ENSURE(b->set && b->table);
    struct pick pick = {
        .key = key,
        .tried = tried && tried->count ? tried : NULL,
        .permits = b->permits.per_target_max ? &b->permits : NULL,
        .rng = &b->rng,
    };
    int index = take(b, &pick);
    if (index == PICK_NONE && retry_same && pick.tried) {
        pick.tried = NULL;
        index = take(b, &pick);
    }
    if (index == PICK_NONE)
        return only_full(b, pick.tried) ? -ERR_UPSTREAM_FULL : -ERR_NO_TARGET;
    struct target *target = target_hold(b->set->slots[index].target);
    atomic_fetch_add_explicit(&target->picks, 1, memory_order_relaxed);
    *ret_target = target;
    return 0;
}

void balancer_finish(struct balancer *b, struct target *target, enum err err, uint32_t latency_us)
{
    if (b->algorithm->done) {
        const struct target_place *place = places_find(b, target);
        if (place)
            b->algorithm->done(b->table, place->index, err, latency_us);
    }
    if (err_info(err)->side == SIDE_UPSTREAM)
        atomic_fetch_add_explicit(&target->failures, 1, memory_order_relaxed);
    unsigned before = atomic_fetch_sub_explicit(&target->in_flight, 1, memory_order_relaxed);
    ENSURE(before > 0);
    target_drop(target);
}

/* Picks and counts: an index whose target has one more in flight, or PICK_NONE. */
static int take(struct balancer *b, const struct pick *pick)
{
    for (int races = 0; races < LOST_RACES_MAX; races++) {
        int index = b->algorithm->pick(b->table, b->set, pick);
        if (index == PICK_NONE)
            return PICK_NONE;
        ENSURE(index >= 0 && (uint32_t)index < b->set->count);
        atomic_uint *in_flight = &b->set->slots[index].target->in_flight;
        unsigned before = atomic_fetch_add_explicit(in_flight, 1, memory_order_relaxed);
        if (!pick->permits || before < pick->permits->per_target_max)
            return index;
        atomic_fetch_sub_explicit(in_flight, 1, memory_order_relaxed);
    }
    return PICK_NONE;
}

/* Would anything have been picked, but for permits? */
static bool only_full(const struct balancer *b, const struct tried *tried)
{
    if (!b->permits.per_target_max)
        return false;
    struct pick without_permits = { .tried = tried };
    for (uint32_t i = 0; i < b->set->count; i++)
        if (pick_allowed(&without_permits, &b->set->slots[i]))
            return true;
    return false;
}

static int place_compare(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t)((const struct target_place *)a)->target;
    uintptr_t right = (uintptr_t)((const struct target_place *)b)->target;
    return (left > right) - (left < right);
}

static struct target_place *places_new(const struct target_set *set)
{
    struct target_place *places = mem_alloc(MAX(set->count, 1u) * sizeof *places);
    if (!places)
        return NULL;
    for (uint32_t i = 0; i < set->count; i++)
        places[i] = (struct target_place){ .target = set->slots[i].target, .index = i };
    qsort(places, set->count, sizeof *places, place_compare);
    return places;
}

static const struct target_place *places_find(const struct balancer *b, const struct target *target)
{
    if (!b->places || !b->set)
        return NULL;
    struct target_place wanted = { .target = target };
    return bsearch(&wanted, b->places, b->set->count, sizeof wanted, place_compare);
}
