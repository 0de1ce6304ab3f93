/*
 * Limits that are not set have no series, and nor have queues that are off.
 */
#include "control/limit_vitals.h"

#include "base/assert.h"
#include "control/gateway.h"
#include "observe/metrics.h"
#include "upstream/limits.h"
#include "upstream/upstream.h"
#include "upstream/waiting.h"

static struct gateway *watched;

static void emit_limit(metric_emit *emit, void *ctx, const struct upstream *upstream, const char *limit, int64_t value)
{
    const char *values[] = { upstream_name(upstream), limit, NULL };
    if (value != 0)
        emit(ctx, values, (double)value);
}

static void collect_limits(void *data, metric_emit *emit, void *ctx)
{
    for (size_t i = 0; i < watched->current->upstream_count; i++) {
        const struct upstream *upstream = watched->current->upstreams[i].object;
        const struct upstream_conf *conf = upstream_settings(upstream);
        emit_limit(emit, ctx, upstream, "requests", limits_requests(conf));
        emit_limit(emit, ctx, upstream, "connections", conf->max_connections);
        if (conf->balance.adaptive)
            emit_limit(emit, ctx, upstream, "adaptive",
                       adaptive_limit(&upstream_cluster(upstream)->adaptive, conf->balance.adaptive));
        emit_limit(emit, ctx, upstream, "requests_per_target", limits_requests_per_target(conf));
        emit_limit(emit, ctx, upstream, "connections_per_target", conf->max_connections_per_target);
        emit_limit(emit, ctx, upstream, "queue", conf->queue ? conf->queue->size : 0);
    }
}

enum use { USE_REQUESTS, USE_CONNECTIONS };

/* Counted only where it is limited. */
static void collect_use(void *data, metric_emit *emit, void *ctx)
{
    enum use use = (enum use)(uintptr_t)data;
    for (size_t i = 0; i < watched->current->upstream_count; i++) {
        const struct upstream *upstream = watched->current->upstreams[i].object;
        const struct upstream_conf *conf = upstream_settings(upstream);
        const struct permits *permits = &upstream_cluster(upstream)->permits;
        const atomic_uint *count = use == USE_REQUESTS ? &permits->requests : &permits->connections;
        const char *values[] = { upstream_name(upstream), NULL };
        if (use == USE_REQUESTS ? limits_requests(conf) != 0 || conf->balance.adaptive : conf->max_connections != 0)
            emit(ctx, values, atomic_load_explicit(count, memory_order_relaxed));
    }
}

static void collect_target_limits(void *data, metric_emit *emit, void *ctx)
{
    for (size_t i = 0; i < watched->current->upstream_count; i++) {
        const struct upstream *upstream = watched->current->upstreams[i].object;
        const struct target_set *set = upstream_targets(upstream);
        for (uint32_t j = 0; set && set->limited && j < set->count; j++) {
            const struct target_slot *slot = &set->slots[j];
            const char *requests[] = { upstream_name(upstream), slot->target->name, "requests", NULL };
            const char *connections[] = { upstream_name(upstream), slot->target->name, "connections", NULL };
            if (slot->requests_max)
                emit(ctx, requests, slot->requests_max);
            if (slot->connections_max)
                emit(ctx, connections, slot->connections_max);
        }
    }
}

enum queue_figure { QUEUE_WAITING, QUEUE_WAITS, QUEUE_WAIT_SECONDS, QUEUE_TIMEOUTS, QUEUE_REFUSED };

static double queue_figure(const struct queue *queue, enum queue_figure figure)
{
    switch (figure) {
    case QUEUE_WAITING:
        return atomic_load_explicit(&queue->waiting, memory_order_relaxed);
    case QUEUE_WAITS:
        return (double)atomic_load_explicit(&queue->waits, memory_order_relaxed);
    case QUEUE_WAIT_SECONDS:
        return (double)atomic_load_explicit(&queue->wait_ns, memory_order_relaxed) / 1e9;
    case QUEUE_TIMEOUTS:
        return (double)atomic_load_explicit(&queue->timeouts, memory_order_relaxed);
    case QUEUE_REFUSED:
        return (double)atomic_load_explicit(&queue->refused, memory_order_relaxed);
    }
    return 0;
}

static void collect_queues(void *data, metric_emit *emit, void *ctx)
{
    enum queue_figure figure = (enum queue_figure)(uintptr_t)data;
    for (size_t i = 0; i < watched->current->upstream_count; i++) {
        const struct upstream *upstream = watched->current->upstreams[i].object;
        const char *values[] = { upstream_name(upstream), NULL };
        if (upstream_settings(upstream)->queue)
            emit(ctx, values, queue_figure(&upstream_cluster(upstream)->queue, figure));
    }
}

#define FAMILY(var, metric, type, text, ...)                                                                           \
    static const struct metric_family var = { .name = metric, .help = text, .kind = type, .labels = { __VA_ARGS__ } };

FAMILY(f_limit, "maitred_upstream_limit", METRIC_GAUGE,
       "The upstream's limits: requests, adaptive (as it is now), connections, requests_per_target, "
       "connections_per_target, queue.",
       "upstream", "limit")
FAMILY(f_requests, "maitred_upstream_requests_in_flight", METRIC_GAUGE,
       "Tries that count against the upstream's limit on requests now.", "upstream")
FAMILY(f_connections, "maitred_upstream_connections", METRIC_GAUGE,
       "Connections that count against the upstream's limit now.", "upstream")
FAMILY(f_target_limit, "maitred_target_limit", METRIC_GAUGE,
       "A target's own limits, where it has any: requests, connections.", "upstream", "target", "limit")
FAMILY(f_waiting, "maitred_upstream_queue_waiting", METRIC_GAUGE, "Requests that wait for a permit now.", "upstream")
FAMILY(f_waits, "maitred_upstream_queue_waits_total", METRIC_COUNTER, "Requests that had to wait for a permit.",
       "upstream")
FAMILY(f_wait_seconds, "maitred_upstream_queue_wait_seconds_total", METRIC_COUNTER,
       "Time that requests have waited for permits, all together, of waits that are over.", "upstream")
FAMILY(f_timeouts, "maitred_upstream_queue_timeouts_total", METRIC_COUNTER,
       "Requests that waited for as long as the queue lets them.", "upstream")
FAMILY(f_refused, "maitred_upstream_queue_refused_total", METRIC_COUNTER, "Requests that found the queue full.",
       "upstream")

#define FIGURE(n) ((void *)(uintptr_t)(n))

static struct metric_source sources[] = {
    { &f_limit, collect_limits, NULL, NULL },
    { &f_requests, collect_use, FIGURE(USE_REQUESTS), NULL },
    { &f_connections, collect_use, FIGURE(USE_CONNECTIONS), NULL },
    { &f_target_limit, collect_target_limits, NULL, NULL },
    { &f_waiting, collect_queues, FIGURE(QUEUE_WAITING), NULL },
    { &f_waits, collect_queues, FIGURE(QUEUE_WAITS), NULL },
    { &f_wait_seconds, collect_queues, FIGURE(QUEUE_WAIT_SECONDS), NULL },
    { &f_timeouts, collect_queues, FIGURE(QUEUE_TIMEOUTS), NULL },
    { &f_refused, collect_queues, FIGURE(QUEUE_REFUSED), NULL },
};

void limit_vitals_start(struct gateway *gateway)
{
    ENSURE(watched == NULL);
    watched = gateway;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        metrics_add_source(&sources[i]);
}

void limit_vitals_stop(void)
{
    if (!watched)
        return;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        metrics_remove_source(&sources[i]);
    watched = NULL;
}
