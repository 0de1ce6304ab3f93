/*
 * Following sources: which there are, when their upstream's set is built anew, what is counted and logged.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "control/discovery/source.h"
#include "control/gateway.h"
#include "observe/log.h"
#include "observe/metrics.h"
#include "upstream/upstream.h"

enum {
    TOGETHER_MS = 20, /* changes so near to each other make one set */
    JITTER_PERCENT = 10,
    JITTER_MS_MAX = 30000,
    BACKOFF_MS = 2000, /* after the first failure; a resolver that restarts is back by then */
    BACKOFF_MS_MAX = 30000,
};

static const struct source_type *const types[] = { &source_dns, &source_srv, &source_file };

/* An upstream some of whose targets are found by sources. */
struct followed {
    struct followed *next;
    struct discovery *discovery;
    struct upstream *upstream; /* held */
    struct timer timer;        /* armed while a change waits for others */
    bool wanted;               /* scratch of one discovery_follow */
    bool settled;
    size_t count;
    struct source *sources[];
};

static const struct metric_family updates_family = {
    .name = "maitred_discovery_updates_total",
    .help = "Answers of sources of targets, by kind (dns, srv, file) and result (changed, unchanged, failed).",
    .kind = METRIC_COUNTER,
    .labels = { "upstream", "source", "result" },
};

uint64_t discovery_wait_ms(struct discovery *discovery, uint32_t ttl_s, unsigned failures)
{
    if (failures == 0) {
        uint64_t wait_ms = MAX(ttl_s, (uint32_t)DNS_TTL_MIN_S) * 1000ull;
        uint64_t jitter_ms = MIN(wait_ms * JITTER_PERCENT / 100, (uint64_t)JITTER_MS_MAX);
        return wait_ms + rng_below(&discovery->rng, (uint32_t)jitter_ms + 1);
    }
    uint32_t ceiling_ms = (uint32_t)BACKOFF_MS << MIN(failures - 1, 8u);
    ceiling_ms = MIN(ceiling_ms, (uint32_t)BACKOFF_MS_MAX);
    return ceiling_ms / 2 + rng_below(&discovery->rng, ceiling_ms / 2 + 1);
}

/* ---- sets ---- */

static void publish(struct followed *f)
{
    const struct upstream_conf *conf = upstream_settings(f->upstream);
    const char *name = upstream_name(f->upstream);
    struct found_list list = { .v = mem_must((conf->targets.count + 1) * sizeof(*list.v)),
                               .size = conf->targets.count + 1 };
    timer_clear(f->discovery->loop, &f->timer);
    list.count = targets_given(conf, list.v);
    for (size_t i = 0; i < f->count; i++)
        roster_collect(&f->sources[i]->roster, &list);
    struct cluster *cluster = cluster_get(name);
    struct target_set *set = cluster ? targets_build(name, conf, cluster, list.v, list.count) : NULL;
    if (set) {
        log_info("discovery", "upstream `%s` has %u targets", name, set->count);
        gateway_publish_targets(f->discovery->gateway, f->upstream, set);
    } else {
        log_error("discovery", "upstream `%s` keeps its targets: no memory for new ones", name);
    }
    if (cluster && f->settled)
        atomic_store_explicit(&cluster->settled, true, memory_order_relaxed);
    cluster_drop(cluster);
    mem_free(list.v);
}

static void on_timer(struct timer *timer)
{
    publish(container_of(timer, struct followed, timer));
}

/* ---- updates ---- */

static void log_update(struct source *source, enum update update, const char *why)
{
    const char *what = source->type->what(source), *upstream = upstream_name(source->followed->upstream);
    bool fails = update == UPDATE_FAILED;
    if (fails && !source->failing)
        log_warning("discovery", "upstream `%s`: %s: %s; %s", upstream, what, why ? why : "no answer",
                    source->roster.current.count ? "its last targets stay" : "it has no targets yet");
    else if (!fails && source->failing)
        log_notice("discovery", "upstream `%s`: %s answers again", upstream, what);
    source->failing = fails;
}

static bool all_settled(const struct followed *f)
{
    for (size_t i = 0; i < f->count; i++)
        if (!f->sources[i]->settled)
            return false;
    return true;
}

void source_updated(struct source *source, enum update update, const char *why)
{
    struct followed *f = source->followed;
    struct discovery *discovery = source->discovery;
    source->settled |= roster_settled(&source->roster);
    series_add(source->updates[update], discovery->gateway->control.index, 1);
    log_update(source, update, why);
    if (update == UPDATE_CHANGED && !timer_armed(&f->timer))
        timer_set(discovery->loop, &f->timer, discovery->loop->now_ms + TOGETHER_MS);
    if (f->settled || !all_settled(f))
        return;
    f->settled = true;
    publish(f);
    if (!discovery->following && discovery_settled(discovery))
        gateway_discovered(discovery->gateway);
}

bool discovery_settled(const struct discovery *discovery)
{
    for (const struct followed *f = discovery->first; f; f = f->next)
        if (!f->settled)
            return false;
    return true;
}

/* ---- following ---- */

static const struct source_type *type_of(const struct target_conf *conf)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (types[i]->takes(conf))
            return types[i];
    return NULL;
}

static size_t count_sources(const struct upstream_conf *conf)
{
    const struct target_conf *targets = conf->targets.items;
    size_t count = 0;
    for (size_t i = 0; i < conf->targets.count; i++)
        count += type_of(&targets[i]) != NULL;
    return count;
}

static struct source *source_new(struct followed *f, const struct target_conf *conf, const struct source_type *type)
{
    static const char *const results[UPDATES] = { "changed", "unchanged", "failed" };
    struct source *source = mem_must(type->size);
    source->type = type;
    source->followed = f;
    source->discovery = f->discovery;
    source->conf = conf;
    roster_init(&source->roster, source);
    for (int i = 0; i < UPDATES; i++) {
        const char *values[] = { upstream_name(f->upstream), type->name, results[i], NULL };
        source->updates[i] = series_get(&updates_family, values);
    }
    return source;
}

static void follow(struct discovery *discovery, struct upstream *upstream, size_t count)
{
    const struct upstream_conf *conf = upstream_settings(upstream);
    const struct target_conf *targets = conf->targets.items;
    struct followed *f = mem_must(sizeof(*f) + count * sizeof(struct source *));
    f->discovery = discovery;
    f->upstream = upstream_hold(upstream);
    f->wanted = true;
    f->next = discovery->first;
    timer_init(&f->timer, on_timer);
    discovery->first = f;
    for (size_t i = 0; i < conf->targets.count; i++) {
        const struct source_type *type = type_of(&targets[i]);
        if (type)
            f->sources[f->count++] = source_new(f, &targets[i], type);
    }
    for (size_t i = 0; i < f->count; i++)
        f->sources[i]->type->start(f->sources[i]);
}

static void let_go(struct followed *f)
{
    for (size_t i = 0; i < f->count; i++) {
        struct source *source = f->sources[i];
        source->type->stop(source);
        roster_done(&source->roster);
        for (int j = 0; j < UPDATES; j++)
            series_drop(source->updates[j]);
        mem_free(source);
    }
    timer_clear(f->discovery->loop, &f->timer);
    upstream_drop(f->upstream);
    mem_free(f);
}

static struct followed *find_followed(const struct discovery *discovery, const struct upstream *upstream)
{
    for (struct followed *f = discovery->first; f; f = f->next)
        if (f->upstream == upstream)
            return f;
    return NULL;
}

static void let_go_unwanted(struct discovery *discovery)
{
    struct followed **at = &discovery->first;
    while (*at) {
        struct followed *f = *at;
        if (f->wanted) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        let_go(f);
    }
}

void discovery_follow(struct discovery *discovery, const struct snapshot *snapshot)
{
    discovery->following = true;
    for (struct followed *f = discovery->first; f; f = f->next)
        f->wanted = false;
    for (size_t i = 0; i < snapshot->upstream_count; i++) {
        struct upstream *upstream = snapshot->upstreams[i].object;
        size_t count = count_sources(upstream_settings(upstream));
        struct followed *f = count ? find_followed(discovery, upstream) : NULL;
        if (f)
            f->wanted = true;
        else if (count)
            follow(discovery, upstream, count);
    }
    let_go_unwanted(discovery);
    discovery->following = false;
}

struct discovery *discovery_new(struct gateway *gateway, const struct resolver_conf *conf)
{
    const struct resolver_options options = { .servers = conf->servers.items, .servers_count = conf->servers.count };
    struct discovery *discovery = mem_must(sizeof(*discovery));
    discovery->gateway = gateway;
    discovery->loop = &gateway->control.loop;
    rng_init(&discovery->rng);
    int rc = resolver_new(discovery->loop, &options, &discovery->resolver);
    if (rc == 0)
        return discovery;
    log_error("discovery", "cannot resolve names: %s",
              rc == -ERR_BAD_TARGET ? "a server in `resolver` is no address" : err_info((enum err) - rc)->title);
    mem_free(discovery);
    return NULL;
}

void discovery_free(struct discovery *discovery)
{
    for (struct followed *f = discovery->first; f; f = f->next)
        f->wanted = false;
    let_go_unwanted(discovery);
    resolver_free(discovery->resolver);
    mem_free(discovery);
}
