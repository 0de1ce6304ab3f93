/*
 * Building sets: slots sorted into groups, an index of sessions' marks.
 */
#include "balance/set.h"

#include "base/assert.h"
#include "base/sys.h"

enum { CACHE_LINE = 64 };

/* A slot and where it stood, so that sorting keeps the order of the configuration. */
struct placed_slot {
    struct target_slot slot;
    uint32_t at;
};

static int compare_places(const void *a, const void *b)
{
    const struct placed_slot *left = a, *right = b;
    if (left->slot.priority != right->slot.priority)
        return left->slot.priority < right->slot.priority ? -1 : 1;
    if (left->slot.elsewhere != right->slot.elsewhere)
        return left->slot.elsewhere ? 1 : -1;
    return (left->at > right->at) - (left->at < right->at);
}

static bool sort_slots(struct target_set *set, const struct target_slot *slots)
{
    struct placed_slot *placed = mem_alloc((set->count + 1u) * sizeof *placed);
    if (!placed)
        return false;
    for (uint32_t i = 0; i < set->count; i++) {
        ENSURE(slots[i].target);
        placed[i] = (struct placed_slot){ slots[i], i };
    }
    qsort(placed, set->count, sizeof *placed, compare_places);
    for (uint32_t i = 0; i < set->count; i++)
        set->slots[i] = placed[i].slot;
    mem_free(placed);
    return true;
}

/* The names come from answers that are replaced long before the set is. */
static bool copy_hosts(struct target_set *set)
{
    size_t size = 0;
    for (uint32_t i = 0; i < set->count; i++)
        size += set->slots[i].host ? strlen(set->slots[i].host) + 1 : 0;
    if (size == 0)
        return true;
    char *at = set->hosts = mem_alloc(size);
    if (!at)
        return false;
    for (uint32_t i = 0; i < set->count; i++) {
        const char *host = set->slots[i].host, *last = i > 0 ? set->slots[i - 1].host : NULL;
        if (!host)
            continue;
        bool same = last && strcmp(host, last) == 0;
        size_t len = strlen(host) + 1;
        set->slots[i].host = same ? last : memcpy(at, host, len);
        at += same ? 0 : len;
    }
    return true;
}

static bool same_group(const struct target_slot *a, const struct target_slot *b)
{
    return a->priority == b->priority && a->elsewhere == b->elsewhere;
}

/* An empty set has one empty group, so that nobody has to ask. */
static bool make_groups(struct target_set *set)
{
    uint32_t groups = 1;
    for (uint32_t i = 1; i < set->count; i++)
        groups += !same_group(&set->slots[i - 1], &set->slots[i]);
    set->groups = mem_zalloc(groups * sizeof *set->groups);
    set->shared_block = mem_zalloc(CACHE_LINE - 1 + groups * sizeof(struct group_shared));
    if (!set->groups || !set->shared_block)
        return false;
    struct group_shared *shared =
        (void *)(((uintptr_t)set->shared_block + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    set->group_count = groups;
    for (uint32_t i = 0; i < groups; i++)
        pthread_mutex_init(&shared[i].building, NULL);
    struct target_group *group = set->groups;
    *group = (struct target_group){ .slots = set->slots, .shared = shared };
    for (uint32_t i = 0; i < set->count; i++) {
        if (i > 0 && !same_group(&set->slots[i - 1], &set->slots[i]))
            *++group = (struct target_group){ .slots = &set->slots[i], .shared = ++shared, .first = i };
        group->priority = set->slots[i].priority;
        group->elsewhere = set->slots[i].elsewhere;
        group->weight += set->slots[i].weight;
        group->count++;
    }
    return true;
}

static int compare_sticky(const void *a, const void *b, void *slots)
{
    uint64_t left = ((const struct target_slot *)slots)[*(const uint32_t *)a].sticky;
    uint64_t right = ((const struct target_slot *)slots)[*(const uint32_t *)b].sticky;
    return (left > right) - (left < right);
}

static bool index_sticky(struct target_set *set)
{
    for (uint32_t i = 0; i < set->count; i++)
        set->sticky_count += set->slots[i].sticky != 0;
    if (set->sticky_count == 0)
        return true;
    set->by_sticky = mem_alloc(set->sticky_count * sizeof *set->by_sticky);
    if (!set->by_sticky)
        return false;
    uint32_t n = 0;
    for (uint32_t i = 0; i < set->count; i++)
        if (set->slots[i].sticky != 0)
            set->by_sticky[n++] = i;
    qsort_r(set->by_sticky, n, sizeof *set->by_sticky, compare_sticky, set->slots);
    return true;
}

static void tables_free(struct group_shared *shared)
{
    while (shared->tables) {
        struct group_table *gone = shared->tables;
        shared->tables = gone->next;
        gone->free(gone->table);
        mem_free(gone);
    }
    pthread_mutex_destroy(&shared->building);
}

static void set_free(struct target_set *set)
{
    for (uint32_t i = 0; i < set->group_count; i++)
        tables_free(set->groups[i].shared);
    mem_free(set->groups);
    mem_free(set->by_sticky);
    mem_free(set->shared_block);
    mem_free(set->hosts);
    mem_free(set);
}

struct target_set *target_set_new(const struct target_slot *slots, uint32_t count)
{
    ENSURE(slots || count == 0);
    struct target_set *set = mem_zalloc(sizeof *set + count * sizeof *slots);
    if (!set)
        return NULL;
    atomic_init(&set->refs, 1);
    set->count = count;
    for (uint32_t i = 0; i < count; i++)
        set->limited |= slots[i].requests_max || slots[i].connections_max;
    if (!sort_slots(set, slots) || !copy_hosts(set) || !make_groups(set) || !index_sticky(set)) {
        set_free(set);
        return NULL;
    }
    return set;
}

struct target_set *target_set_hold(struct target_set *set)
{
    unsigned before = atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    ENSURE(before > 0);
    return set;
}

void target_set_drop(struct target_set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (uint32_t i = 0; i < set->count; i++)
        target_drop(set->slots[i].target);
    set_free(set);
}

const struct target_slot *target_set_find_sticky(const struct target_set *set, uint64_t sticky)
{
    uint32_t low = 0, high = set->sticky_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct target_slot *slot = &set->slots[set->by_sticky[middle]];
        if (slot->sticky == sticky)
            return slot;
        if (slot->sticky < sticky)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct target_slot *target_set_find(const struct target_set *set, const struct target *target)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->slots[i].target == target)
            return &set->slots[i];
    return NULL;
}

static struct group_table *group_table_new(const struct target_group *group,
                                           void *(*build)(const struct target_group *), void (*free)(void *))
{
    struct group_table *made = mem_alloc(sizeof *made);
    void *table = made ? build(group) : NULL;
    if (!table) {
        mem_free(made);
        return NULL;
    }
    *made = (struct group_table){ .next = group->shared->tables, .table = table, .build = build, .free = free };
    group->shared->tables = made;
    return made;
}

const void *target_group_table(const struct target_group *group, void *(*build)(const struct target_group *),
                               void (*free)(void *))
{
    struct group_shared *shared = group->shared;
    pthread_mutex_lock(&shared->building);
    struct group_table *found = shared->tables;
    while (found && found->build != build)
        found = found->next;
    if (!found)
        found = group_table_new(group, build, free);
    const void *table = found ? found->table : NULL;
    pthread_mutex_unlock(&shared->building);
    return table;
}
