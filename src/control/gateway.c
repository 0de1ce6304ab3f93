/*
 * The gateway's life: first load, start, reload, drain, end.
 */
#include "control/gateway.h"

#include <errno.h>
#include <sched.h>
#include <sys/resource.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/sys.h"
#include "control/circuit_vitals.h"
#include "control/discovery/discovery.h"
#include "control/ground.h"
#include "control/health.h"
#include "control/outliers.h"
#include "control/publish.h"
#include "control/secured.h"
#include "control/tls_vitals.h"
#include "control/vitals.h"
#include "exchange/plan.h"
#include "observe/access_log.h"
#include "observe/log.h"
#include "observe/metrics.h"
#include "tls/tls.h"
#include "upstream/upstream.h"

enum { TARGETS_WAIT_MS = 3000 /* for a snapshot's targets to be found, before it serves without them */ };

unsigned gateway_default_workers(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    return (unsigned)MAX(CPU_COUNT(&set), 1);
}

static void stop_waiting(struct timer *timer);

int gateway_init(struct gateway *gateway, const char *path, const char *text)
{
    *gateway = (struct gateway){ 0 };
    hash_seed();
    gateway->config_path = path ? mem_strdup(path) : NULL;
    gateway->config_text = text ? mem_strdup(text) : NULL;
    timer_init(&gateway->targets_timer, stop_waiting);
    timer_init(&gateway->secured_timer, NULL);
    int rc = tls_start();
    if (rc < 0)
        return rc;
    rc = worker_init(&gateway->control, 0, NULL, 0);
    gateway->started_wall_ns = sys->wall_ns();
    return rc;
}

/* ---- loading ---- */

static int load_settings(struct gateway *gateway, struct conf *conf, struct settings *ret_settings,
                         const struct conf_node **ret_root)
{
    *ret_settings = (struct settings){ 0 };
    *ret_root = NULL;
    if (gateway->config_path)
        return settings_load(conf, gateway->config_path, ret_settings, ret_root);
    return settings_load_text(conf, "command line", slice_from(gateway->config_text), ret_settings, ret_root);
}

/* With mistakes too (but a tree): those that only building finds are to be told with the others. */
static struct snapshot *build_snapshot(struct gateway *gateway, struct conf *conf, const struct settings *settings,
                                       const struct conf_node *root)
{
    if (!root)
        return NULL;
    const struct snapshot_context context = {
        .previous = gateway->current,
        .cells = gateway->worker_count + 1,
        .control = &gateway->control.loop,
    };
    struct snapshot *s = snapshot_build(conf, root, settings, &context);
    if (s && secured_use_tickets(settings, conf, root) < 0) {
        snapshot_drop(s);
        return NULL;
    }
    if (s && conf_error_count(conf) > 0) {
        snapshot_drop(s);
        s = NULL;
    }
    return s;
}

static int open_access_log(struct gateway *gateway, const struct settings *settings, struct conf *conf,
                           const struct conf_node *root)
{
    const char *why = NULL;
    if (!gateway->access_log) {
        if (strcmp(settings->access_log.to, "off") == 0)
            return 0;
        gateway->access_log = access_log_new(&settings->access_log, gateway->worker_count + 1, &why);
        if (gateway->access_log)
            return 0;
    } else if (access_log_change(gateway->access_log, &settings->access_log, &why) == 0) {
        return 0;
    }
    conf_error(conf, conf_get(root, "access_log"), "cannot write to %s: %s", settings->access_log.to,
               why ? why : "unknown error");
    return -1;
}

static void report(const struct conf *conf)
{
    conf_print_diagnostics(conf, stderr, true);
}

/* What stays as it is for the life of the process. The number of workers decides how many cells a series has: nothing
 * may count before it is known. */
static void settle_process(struct gateway *gateway, const struct settings *settings)
{
    gateway->worker_count = settings->workers ? (unsigned)settings->workers : gateway_default_workers();
    gateway->control.index = gateway->worker_count;
    gateway->memory_max = (size_t)settings->limits.memory_bytes;
    metrics_init(gateway->worker_count);
}

/* Every connection may need another descriptor towards a service: idle clients must not take those away. What the
 * process itself and the pools of kernel pipes hold comes on top. */
static unsigned connections_within_descriptors(const struct gateway *gateway, int64_t wanted)
{
    enum { OWN = 64, LEAST = 16 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return (unsigned)wanted;
    uint64_t all = MIN((uint64_t)limit.rlim_cur, UINT32_MAX);
    uint64_t pooled = MIN(all / 2, (uint64_t)gateway->worker_count * KERNEL_PIPES_MAX * 2);
    uint64_t most = all > OWN + pooled ? MAX((all - OWN - pooled) / 2, (uint64_t)LEAST) : LEAST;
    if ((uint64_t)wanted <= most)
        return (unsigned)wanted;
    log_notice("start",
               "at most %u connections instead of `limits.connections`: the process may open %llu files (`ulimit -n`, "
               "LimitNOFILE)",
               (unsigned)most, (unsigned long long)all);
    return (unsigned)most;
}

static void take_over(struct gateway *gateway, struct snapshot *s)
{
    gateway->current = s;
    gateway->loaded_wall_ns = sys->wall_ns();
    unsigned connections = connections_within_descriptors(gateway, s->settings.limits.connections);
    atomic_store_explicit(&gateway->shared.connections_max, connections, memory_order_relaxed);
    log_set_level((enum log_level)s->settings.log_level);
}

enum gateway_loaded gateway_load(struct gateway *gateway, const char *inherited)
{
    bool refused = false;
    struct conf *conf = conf_new(NULL);
    const struct conf_node *root;
    struct settings settings;
    if (inherited && sockets_inherit(&gateway->sockets, inherited) < 0)
        log_warning("upgrade", "the sockets handed over make no sense (%s): opening new ones", inherited);
    if (load_settings(gateway, conf, &settings, &root) < 0)
        settings.workers = 1; /* it will not start, but what building finds is told too */
    settle_process(gateway, &settings);
    struct snapshot *s = build_snapshot(gateway, conf, &settings, root);
    if (s)
        refused = sockets_open(&gateway->sockets, &s->settings, conf, root, gateway->worker_count) < 0;
    if (s && (refused || open_access_log(gateway, &s->settings, conf, root) < 0)) {
        snapshot_drop(s);
        s = NULL;
    }
    report(conf);
    conf_free(conf);
    if (!s)
        return refused ? GATEWAY_REFUSED : GATEWAY_MISTAKES;
    sockets_settle(&gateway->sockets, &s->settings);
    take_over(gateway, s);
    return GATEWAY_LOADED;
}

static void stop_waiting(struct timer *timer)
{
    publish_snapshot(container_of(timer, struct gateway, targets_timer));
}

void gateway_discovered(struct gateway *gateway)
{
    if (!timer_armed(&gateway->targets_timer))
        return;
    timer_clear(&gateway->control.loop, &gateway->targets_timer);
    publish_snapshot(gateway);
}

/* The current snapshot comes into force once every source of targets in it has been answered, or not in time: until
 * then requests would find no target. A further one meanwhile takes its place and waits no longer than the first. */
static void publish_when_discovered(struct gateway *gateway)
{
    struct loop *loop = &gateway->control.loop;
    discovery_follow(gateway->discovery, gateway->current);
    if (!timer_armed(&gateway->targets_timer))
        timer_set(loop, &gateway->targets_timer, loop->now_ms + TARGETS_WAIT_MS);
    if (discovery_settled(gateway->discovery))
        gateway_discovered(gateway);
}

int gateway_start(struct gateway *gateway)
{
    gateway->stations = mem_must(gateway->worker_count * sizeof(*gateway->stations));
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        int rc = station_init(&gateway->stations[i], gateway, i);
        if (rc < 0) {
            log_error("start", "worker %u cannot start: %s", i, err_info((enum err) - rc)->title);
            gateway->worker_count = i;
            return -1;
        }
    }
    vitals_start(gateway);
    tls_vitals_start(gateway);
    circuit_vitals_start(gateway);
    gateway->discovery = discovery_new(gateway, &gateway->current->settings.resolver);
    if (!gateway->discovery)
        return -1;
    gateway->ground = ground_new(gateway);
    gateway->health = health_new(gateway);
    gateway->outliers = outliers_new(gateway);
    for (unsigned i = 0; i < gateway->worker_count; i++)
        if (station_start(&gateway->stations[i]) < 0) {
            log_error("start", "worker %u's thread cannot start: %s", i, strerror(errno));
            return -1;
        }
    loop_update_now(&gateway->control.loop); /* loading took its time */
    publish_when_discovered(gateway);
    secured_watch(gateway);
    return 0;
}

/* ---- reloading ---- */

static bool same_admin(const struct admin_conf *a, const struct admin_conf *b)
{
    return a && b ? address_eq(&a->address, &b->address) : a == b;
}

static bool same_servers(const struct resolver_conf *a, const struct resolver_conf *b)
{
    const char *const *x = a->servers.items, *const *y = b->servers.items;
    bool same = a->servers.count == b->servers.count;
    for (size_t i = 0; same && i < a->servers.count; i++)
        same = strcmp(x[i], y[i]) == 0;
    return same;
}

/* What a reload cannot change is said, and keeps its value. */
static void warn_of_fixed(const struct gateway *gateway, const struct settings *settings)
{
    const struct settings *now = &gateway->current->settings;
    if (settings->workers && (unsigned)settings->workers != gateway->worker_count)
        log_warning("reload", "`workers` stays %u until a restart or an upgrade (USR2)", gateway->worker_count);
    if (strcmp(settings->user, now->user) != 0)
        log_warning("reload", "`user` stays %s until a restart", now->user);
    if (settings->limits.memory_bytes != now->limits.memory_bytes)
        log_warning("reload", "`limits.memory` stays as it is until a restart or an upgrade (USR2)");
    if (!same_admin(settings->admin, now->admin))
        log_warning("reload", "`admin` stays as it is until a restart or an upgrade (USR2)");
    if (!same_servers(&settings->resolver, &now->resolver))
        log_warning("reload", "`resolver` stays as it is until a restart or an upgrade (USR2)");
}

static void log_diagnostics(const struct conf *conf)
{
    for (const struct conf_diagnostic *d = conf_diagnostics(conf); d; d = d->next)
        log_write(d->severity == CONF_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "reload", "%s:%u:%u: %s%s%s",
                  d->mark.file ? d->mark.file : "", d->mark.line, d->mark.column, d->path ? d->path : "",
                  d->path && *d->path ? ": " : "", d->message);
}

int gateway_reload(struct gateway *gateway)
{
    struct conf *conf = conf_new(NULL);
    const struct conf_node *root;
    struct settings settings;
    (void)load_settings(gateway, conf, &settings, &root); /* its mistakes are in the conf */
    struct snapshot *s = build_snapshot(gateway, conf, &settings, root);
    if (s && (sockets_open(&gateway->sockets, &s->settings, conf, root, gateway->worker_count) < 0 ||
              open_access_log(gateway, &s->settings, conf, root) < 0)) {
        sockets_abandon(&gateway->sockets);
        snapshot_drop(s);
        s = NULL;
    }
    log_diagnostics(conf);
    if (!s) {
        gateway->reload_failures++;
        log_error("reload", "%u mistakes: the configuration in force stays", conf_error_count(conf));
        conf_free(conf);
        return -1;
    }
    conf_free(conf);
    warn_of_fixed(gateway, &s->settings);
    sockets_settle(&gateway->sockets, &s->settings);
    struct snapshot *old = gateway->current;
    take_over(gateway, s);
    gateway->reloads++;
    publish_when_discovered(gateway);
    snapshot_drop(old);
    return 0;
}

void gateway_applied(struct gateway *gateway, struct station *station, int rc)
{
    ENSURE(gateway->applying > 0);
    gateway->apply_failed |= rc < 0;
    bool first = gateway->state == GATEWAY_STARTING;
    gateway->start_failed |= first && rc < 0;
    if (rc < 0)
        log_error(first ? "start" : "reload", "worker %u %s: %s", station->worker.index,
                  first ? "cannot serve" : "keeps the configuration before", err_info((enum err) - rc)->title);
    if (--gateway->applying > 0)
        return;
    if (first)
        gateway->state = gateway->start_failed ? GATEWAY_FAILED : GATEWAY_READY;
    if (gateway->on_applied)
        gateway->on_applied(gateway, gateway->user);
}

/* ---- ending ---- */

void gateway_drain(struct gateway *gateway, enum drain_how how)
{
    gateway->state = GATEWAY_DRAINING;
    secured_rest(gateway);
    timer_clear(&gateway->control.loop, &gateway->targets_timer); /* what waits for targets never comes into force */
    uint64_t limit = (uint64_t)gateway->current->settings.timeouts.drain_ms;
    for (unsigned i = 0; i < gateway->worker_count; i++)
        station_drain(&gateway->stations[i], how, limit);
}

void gateway_drain_now(struct gateway *gateway)
{
    for (unsigned i = 0; gateway->stations && i < gateway->worker_count; i++)
        station_drain(&gateway->stations[i], DRAIN_STOP, 0);
}

bool gateway_is_drained(const struct gateway *gateway)
{
    for (unsigned i = 0; i < gateway->worker_count; i++)
        if (!atomic_load_explicit(&gateway->stations[i].ended, memory_order_acquire))
            return false;
    return true;
}

void gateway_done(struct gateway *gateway)
{
    for (unsigned i = 0; gateway->stations && i < gateway->worker_count; i++)
        station_join(&gateway->stations[i]);
    mem_free(gateway->stations);
    if (gateway->health)
        health_free(gateway->health);
    if (gateway->outliers)
        outliers_free(gateway->outliers);
    if (gateway->discovery)
        discovery_free(gateway->discovery);
    if (gateway->current)
        snapshot_drop(gateway->current);
    /* Plans and snapshots come home by letter. */
    loop_turn(&gateway->control.loop, 0);
    loop_turn(&gateway->control.loop, 0);
    if (gateway->ground)
        ground_free(gateway->ground);
    loop_turn(&gateway->control.loop, 0); /* its memory */
    circuit_vitals_stop();
    tls_vitals_stop();
    vitals_stop();
    if (gateway->access_log)
        access_log_free(gateway->access_log);
    sockets_done(&gateway->sockets);
    worker_done(&gateway->control);
    metrics_done();
    mem_free(gateway->config_path);
    mem_free(gateway->config_text);
}
