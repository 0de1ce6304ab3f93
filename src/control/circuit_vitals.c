/*
 * A breaker is told by two labels; `target` is empty for the one before the upstream as a whole.
 */
#include "control/circuit_vitals.h"

#include "base/assert.h"
#include "control/gateway.h"
#include "observe/metrics.h"
#include "upstream/upstream.h"

static struct gateway *watched;

enum circuit_figure { CIRCUIT_STATE, CIRCUIT_OPENED };

static double circuit_figure(const struct breaker *breaker, const struct breaker_conf *conf, enum circuit_figure figure)
{
    if (figure == CIRCUIT_STATE)
        return breaker_state_at(breaker, conf, watched->control.loop.now_ns);
    return (double)atomic_load_explicit(&breaker->opened, memory_order_relaxed);
}

static void collect_circuits(void *data, metric_emit *emit, void *ctx)
{
    enum circuit_figure figure = (enum circuit_figure)(uintptr_t)data;
    for (size_t i = 0; i < watched->current->upstream_count; i++) {
        const struct upstream *upstream = watched->current->upstreams[i].object;
        const struct balance_conf *conf = &upstream_settings(upstream)->balance;
        const struct target_set *set = upstream_targets(upstream);
        if (conf->circuit_breaker) {
            const char *values[] = { upstream_name(upstream), "", NULL };
            emit(ctx, values, circuit_figure(&upstream_cluster(upstream)->breaker, conf->circuit_breaker, figure));
        }
        for (uint32_t j = 0; conf->target_circuit_breaker && j < set->count; j++) {
            const struct target *target = set->slots[j].target;
            const char *values[] = { upstream_name(upstream), target->name, NULL };
            emit(ctx, values, circuit_figure(&target->breaker, conf->target_circuit_breaker, figure));
        }
    }
}

static void collect_rejected(void *data, metric_emit *emit, void *ctx)
{
    for (size_t i = 0; i < watched->current->upstream_count; i++) {
        const struct upstream *upstream = watched->current->upstreams[i].object;
        const char *values[] = { upstream_name(upstream), NULL };
        const atomic_ullong *rejected = &upstream_cluster(upstream)->breaker.rejected;
        if (upstream_settings(upstream)->balance.circuit_breaker)
            emit(ctx, values, (double)atomic_load_explicit(rejected, memory_order_relaxed));
    }
}

static void collect_fallbacks(void *data, metric_emit *emit, void *ctx)
{
    for (size_t i = 0; i < watched->current->upstream_count; i++) {
        const struct upstream *upstream = watched->current->upstreams[i].object;
        const char *values[] = { upstream_name(upstream), NULL };
        const atomic_ullong *fallbacks = &upstream_cluster(upstream)->fallbacks;
        if (upstream_settings(upstream)->fallback)
            emit(ctx, values, (double)atomic_load_explicit(fallbacks, memory_order_relaxed));
    }
}

static const struct metric_family f_state = {
    .name = "maitred_circuit_state",
    .help =
        "State of a circuit breaker: 0 closed, 1 open, 2 half-open, 3 ramping; `target` is empty for the upstream's.",
    .kind = METRIC_GAUGE,
    .labels = { "upstream", "target" },
};
static const struct metric_family f_opened = {
    .name = "maitred_circuit_opened_total",
    .help = "How often a circuit breaker opened; `target` is empty for the upstream's.",
    .kind = METRIC_COUNTER,
    .labels = { "upstream", "target" },
};
static const struct metric_family f_rejected = {
    .name = "maitred_circuit_rejected_total",
    .help = "Tries that the upstream's circuit breaker did not let through.",
    .kind = METRIC_COUNTER,
    .labels = { "upstream" },
};
static const struct metric_family f_fallbacks = {
    .name = "maitred_fallbacks_total",
    .help = "Requests that were served by the upstream's fallback.",
    .kind = METRIC_COUNTER,
    .labels = { "upstream" },
};

#define FIGURE(n) ((void *)(uintptr_t)(n))

static struct metric_source sources[] = {
    { &f_state, collect_circuits, FIGURE(CIRCUIT_STATE), NULL },
    { &f_opened, collect_circuits, FIGURE(CIRCUIT_OPENED), NULL },
    { &f_rejected, collect_rejected, NULL, NULL },
    { &f_fallbacks, collect_fallbacks, NULL, NULL },
};

void circuit_vitals_start(struct gateway *gateway)
{
    ENSURE(watched == NULL);
    watched = gateway;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        metrics_add_source(&sources[i]);
}

void circuit_vitals_stop(void)
{
    if (!watched)
        return;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        metrics_remove_source(&sources[i]);
    watched = NULL;
}
