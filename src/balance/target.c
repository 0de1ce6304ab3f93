/*
 * The registry of targets.
 *
 * A target outlives configurations: as long as a set, a pool or an attempt holds it, the same upstream and address give
 * the same pointer, so that counts and health survive a reload.  The registry holds no reference of its own.  A target
 * whose count fell to zero is dead from that moment: target_get passes it by, though it may still be linked until its
 * last holder has come through the lock.
 */
#include "balance/target.h"

#include <pthread.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"

enum { BUCKETS_FIRST = 64, CACHE_LINE = 64 };

struct registered {
    struct target target; /* first: the one is found from the other */
    struct registered *next;
    uint64_t hash;
    void *block; /* what the allocator gave, before alignment */
};

static struct {
    pthread_mutex_t lock;
    struct registered **buckets; /* NULL while empty */
    size_t size, count;          /* size is a power of two */
} registry = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t identity_hash(const char *upstream_name, const struct address *address);
static bool registry_make_room(void);
static struct registered *registry_find(const char *upstream_name, const struct address *address, uint64_t hash);
static struct registered *registered_new(const char *upstream_name, const struct address *address, const char *name);
static void registry_remove(struct registered *r);

struct target *target_get(const char *upstream_name, const struct address *address, const char *name)
{
    ENSURE(upstream_name && address && name);
    uint64_t hash = identity_hash(upstream_name, address);
    pthread_mutex_lock(&registry.lock);
    struct registered *r = registry_find(upstream_name, address, hash);
    if (!r && registry_make_room()) {
        r = registered_new(upstream_name, address, name);
        if (r) {
            struct registered **bucket = &registry.buckets[hash & (registry.size - 1)];
            r->hash = hash;
            r->next = *bucket;
            *bucket = r;
            registry.count++;
        } else if (registry.count == 0) {
            mem_free(registry.buckets);
            registry.buckets = NULL;
            registry.size = 0;
        }
    }
    pthread_mutex_unlock(&registry.lock);
    return r ? &r->target : NULL;
}

struct target *target_hold(struct target *target)
{
    unsigned before = atomic_fetch_add_explicit(&target->refs, 1, memory_order_relaxed);
    ENSURE(before > 0);
    return target;
}

void target_drop(struct target *target)
{
    unsigned before = atomic_fetch_sub_explicit(&target->refs, 1, memory_order_acq_rel);
    ENSURE(before > 0);
    if (before > 1)
        return;
    ENSURE(atomic_load_explicit(&target->in_flight, memory_order_relaxed) == 0);
    ENSURE(!queue_line_has_waiters(&target->line));
    struct registered *r = container_of(target, struct registered, target);
    pthread_mutex_lock(&registry.lock);
    registry_remove(r);
    pthread_mutex_unlock(&registry.lock);
    outlier_forget(target);
    cluster_drop(target->cluster);
    mem_free(r->block);
}

bool target_bar(struct target *target, unsigned bars, uint64_t now_ns)
{
    unsigned before = atomic_fetch_or_explicit(&target->barred, bars, memory_order_relaxed);
    if ((before & bars) == bars)
        return false;
    cluster_changed(target->cluster);
    queue_stir(&target->cluster->queue, target);
    return true;
}

/* The time is written first: whoever sees it available sees since when. Owners may clear their bits at once: the one
 * that leaves none is told by the exchange. */
bool target_unbar(struct target *target, unsigned bars, uint64_t now_ns)
{
    unsigned before = target_barred(target);
    do {
        if (!(before & bars))
            return false;
        if ((before & ~bars) == 0)
            atomic_store_explicit(&target->available_ns, now_ns, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&target->barred, &before, before & ~bars, memory_order_release,
                                                    memory_order_relaxed));
    cluster_changed(target->cluster);
    queue_stir(&target->cluster->queue, target);
    return true;
}

static uint64_t identity_hash(const char *upstream_name, const struct address *address)
{
    char text[ADDRESS_TEXT_MAX];
    size_t len = address_format(address, true, text);
    return hash_stable(slice_make(text, len), hash_stable(slice_from(upstream_name), 0));
}

/* A reference of the one found is taken, unless it is dying. */
static struct registered *registry_find(const char *upstream_name, const struct address *address, uint64_t hash)
{
    if (!registry.buckets)
        return NULL;
    for (struct registered *r = registry.buckets[hash & (registry.size - 1)]; r; r = r->next) {
        if (r->hash != hash || !address_eq(&r->target.address, address) ||
            strcmp(r->target.cluster->name, upstream_name) != 0)
            continue;
        unsigned refs = atomic_load_explicit(&r->target.refs, memory_order_relaxed);
        while (refs > 0)
            if (atomic_compare_exchange_weak_explicit(&r->target.refs, &refs, refs + 1, memory_order_acquire,
                                                      memory_order_relaxed))
                return r;
    }
    return NULL;
}

/* Keeps the load under one. Failing to grow is harmless once there is a table at all. */
static bool registry_make_room(void)
{
    if (registry.buckets && registry.count < registry.size)
        return true;
    size_t size = registry.size ? registry.size * 2 : BUCKETS_FIRST;
    struct registered **buckets = mem_zalloc(size * sizeof *buckets);
    if (!buckets)
        return registry.buckets != NULL;
    for (size_t i = 0; i < registry.size; i++) {
        for (struct registered *r = registry.buckets[i], *next; r; r = next) {
            next = r->next;
            r->next = buckets[r->hash & (size - 1)];
            buckets[r->hash & (size - 1)] = r;
        }
    }
    mem_free(registry.buckets);
    registry.buckets = buckets;
    registry.size = size;
    return true;
}

/* One block: the struct on a cache line of its own, and its strings behind it. */
static struct registered *registered_new(const char *upstream_name, const struct address *address, const char *name)
{
    size_t name_size = strlen(name) + 1;
    size_t path_size = address->family == AF_UNIX ? address->port : 0;
    char *block = mem_zalloc(CACHE_LINE - 1 + sizeof(struct registered) + name_size + path_size);
    struct cluster *cluster = block ? cluster_get(upstream_name) : NULL;
    if (!cluster) {
        mem_free(block);
        return NULL;
    }
    struct registered *r = (void *)(((uintptr_t)block + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    char *strings = (char *)(r + 1);
    r->block = block;
    struct target *target = &r->target;
    atomic_init(&target->refs, 1);
    target->name = memcpy(strings, name, name_size);
    target->cluster = cluster;
    target->address = *address;
    queue_line_init(&target->line);
    if (path_size)
        target->address.path = memcpy(strings + name_size, address->path, path_size);
    return r;
}

static void registry_remove(struct registered *r)
{
    ENSURE(registry.count > 0);
    struct registered **at = &registry.buckets[r->hash & (registry.size - 1)];
    while (*at && *at != r)
        at = &(*at)->next;
    ENSURE(*at == r);
    *at = r->next;
    if (--registry.count == 0) {
        mem_free(registry.buckets);
        registry.buckets = NULL;
        registry.size = 0;
    }
}
