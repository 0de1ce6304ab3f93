/*
 * Metrics that are read rather than counted: connections, memory, upstreams, targets, reloads.
 */
#include "control/vitals.h"

#include "base/assert.h"
#include "control/gateway.h"
#include "control/limit_vitals.h"
#include "control/plans.h"
#include "exchange/plan.h"
#include "observe/metrics.h"
#include "upstream/upstream.h"

static struct gateway *watched;
static struct series *errors[ERR_COUNT], *unrouted[STATUS_CLASSES];
static metric_cell *unrouted_places[STATUS_CLASSES];
static struct series *unrouted_calls[GRPC_STATUS_COUNT];
static metric_cell *unrouted_call_places[GRPC_STATUS_COUNT];

static const struct metric_family errors_family = {
    .name = "maitred_errors_total",
    .help = "Exchanges that ended with an error, by side (client, upstream, internal) and word, as in the access log.",
    .kind = METRIC_COUNTER,
    .labels = { "side", "error" },
};

static struct tunnel_series tunnels;
static const struct metric_family tunnels_family = {
    .name = "maitred_tunnels",
    .help = "Tunnels open now: WebSocket, other upgrades, CONNECT.",
    .kind = METRIC_GAUGE,
};
static const struct metric_family tunnels_ended_family = {
    .name = "maitred_tunnels_ended_total",
    .help = "Tunnels that ended, by who or what ended them first (client, service, idle, lifetime, draining, error).",
    .kind = METRIC_COUNTER,
    .labels = { "reason" },
};

struct series **vitals_errors(void)
{
    return errors;
}

const struct tunnel_series *vitals_tunnels(void)
{
    return &tunnels;
}

static void start_tunnels(void)
{
    const char *none[] = { NULL };
    tunnels.open = series_get(&tunnels_family, none);
    for (int i = 0; i < TUNNEL_ENDS; i++) {
        const char *values[] = { tunnel_end_words[i], NULL };
        tunnels.ended[i] = series_get(&tunnels_ended_family, values);
    }
}

static void stop_tunnels(void)
{
    series_drop(tunnels.open);
    for (int i = 0; i < TUNNEL_ENDS; i++)
        series_drop(tunnels.ended[i]);
    tunnels = (struct tunnel_series){ NULL };
}

metric_cell **vitals_unrouted(void)
{
    return unrouted_places;
}

metric_cell **vitals_unrouted_calls(void)
{
    return unrouted_call_places;
}

static void emit_one(metric_emit *emit, void *ctx, double value)
{
    const char *none[] = { NULL };
    emit(ctx, none, value);
}

/* ---- the process ---- */

static void collect_connections(void *data, metric_emit *emit, void *ctx)
{
    emit_one(emit, ctx, atomic_load_explicit(&watched->shared.connections, memory_order_relaxed));
}
static void collect_accepted(void *data, metric_emit *emit, void *ctx)
{
    emit_one(emit, ctx, (double)atomic_load_explicit(&watched->shared.accepted, memory_order_relaxed));
}
static void collect_accept_errors(void *data, metric_emit *emit, void *ctx)
{
    emit_one(emit, ctx, (double)atomic_load_explicit(&watched->shared.accept_errors, memory_order_relaxed));
}
static void collect_shed(void *data, metric_emit *emit, void *ctx)
{
    emit_one(emit, ctx, (double)atomic_load_explicit(&watched->shared.refused, memory_order_relaxed));
}
static void collect_memory(void *data, metric_emit *emit, void *ctx)
{
    emit_one(emit, ctx, (double)atomic_load_explicit(&watched->memory_used, memory_order_relaxed));
}
static void collect_memory_limit(void *data, metric_emit *emit, void *ctx)
{
    emit_one(emit, ctx, (double)watched->memory_max);
}
static void collect_reloads(void *data, metric_emit *emit, void *ctx)
{
    const char *fine[] = { "success", NULL }, *failed[] = { "failure", NULL };
    emit(ctx, fine, (double)watched->reloads);
    emit(ctx, failed, (double)watched->reload_failures);
}
static void collect_generation(void *data, metric_emit *emit, void *ctx)
{
    emit_one(emit, ctx, (double)watched->current->generation);
}
static void collect_loaded(void *data, metric_emit *emit, void *ctx)
{
    emit_one(emit, ctx, (double)watched->loaded_wall_ns / 1e9);
}
static void collect_started(void *data, metric_emit *emit, void *ctx)
{
    emit_one(emit, ctx, (double)watched->started_wall_ns / 1e9);
}
static void collect_build(void *data, metric_emit *emit, void *ctx)
{
    const char *version[] = { MAITRED_VERSION, NULL };
    emit(ctx, version, 1);
}
static void collect_workers(void *data, metric_emit *emit, void *ctx)
{
    emit_one(emit, ctx, watched->worker_count);
}

/* ---- upstreams and their targets ---- */

enum upstream_figure {
    FIGURE_CONNECTS,
    FIGURE_CONNECT_FAILURES,
    FIGURE_REUSED,
    FIGURE_STALE,
    FIGURE_IDLE,
    FIGURE_BUSY,
    FIGURE_ACTIVE,
    FIGURE_RETRIES,
    FIGURE_RETRIES_ACTIVE,
    FIGURE_HEDGES,
    FIGURE_HEDGES_WON
};

static double upstream_figure(const struct upstream_stats *s, enum upstream_figure figure)
{
    switch (figure) {
    case FIGURE_CONNECTS:
        return (double)s->connects;
    case FIGURE_CONNECT_FAILURES:
        return (double)s->connect_failures;
    case FIGURE_REUSED:
        return (double)s->reused;
    case FIGURE_STALE:
        return (double)s->stale;
    case FIGURE_IDLE:
        return s->idle;
    case FIGURE_BUSY:
        return s->busy;
    case FIGURE_ACTIVE:
        return s->active_requests;
    case FIGURE_RETRIES:
        return (double)s->retries;
    case FIGURE_HEDGES:
        return (double)s->hedges;
    case FIGURE_HEDGES_WON:
        return (double)s->hedges_won;
    case FIGURE_RETRIES_ACTIVE:
        return s->active_retries;
    }
    return 0;
}

static void collect_upstreams(void *data, metric_emit *emit, void *ctx)
{
    enum upstream_figure figure = (enum upstream_figure)(uintptr_t)data;
    for (size_t i = 0; i < watched->current->upstream_count; i++) {
        const struct upstream *upstream = watched->current->upstreams[i].object;
        struct upstream_stats stats;
        upstream_stats(upstream, &stats);
        const char *values[] = { upstream_name(upstream), NULL };
        emit(ctx, values, upstream_figure(&stats, figure));
    }
}

static void collect_target_counts(void *data, metric_emit *emit, void *ctx)
{
    for (size_t i = 0; i < watched->current->upstream_count; i++) {
        const struct upstream *upstream = watched->current->upstreams[i].object;
        const char *values[] = { upstream_name(upstream), NULL };
        emit(ctx, values, upstream_targets(upstream)->count);
    }
}

enum target_figure { TARGET_IN_FLIGHT, TARGET_CONNECTIONS, TARGET_PICKS, TARGET_FAILURES, TARGET_IS_UP };

static double target_figure(const struct target *t, enum target_figure figure)
{
    switch (figure) {
    case TARGET_IN_FLIGHT:
        return atomic_load_explicit(&t->in_flight, memory_order_relaxed);
    case TARGET_CONNECTIONS:
        return atomic_load_explicit(&t->connections, memory_order_relaxed);
    case TARGET_PICKS:
        return (double)atomic_load_explicit(&t->picks, memory_order_relaxed);
    case TARGET_FAILURES:
        return (double)atomic_load_explicit(&t->failures, memory_order_relaxed);
    case TARGET_IS_UP:
        return target_barred(t) == 0;
    }
    return 0;
}

static void collect_targets(void *data, metric_emit *emit, void *ctx)
{
    enum target_figure figure = (enum target_figure)(uintptr_t)data;
    for (size_t i = 0; i < watched->current->upstream_count; i++) {
        const struct upstream *upstream = watched->current->upstreams[i].object;
        const struct target_set *set = upstream_targets(upstream);
        for (uint32_t j = 0; set && j < set->count; j++) {
            const struct target *target = set->slots[j].target;
            const char *values[] = { upstream_name(upstream), target->name, NULL };
            emit(ctx, values, target_figure(target, figure));
        }
    }
}

/* ---- the list ---- */

#define FAMILY(var, metric, type, text, ...)                                                                           \
    static const struct metric_family var = { .name = metric, .help = text, .kind = type, .labels = { __VA_ARGS__ } };

FAMILY(f_connections, "maitred_connections", METRIC_GAUGE, "Client connections open now.", NULL)
FAMILY(f_accepted, "maitred_connections_accepted_total", METRIC_COUNTER, "Client connections accepted.", NULL)
FAMILY(f_accept_errors, "maitred_accept_errors_total", METRIC_COUNTER,
       "Accepts that failed, for want of descriptors or memory.", NULL)
FAMILY(f_shed, "maitred_requests_shed_total", METRIC_COUNTER, "Requests answered with 503 because memory was short.",
       NULL)
FAMILY(f_memory, "maitred_memory_used_bytes", METRIC_GAUGE, "Charged to the memory budget now.", NULL)
FAMILY(f_memory_limit, "maitred_memory_limit_bytes", METRIC_GAUGE, "The memory budget; 0 is no limit.", NULL)
FAMILY(f_reloads, "maitred_reloads_total", METRIC_COUNTER, "Reloads by result.", "result")
FAMILY(f_generation, "maitred_configuration_generation", METRIC_GAUGE, "Number of the configuration in force.", NULL)
FAMILY(f_loaded, "maitred_configuration_loaded_timestamp_seconds", METRIC_GAUGE,
       "When the configuration in force was loaded.", NULL)
FAMILY(f_started, "maitred_start_timestamp_seconds", METRIC_GAUGE, "When the process started.", NULL)
FAMILY(f_build, "maitred_build_info", METRIC_GAUGE, "Always 1; the version is a label.", "version")
FAMILY(f_workers, "maitred_workers", METRIC_GAUGE, "Worker threads.", NULL)
FAMILY(f_connects, "maitred_upstream_connects_total", METRIC_COUNTER, "Connections opened to targets.", "upstream")
FAMILY(f_connect_failures, "maitred_upstream_connect_failures_total", METRIC_COUNTER,
       "Connections to targets that could not be opened.", "upstream")
FAMILY(f_reused, "maitred_upstream_connections_reused_total", METRIC_COUNTER, "Tries that used an idle connection.",
       "upstream")
FAMILY(f_stale, "maitred_upstream_connections_stale_total", METRIC_COUNTER,
       "Idle connections found closed by the target when they were wanted.", "upstream")
FAMILY(f_idle, "maitred_upstream_connections_idle", METRIC_GAUGE, "Idle connections kept now.", "upstream")
FAMILY(f_busy, "maitred_upstream_connections_busy", METRIC_GAUGE, "Connections in use now.", "upstream")
FAMILY(f_active, "maitred_upstream_requests_active", METRIC_GAUGE, "Requests in progress now, whatever their tries.",
       "upstream")
FAMILY(f_retries, "maitred_upstream_retries_total", METRIC_COUNTER,
       "Tries after a first one that failed; those in place of stale connections are not among them.", "upstream")
FAMILY(f_hedges, "maitred_upstream_hedges_total", METRIC_COUNTER,
       "Further tries of requests whose first was still open, for being late.", "upstream")
FAMILY(f_hedges_won, "maitred_upstream_hedges_won_total", METRIC_COUNTER, "Hedges whose answer was the one passed on.",
       "upstream")
FAMILY(f_retries_active, "maitred_upstream_retries_active", METRIC_GAUGE, "Retries in progress now.", "upstream")
FAMILY(f_target_count, "maitred_upstream_targets", METRIC_GAUGE, "Targets that the upstream has now, well or not.",
       "upstream")
FAMILY(f_in_flight, "maitred_target_requests_in_flight", METRIC_GAUGE, "Tries on the target now.", "upstream", "target")
FAMILY(f_target_connections, "maitred_target_connections", METRIC_GAUGE, "Connections to the target now.", "upstream",
       "target")
FAMILY(f_picks, "maitred_target_picks_total", METRIC_COUNTER, "Tries sent to the target.", "upstream", "target")
FAMILY(f_failures, "maitred_target_failures_total", METRIC_COUNTER, "Tries on the target that failed.", "upstream",
       "target")
FAMILY(f_up, "maitred_target_up", METRIC_GAUGE, "1 when the target may be picked.", "upstream", "target")

#define FIGURE(n) ((void *)(uintptr_t)(n))

static struct metric_source sources[] = {
    { &f_build, collect_build, NULL, NULL },
    { &f_started, collect_started, NULL, NULL },
    { &f_workers, collect_workers, NULL, NULL },
    { &f_connections, collect_connections, NULL, NULL },
    { &f_accepted, collect_accepted, NULL, NULL },
    { &f_accept_errors, collect_accept_errors, NULL, NULL },
    { &f_shed, collect_shed, NULL, NULL },
    { &f_memory, collect_memory, NULL, NULL },
    { &f_memory_limit, collect_memory_limit, NULL, NULL },
    { &f_reloads, collect_reloads, NULL, NULL },
    { &f_generation, collect_generation, NULL, NULL },
    { &f_loaded, collect_loaded, NULL, NULL },
    { &f_connects, collect_upstreams, FIGURE(FIGURE_CONNECTS), NULL },
    { &f_connect_failures, collect_upstreams, FIGURE(FIGURE_CONNECT_FAILURES), NULL },
    { &f_reused, collect_upstreams, FIGURE(FIGURE_REUSED), NULL },
    { &f_stale, collect_upstreams, FIGURE(FIGURE_STALE), NULL },
    { &f_idle, collect_upstreams, FIGURE(FIGURE_IDLE), NULL },
    { &f_busy, collect_upstreams, FIGURE(FIGURE_BUSY), NULL },
    { &f_active, collect_upstreams, FIGURE(FIGURE_ACTIVE), NULL },
    { &f_retries, collect_upstreams, FIGURE(FIGURE_RETRIES), NULL },
    { &f_hedges, collect_upstreams, FIGURE(FIGURE_HEDGES), NULL },
    { &f_hedges_won, collect_upstreams, FIGURE(FIGURE_HEDGES_WON), NULL },
    { &f_retries_active, collect_upstreams, FIGURE(FIGURE_RETRIES_ACTIVE), NULL },
    { &f_target_count, collect_target_counts, NULL, NULL },
    { &f_in_flight, collect_targets, FIGURE(TARGET_IN_FLIGHT), NULL },
    { &f_target_connections, collect_targets, FIGURE(TARGET_CONNECTIONS), NULL },
    { &f_picks, collect_targets, FIGURE(TARGET_PICKS), NULL },
    { &f_failures, collect_targets, FIGURE(TARGET_FAILURES), NULL },
    { &f_up, collect_targets, FIGURE(TARGET_IS_UP), NULL },
};

void vitals_start(struct gateway *gateway)
{
    ENSURE(watched == NULL);
    watched = gateway;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        metrics_add_source(&sources[i]);
    limit_vitals_start(gateway);
    start_tunnels();
    for (int i = 1; i < ERR_COUNT; i++) {
        const struct err_info *info = err_info((enum err)i);
        const char *values[] = { err_side_word(info->side), info->word, NULL };
        errors[i] = series_get(&errors_family, values);
    }
    for (int i = 0; i < STATUS_CLASSES; i++) {
        const char *values[] = { "", status_class_words[i], NULL };
        unrouted[i] = series_get(&requests_family, values);
        unrouted_places[i] = series_place(unrouted[i]);
    }
    for (int i = 0; i < GRPC_STATUS_COUNT; i++) {
        const char *values[] = { "", plan_call_label((enum grpc_status)i), NULL };
        unrouted_calls[i] = series_get(&calls_family, values);
        unrouted_call_places[i] = series_place(unrouted_calls[i]);
    }
}

void vitals_stop(void)
{
    if (!watched)
        return;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        metrics_remove_source(&sources[i]);
    limit_vitals_stop();
    stop_tunnels();
    for (int i = 1; i < ERR_COUNT; i++) {
        series_drop(errors[i]);
        errors[i] = NULL;
    }
    for (int i = 0; i < STATUS_CLASSES; i++) {
        series_drop(unrouted[i]);
        unrouted_places[i] = NULL;
    }
    for (int i = 0; i < GRPC_STATUS_COUNT; i++) {
        series_drop(unrouted_calls[i]);
        unrouted_call_places[i] = NULL;
    }
    watched = NULL;
}
