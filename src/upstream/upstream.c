/*
 * The process-wide part of an upstream: its settings, its current set of targets, the limits of its connections, its
 * figures.
 */
#include "upstream/upstream.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "upstream/state.h"
#include "upstream/targets.h"

enum {
    RESPONSE_HEAD_BYTES_MAX = 65536, /* a service is trusted further than a client, but not with our memory */
    RESPONSE_FIELDS_MAX = 256,
    SPLICE_BYTES_MIN = 32768, /* below it, copying costs less than the two system calls more */
    LINGER_MS = 1000,
};

_Static_assert(sizeof(struct upstream_cell) <= HOT_LINE_BYTES, "a worker's figures fit a cache line");

static struct target_set *set_of_addresses(const char *name, const struct upstream_conf *conf, struct cluster *cluster);
static bool hot_part_new(struct upstream *upstream);
static struct http_limits limits_of(const struct upstream_conf *conf);

struct upstream *upstream_new(const char *name, const struct upstream_conf *conf, struct conf *conf_owner,
                              unsigned workers)
{
    ENSURE(name && conf && workers > 0 && conf->balance.algorithm >= 0);
    struct upstream *upstream = mem_zalloc(sizeof *upstream + workers * sizeof *upstream->attached);
    if (!upstream)
        return NULL;
    size_t name_size = strlen(name) + 1;
    upstream->workers = workers;
    upstream->name = mem_alloc(name_size);
    upstream->cluster = cluster_get(name);
    upstream->set = upstream->cluster ? set_of_addresses(name, conf, upstream->cluster) : NULL;
    if (upstream_wants_tls(conf))
        upstream->secured = mem_zalloc(workers * sizeof *upstream->secured);
    upstream->loops = mem_zalloc(workers * sizeof(struct loop *));
    if (!upstream->name || !upstream->loops || !upstream->cluster || !upstream->set ||
        (upstream_wants_tls(conf) && !upstream->secured) || !hot_part_new(upstream)) {
        target_set_drop(upstream->set);
        cluster_drop(upstream->cluster);
        mem_free(upstream->secured);
        mem_free(upstream->loops);
        mem_free(upstream->name);
        mem_free(upstream);
        return NULL;
    }
    memcpy(upstream->name, name, name_size);
    atomic_init(&upstream->refs, 1);
    pthread_mutex_init(&upstream->lock, NULL);
    upstream->conf = conf;
    upstream->conf_owner = conf_owner ? conf_hold(conf_owner) : NULL;
    upstream->limits = limits_of(conf);
    return upstream;
}

void upstream_limit(struct upstream *upstream, const struct http_limits *limits)
{
    for (unsigned i = 0; i < upstream->workers; i++)
        ENSURE(!upstream->attached[i]);
    upstream->limits.head_bytes_max = limits->head_bytes_max;
    upstream->limits.fields_max = limits->fields_max;
    upstream->limits.body_room_bytes = limits->body_room_bytes;
    upstream->limits.splice_bytes_min = limits->splice_bytes_min;
}

struct upstream *upstream_hold(struct upstream *upstream)
{
    unsigned before = atomic_fetch_add_explicit(&upstream->refs, 1, memory_order_relaxed);
    ENSURE(before > 0);
    return upstream;
}

void upstream_drop(struct upstream *upstream)
{
    if (!upstream)
        return;
    unsigned before = atomic_fetch_sub_explicit(&upstream->refs, 1, memory_order_acq_rel);
    ENSURE(before > 0);
    if (before > 1)
        return;
    for (unsigned i = 0; i < upstream->workers; i++)
        ENSURE(!upstream->attached[i]);
    target_set_drop(upstream->set);
    cluster_drop(upstream->cluster);
    pthread_mutex_destroy(&upstream->lock);
    if (upstream->conf_owner)
        conf_free(upstream->conf_owner);
    upstream_secured_done(upstream);
    mem_free(upstream->hot_block);
    mem_free(upstream->loops);
    mem_free(upstream->name);
    mem_free(upstream);
}

const char *upstream_name(const struct upstream *upstream)
{
    return upstream->name;
}

const struct upstream_conf *upstream_settings(const struct upstream *upstream)
{
    return upstream->conf;
}

struct cluster *upstream_cluster(const struct upstream *upstream)
{
    return upstream->cluster;
}

uint64_t upstream_targets_again_ms(const struct upstream *upstream, unsigned worker, uint64_t now_ns)
{
    const struct upstream_worker *w = upstream->attached[worker];
    return w && w->balancer.trial_ns > now_ns ? (w->balancer.trial_ns - now_ns + 999999) / 1000000 : 0;
}

uint64_t upstream_open_again_ms(const struct upstream *upstream, uint64_t now_ns)
{
    const struct breaker_conf *conf = upstream->conf->balance.circuit_breaker;
    return conf ? breaker_wait_ms(&upstream->cluster->breaker, conf, now_ns) : 0;
}

struct target_set *upstream_targets(const struct upstream *upstream)
{
    return upstream->set;
}

void upstream_set_targets(struct upstream *upstream, struct target_set *set)
{
    ENSURE(set);
    pthread_mutex_lock(&upstream->lock);
    struct target_set *old = upstream->set;
    upstream->set = set;
    pthread_mutex_unlock(&upstream->lock);
    target_set_drop(old);
}

struct target_set *upstream_current_set(struct upstream *upstream)
{
    pthread_mutex_lock(&upstream->lock);
    struct target_set *set = target_set_hold(upstream->set);
    pthread_mutex_unlock(&upstream->lock);
    return set;
}

/* With a limit on connections, no worker's idle ones may keep another worker from its share. */
void upstream_share(struct upstream *upstream, unsigned worker, struct loop *loop)
{
    const struct upstream_conf *conf = upstream->conf;
    pthread_mutex_lock(&upstream->lock);
    ENSURE(!upstream->loops[worker] != !loop);
    upstream->loops[worker] = loop;
    upstream->sharers += loop ? 1u : -1u;
    int64_t sharers = MAX(upstream->sharers, 1u);
    int64_t share = (conf->keep_alive_connections + sharers - 1) / sharers;
    if (conf->max_connections_per_target)
        share = MIN(share, conf->max_connections_per_target / sharers);
    if (conf->max_connections)
        share = MIN(share, conf->max_connections / sharers);
    atomic_store_explicit(&upstream->idle_max, (unsigned)MIN(share, INT32_MAX), memory_order_relaxed);
    atomic_store_explicit(&upstream->keeps_permits, sharers == 1, memory_order_relaxed);
    pthread_mutex_unlock(&upstream->lock);
}

void upstream_stats(const struct upstream *upstream, struct upstream_stats *ret_stats)
{
    struct upstream_stats sum = { 0 };
    for (unsigned i = 0; i < upstream->workers; i++) {
        struct upstream_cell *cell = upstream_cell(upstream, i);
        sum.connects += atomic_load_explicit(&cell->connects, memory_order_relaxed);
        sum.connect_failures += atomic_load_explicit(&cell->connect_failures, memory_order_relaxed);
        sum.reused += atomic_load_explicit(&cell->reused, memory_order_relaxed);
        sum.stale += atomic_load_explicit(&cell->stale, memory_order_relaxed);
        sum.idle += atomic_load_explicit(&cell->idle, memory_order_relaxed);
        sum.busy += atomic_load_explicit(&cell->busy, memory_order_relaxed);
    }
    sum.active_requests = atomic_load_explicit(&upstream->budget->active_requests, memory_order_relaxed);
    sum.hedges = atomic_load_explicit(&upstream->budget->hedges, memory_order_relaxed);
    sum.hedges_won = atomic_load_explicit(&upstream->budget->hedges_won, memory_order_relaxed);
    sum.retries = atomic_load_explicit(&upstream->budget->retries, memory_order_relaxed);
    sum.active_retries = atomic_load_explicit(&upstream->budget->active_retries, memory_order_relaxed);
    *ret_stats = sum;
}

/* Names have no target before they are resolved. */
static struct target_set *set_of_addresses(const char *name, const struct upstream_conf *conf, struct cluster *cluster)
{
    struct found_target *found = mem_alloc((conf->targets.count + 1) * sizeof *found);
    if (!found)
        return NULL;
    size_t count = targets_given(conf, found);
    struct target_set *set = targets_build(name, conf, cluster, found, count);
    if (count == conf->targets.count)
        atomic_store_explicit(&cluster->settled, true, memory_order_relaxed);
    mem_free(found);
    return set;
}

/* The budget first, then a line for each worker. */
static bool hot_part_new(struct upstream *upstream)
{
    upstream->hot_block = mem_zalloc(((size_t)upstream->workers + 2) * HOT_LINE_BYTES);
    if (!upstream->hot_block)
        return false;
    uintptr_t at = ((uintptr_t)upstream->hot_block + HOT_LINE_BYTES - 1) & ~(uintptr_t)(HOT_LINE_BYTES - 1);
    upstream->budget = (struct upstream_budget *)at;
    upstream->cells = (char *)at + HOT_LINE_BYTES;
    return true;
}

/* keep_alive_ms stays 0: the pool's one timer closes idle connections, instead of one each. */
static struct http_limits limits_of(const struct upstream_conf *conf)
{
    const struct upstream_timeouts *timeouts = &conf->timeouts;
    return (struct http_limits){
        .head_bytes_max = RESPONSE_HEAD_BYTES_MAX,
        .fields_max = RESPONSE_FIELDS_MAX,
        .body_room_bytes = PIPE_ROOM_DEFAULT,
        .splice_bytes_min = SPLICE_BYTES_MIN,
        .requests_max = (uint32_t)conf->max_requests_per_connection,
        .head_timeout_ms = (uint32_t)timeouts->response_timeout_ms,
        .body_idle_ms = (uint32_t)timeouts->body_idle_timeout_ms,
        .send_idle_ms = (uint32_t)timeouts->send_idle_timeout_ms,
        .linger_ms = LINGER_MS,
        .underscores_ok = true,
    };
}
