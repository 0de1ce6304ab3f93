/*
 * The clusters of the process, by name.
 */
#include "balance/cluster.h"

#include <pthread.h>

#include "base/assert.h"
#include "base/sys.h"

enum { CACHE_LINE = 64 };

/* There are as many as upstreams: a list is enough, since only loading and the end of one look here. */
struct listed {
    struct cluster cluster; /* first: the one is found from the other */
    struct listed *next;
    void *block; /* what the allocator gave, before alignment */
};

static struct {
    pthread_mutex_t lock;
    struct listed *first;
} clusters = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct listed *listed_new(const char *name)
{
    size_t name_size = strlen(name) + 1;
    char *block = mem_zalloc(CACHE_LINE - 1 + sizeof(struct listed) + name_size);
    if (!block)
        return NULL;
    struct listed *l = (void *)(((uintptr_t)block + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
    l->block = block;
    queue_init(&l->cluster.queue);
    l->cluster.name = memcpy(l + 1, name, name_size);
    return l;
}

/* One that nobody holds is about to go, and is passed by. */
static struct listed *find(const char *name)
{
    for (struct listed *l = clusters.first; l; l = l->next)
        if (strcmp(l->cluster.name, name) == 0 && atomic_load_explicit(&l->cluster.refs, memory_order_relaxed) > 0)
            return l;
    return NULL;
}

struct cluster *cluster_get(const char *upstream_name)
{
    pthread_mutex_lock(&clusters.lock);
    struct listed *l = find(upstream_name);
    if (!l) {
        l = listed_new(upstream_name);
        if (l) {
            l->next = clusters.first;
            clusters.first = l;
        }
    }
    if (l)
        atomic_fetch_add_explicit(&l->cluster.refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&clusters.lock);
    return l ? &l->cluster : NULL;
}

struct cluster *cluster_hold(struct cluster *cluster)
{
    unsigned before = atomic_fetch_add_explicit(&cluster->refs, 1, memory_order_relaxed);
    ENSURE(before > 0);
    return cluster;
}

/* Under the lock, so that none is found in the moment between its last reference and its removal. */
void cluster_drop(struct cluster *cluster)
{
    if (!cluster)
        return;
    struct listed *gone = NULL;
    pthread_mutex_lock(&clusters.lock);
    unsigned before = atomic_fetch_sub_explicit(&cluster->refs, 1, memory_order_acq_rel);
    ENSURE(before > 0);
    if (before == 1) {
        struct listed **at = &clusters.first;
        while (&(*at)->cluster != cluster)
            at = &(*at)->next;
        gone = *at;
        *at = gone->next;
    }
    pthread_mutex_unlock(&clusters.lock);
    if (!gone)
        return;
    queue_done(&gone->cluster.queue);
    mem_free(gone->block);
}
