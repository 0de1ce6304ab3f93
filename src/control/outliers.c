/*
 * Watching the targets of upstreams with outlier detection.
 */
#include "control/outliers.h"

#include "balance/outlier.h"
#include "base/assert.h"
#include "base/sys.h"
#include "control/gateway.h"
#include "observe/metrics.h"
#include "upstream/upstream.h"

enum { TICK_MS = 1000 }; /* how late somebody may be let back */

/* An upstream with outlier detection. */
struct watched {
    struct watched *next;
    struct outliers *outliers;
    struct upstream *upstream; /* held */
    struct target_set *set;    /* as of the last tick; a reference */
    struct timer timer;
    uint64_t interval_end_ms;
    bool wanted; /* scratch of one outliers_follow */
};

struct outliers {
    struct gateway *gateway;
    struct loop *loop;
    struct watched *first;
};

/* ---- figures ---- */

static struct outliers *current;

static const struct metric_family ejections_family = {
    .name = "maitred_target_ejections_total",
    .help = "Targets that outlier detection ejected, by reason.",
    .kind = METRIC_COUNTER,
    .labels = { "upstream", "reason" },
};
static const struct metric_family ejected_family = {
    .name = "maitred_targets_ejected",
    .help = "Targets that are ejected now.",
    .kind = METRIC_GAUGE,
    .labels = { "upstream" },
};

static void collect_ejections(void *data, metric_emit *emit, void *ctx)
{
    for (const struct watched *w = current->first; w; w = w->next)
        for (int i = 0; i < OUTLIER_REASONS; i++) {
            const char *values[] = { upstream_name(w->upstream), outlier_reason_words[i], NULL };
            const atomic_ullong *ejections = &upstream_cluster(w->upstream)->outlier.ejections[i];
            emit(ctx, values, (double)atomic_load_explicit(ejections, memory_order_relaxed));
        }
}

static void collect_ejected(void *data, metric_emit *emit, void *ctx)
{
    for (const struct watched *w = current->first; w; w = w->next) {
        const char *values[] = { upstream_name(w->upstream), NULL };
        emit(ctx, values, atomic_load_explicit(&upstream_cluster(w->upstream)->outlier.ejected, memory_order_relaxed));
    }
}

static struct metric_source sources[] = {
    { &ejections_family, collect_ejections, NULL, NULL },
    { &ejected_family, collect_ejected, NULL, NULL },
};

/* ---- ticks ---- */

static const struct outlier_conf *conf_of(const struct watched *w)
{
    return upstream_settings(w->upstream)->balance.outlier;
}

static bool set_has(const struct target_set *set, const struct target *target)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->slots[i].target == target)
            return true;
    return false;
}

static bool is_watched(const struct outliers *outliers, const struct target *target)
{
    for (const struct watched *w = outliers->first; w; w = w->next)
        if (upstream_cluster(w->upstream) == target->cluster && set_has(upstream_targets(w->upstream), target))
            return true;
    return false;
}

/* The few of a set that are out come back, unless somebody watches them. */
static void let_back_unwatched(const struct outliers *outliers, const struct target_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        struct target *target = set->slots[i].target;
        if ((target_barred(target) & BAR_EJECTED) && !is_watched(outliers, target))
            (void)outlier_uneject(target, outliers->loop->now_ns);
    }
}

static void take_set(struct watched *w)
{
    struct target_set *set = upstream_targets(w->upstream), *old = w->set;
    if (set == old)
        return;
    w->set = target_set_hold(set);
    let_back_unwatched(w->outliers, old);
    target_set_drop(old);
}

static void arm(struct watched *w)
{
    struct loop *loop = w->outliers->loop;
    timer_set(loop, &w->timer, MIN(w->interval_end_ms, loop->now_ms + TICK_MS));
}

static void on_tick(struct timer *timer)
{
    struct watched *w = container_of(timer, struct watched, timer);
    const struct loop *loop = w->outliers->loop;
    take_set(w);
    if (atomic_load_explicit(&upstream_cluster(w->upstream)->outlier.ejected, memory_order_relaxed) > 0)
        (void)outlier_sweep(w->set, loop->now_ns);
    if (loop->now_ms >= w->interval_end_ms) {
        (void)outlier_evaluate(w->set, conf_of(w), loop->now_ns);
        w->interval_end_ms = loop->now_ms + (uint64_t)conf_of(w)->interval_ms;
    }
    arm(w);
}

/* ---- following ---- */

static void watch(struct outliers *outliers, struct upstream *upstream)
{
    struct watched *w = mem_must(sizeof *w);
    w->outliers = outliers;
    w->upstream = upstream_hold(upstream);
    w->set = target_set_hold(upstream_targets(upstream));
    w->wanted = true;
    w->interval_end_ms = outliers->loop->now_ms + (uint64_t)conf_of(w)->interval_ms;
    timer_init(&w->timer, on_tick);
    arm(w);
    w->next = outliers->first;
    outliers->first = w;
}

static struct watched *find(const struct outliers *outliers, const struct upstream *upstream)
{
    for (struct watched *w = outliers->first; w; w = w->next)
        if (w->upstream == upstream)
            return w;
    return NULL;
}

static void let_go_unwanted(struct outliers *outliers)
{
    struct watched **at = &outliers->first;
    while (*at) {
        struct watched *w = *at;
        if (w->wanted) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        timer_clear(outliers->loop, &w->timer);
        let_back_unwatched(outliers, w->set);
        target_set_drop(w->set);
        upstream_drop(w->upstream);
        mem_free(w);
    }
}

/* New ones come before old ones go: what both watch stays out. */
void outliers_follow(struct outliers *outliers, const struct snapshot *snapshot)
{
    for (struct watched *w = outliers->first; w; w = w->next)
        w->wanted = false;
    for (size_t i = 0; i < snapshot->upstream_count; i++) {
        struct upstream *upstream = snapshot->upstreams[i].object;
        struct watched *w = find(outliers, upstream);
        if (w)
            w->wanted = true;
        else if (upstream_settings(upstream)->balance.outlier)
            watch(outliers, upstream);
    }
    let_go_unwanted(outliers);
}

struct outliers *outliers_new(struct gateway *gateway)
{
    ENSURE(!current);
    struct outliers *outliers = mem_must(sizeof *outliers);
    outliers->gateway = gateway;
    outliers->loop = &gateway->control.loop;
    current = outliers;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        metrics_add_source(&sources[i]);
    return outliers;
}

void outliers_free(struct outliers *outliers)
{
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        metrics_remove_source(&sources[i]);
    current = NULL;
    for (struct watched *w = outliers->first; w; w = w->next)
        w->wanted = false;
    let_go_unwanted(outliers);
    mem_free(outliers);
}
