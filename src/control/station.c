/*
 * The worker's thread: applying snapshots and draining.
 *
 * Order when a snapshot comes: attach its plans, then give servers the new router (the stopping ones too), then retire
 * the old plans, so that at every moment whatever a request can reach is attached.
 */
#include "control/station.h"

#include <signal.h>

#include "base/assert.h"
#include "base/sys.h"
#include "control/gateway.h"
#include "control/secured.h"
#include "control/vitals.h"
#include "exchange/exchange.h"
#include "exchange/plan.h"
#include "observe/log.h"
#include "tls/tls.h"
#include "upstream/upstream.h"

enum { DRAIN_LOOK_MS = 20 }; /* between looks whether a draining worker is idle */

/* ---- snapshots ---- */

struct apply_letter {
    struct letter letter;
    struct station *station;
    struct snapshot *snapshot;
    struct tls_context **contexts;
    struct access_log *access_log;
    size_t post_count;
    struct post posts[];
};

/* What the control thread learns: which snapshot went out of force here. */
struct applied_letter {
    struct letter letter;
    struct station *station;
    struct snapshot *retired;
    int rc;
};

static void deliver_applied(struct letter *letter, struct loop *loop)
{
    struct applied_letter *l = container_of(letter, struct applied_letter, letter);
    gateway_applied(l->station->gateway, l->station, l->rc);
    if (l->retired)
        snapshot_drop(l->retired);
    sys->free(l);
}

static void report_applied(struct station *station, struct applied_letter *report, struct snapshot *retired, int rc)
{
    *report =
        (struct applied_letter){ .letter.deliver = deliver_applied, .station = station, .retired = retired, .rc = rc };
    loop_post(&station->gateway->control.loop, &report->letter);
}

static int attach_plans(struct station *station, struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->plan_count; i++) {
        int rc = plan_attach(snapshot->plans[i].object, &station->worker);
        if (rc == 0)
            continue;
        while (i-- > 0)
            plan_retire(snapshot->plans[i].object, &station->worker);
        return rc;
    }
    return 0;
}

static void retire_plans(struct station *station, struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->plan_count; i++)
        plan_retire(snapshot->plans[i].object, &station->worker);
}

/* ---- TLS ---- */

/* Before the plans attach, which is when upstreams need theirs. */
static void secure_upstreams(struct station *station, const struct snapshot *snapshot, struct tls_context **contexts)
{
    for (size_t i = 0; i < snapshot->upstream_count; i++)
        if (snapshot->secured_upstreams[i].material)
            upstream_secure(snapshot->upstreams[i].object, station->worker.index, contexts[i]);
}

static void unsecure_upstreams(struct station *station, const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->upstream_count; i++)
        if (snapshot->secured_upstreams[i].material)
            upstream_unsecure(snapshot->upstreams[i].object, station->worker.index);
}

static struct listener_context *find_context(const struct station *station, const struct address *address)
{
    for (size_t i = 0; i < station->context_count; i++)
        if (address_eq(&station->contexts[i].address, address))
            return &station->contexts[i];
    return NULL;
}

static void drop_contexts(struct station *station)
{
    for (size_t i = 0; i < station->context_count; i++)
        if (station->contexts[i].context)
            tls_context_drop(station->contexts[i].context);
    mem_free(station->contexts);
    station->contexts = NULL;
    station->context_count = 0;
}

/* Those that came, and those of before where none did. Unix paths are the snapshot's, which is in force as long. */
static void take_contexts(struct station *station, const struct snapshot *snapshot, struct tls_context **contexts)
{
    const struct listener_conf *listeners = snapshot->settings.listeners.items;
    size_t count = 0;
    struct listener_context *taken = mem_must((snapshot->settings.listeners.count + 1) * sizeof(*taken));
    for (size_t i = 0; i < snapshot->settings.listeners.count; i++) {
        if (!snapshot->servers[i].secure)
            continue;
        const struct listener_context *old = find_context(station, &listeners[i].address);
        struct tls_context *context = contexts[i];
        if (!context && old && old->context)
            context = tls_context_hold(old->context);
        taken[count++] = (struct listener_context){ listeners[i].address, context };
    }
    drop_contexts(station);
    station->contexts = taken;
    station->context_count = count;
}

/* With this worker's context. False when the snapshot has no such listener. */
static bool settings_of(const struct station *station, const struct snapshot *snapshot, const struct address *address,
                        struct server_settings *ret_settings)
{
    const struct server_settings *settings = snapshot_server(snapshot, address);
    if (!settings)
        return false;
    const struct listener_context *context = find_context(station, address);
    *ret_settings = *settings;
    ret_settings->tls = context ? context->context : NULL;
    return true;
}

static struct served *find_served(struct station *station, const struct address *address, int fd)
{
    for (size_t i = 0; i < station->served_count; i++)
        if (address_eq(&station->served[i].post.address, address) && (fd < 0 || station->served[i].post.fd == fd))
            return &station->served[i];
    return NULL;
}

static void update_servers(struct station *station, const struct snapshot *snapshot)
{
    size_t kept = 0;
    for (size_t i = 0; i < station->served_count; i++) {
        struct served *s = &station->served[i];
        struct server_settings settings;
        if (settings_of(station, snapshot, &s->post.address, &settings)) {
            server_update(s->server, &settings);
            station->served[kept++] = *s;
        } else {
            server_stop(s->server, STOP_LISTENING, &station->stopping);
        }
    }
    station->served_count = kept;
    servers_update(&station->stopping, &snapshot->server);
}

static int serve_post(struct station *station, const struct post *post, const struct snapshot *snapshot)
{
    struct server_settings settings;
    if (!settings_of(station, snapshot, &post->address, &settings))
        return -ERR_INTERNAL; /* control posts what the snapshot lists */
    struct served *grown = sys->realloc(station->served, (station->served_count + 1) * sizeof(*grown));
    if (!grown)
        return -ERR_MEMORY;
    station->served = grown;
    struct served *s = &grown[station->served_count];
    s->post = *post;
    int rc = server_start(&station->worker, post->fd, &post->address, &station->gateway->shared, &settings, &s->server);
    station->served_count += rc == 0;
    return rc;
}

/* On failure the descriptor stays open: control knows it, hands it on, and posts it again with the next snapshot. */
static void start_post(struct station *station, const struct post *post, const struct snapshot *snapshot)
{
    int rc = serve_post(station, post, snapshot);
    if (rc < 0)
        log_error("listener", "worker %u cannot serve a listener before the next reload: %s", station->worker.index,
                  err_info((enum err) - rc)->title);
}

static void deliver_apply(struct letter *letter, struct loop *loop)
{
    struct apply_letter *l = container_of(letter, struct apply_letter, letter);
    struct station *station = l->station;
    struct applied_letter *report = mem_must(sizeof(*report));
    size_t listeners = l->snapshot->settings.listeners.count;
    secure_upstreams(station, l->snapshot, l->contexts + listeners);
    int rc = attach_plans(station, l->snapshot);
    if (rc < 0) {
        unsecure_upstreams(station, l->snapshot);
        for (size_t i = 0; i < listeners; i++)
            if (l->contexts[i])
                tls_context_drop(l->contexts[i]);
        report_applied(station, report, l->snapshot, rc);
        mem_free(l->contexts);
        sys->free(l);
        return;
    }
    take_contexts(station, l->snapshot, l->contexts);
    mem_free(l->contexts);
    struct snapshot *old = station->snapshot;
    station->snapshot = l->snapshot;
    station->worker.access_log = l->access_log;
    station->worker.consumers = l->snapshot->consumers;
    update_servers(station, l->snapshot);
    for (size_t i = 0; i < l->post_count; i++)
        if (!find_served(station, &l->posts[i].address, l->posts[i].fd))
            start_post(station, &l->posts[i], l->snapshot);
    if (old) {
        retire_plans(station, old);
        unsecure_upstreams(station, old);
    }
    report_applied(station, report, old, 0);
    sys->free(l);
}

void station_apply(struct station *station, struct snapshot *snapshot, struct tls_context **contexts,
                   const struct post *posts, size_t post_count)
{
    struct apply_letter *l = mem_must(sizeof(*l) + post_count * sizeof(*posts));
    l->letter.deliver = deliver_apply;
    l->station = station;
    l->snapshot = snapshot;
    l->contexts = contexts;
    l->access_log = station->gateway->access_log;
    l->post_count = post_count;
    if (post_count)
        memcpy(l->posts, posts, post_count * sizeof(*posts));
    loop_post(&station->worker.loop, &l->letter);
}

/* ---- new certificates ---- */

struct renew_letter {
    struct letter letter;
    struct station *station;
    struct upstream *upstream; /* held; NULL: `address` is a listener's */
    struct address address;
    struct tls_context *context;
};

static void renew_listener(struct station *station, const struct address *address, struct tls_context *context)
{
    struct listener_context *kept = find_context(station, address);
    if (!kept) {
        tls_context_drop(context);
        return;
    }
    if (kept->context)
        tls_context_drop(kept->context);
    kept->context = context;
    for (size_t i = 0; i < station->served_count; i++)
        if (address_eq(&station->served[i].post.address, address))
            server_renew(station->served[i].server, context);
}

static void deliver_renew(struct letter *letter, struct loop *loop)
{
    struct renew_letter *l = container_of(letter, struct renew_letter, letter);
    if (l->upstream) {
        upstream_renew(l->upstream, l->station->worker.index, l->context);
        upstream_drop(l->upstream);
    } else {
        renew_listener(l->station, &l->address, l->context);
    }
    sys->free(l);
}

void station_renew(struct station *station, const struct address *listener, struct upstream *upstream,
                   struct tls_context *context)
{
    struct renew_letter *l = mem_must(sizeof(*l));
    l->letter.deliver = deliver_renew;
    l->station = station;
    l->upstream = upstream ? upstream_hold(upstream) : NULL;
    if (listener)
        l->address = *listener;
    l->context = context;
    loop_post(&station->worker.loop, &l->letter);
}

/* ---- draining ---- */

struct drain_letter {
    struct letter letter;
    struct station *station;
    enum drain_how how;
    uint64_t limit_ms;
};

static void cut_all(struct station *station)
{
    LIST_FOR_EACH (link, &station->worker.exchanges) {
        exchange_cancel(container_of(link, struct exchange, link), ERR_DRAINING);
    }
    servers_close_all(&station->stopping);
}

static void on_drain_look(struct timer *timer)
{
    struct station *station = container_of(timer, struct station, drain_timer);
    struct worker *worker = &station->worker;
    if (worker->exchange_count == 0 && worker->connection_count == 0) {
        loop_stop(&worker->loop);
        return;
    }
    if (worker->loop.now_ms >= station->drain_deadline_ms)
        cut_all(station);
    timer_set(&worker->loop, timer, worker->loop.now_ms + DRAIN_LOOK_MS);
}

static void deliver_drain(struct letter *letter, struct loop *loop)
{
    struct drain_letter *l = container_of(letter, struct drain_letter, letter);
    struct station *station = l->station;
    uint64_t deadline = loop->now_ms + l->limit_ms;
    if (!station->draining) {
        station->draining = true;
        station->drain_deadline_ms = deadline;
        for (size_t i = 0; i < station->served_count; i++)
            server_stop(station->served[i].server, l->how == DRAIN_HANDED ? STOP_HANDED : STOP_LISTENING,
                        &station->stopping);
        station->served_count = 0;
        exchanges_drain(&station->worker, NULL, MIN((uint64_t)TUNNEL_SPREAD_MS, l->limit_ms / 4));
    }
    station->drain_deadline_ms = MIN(station->drain_deadline_ms, deadline);
    if (l->how == DRAIN_STOP)
        servers_close_idle(&station->stopping);
    timer_set(loop, &station->drain_timer, loop->now_ms);
    sys->free(l);
}

void station_drain(struct station *station, enum drain_how how, uint64_t limit_ms)
{
    struct drain_letter *l = mem_must(sizeof(*l));
    *l = (struct drain_letter){ .letter.deliver = deliver_drain, .station = station, .how = how, .limit_ms = limit_ms };
    loop_post(&station->worker.loop, &l->letter);
}

/* ---- the thread ---- */

static void *station_main(void *data)
{
    struct station *station = data;
    loop_run(&station->worker.loop);
    if (station->snapshot) {
        retire_plans(station, station->snapshot);
        unsecure_upstreams(station, station->snapshot);
    }
    drop_contexts(station);
    /* What is still to be reclaimed goes now. */
    loop_turn(&station->worker.loop, 0);
    atomic_store_explicit(&station->ended, true, memory_order_release);
    return NULL;
}

int station_init(struct station *station, struct gateway *gateway, unsigned index)
{
    station->gateway = gateway;
    list_init(&station->stopping);
    timer_init(&station->drain_timer, on_drain_look);
    station->worker.errors = vitals_errors();
    station->worker.unrouted = vitals_unrouted();
    station->worker.tunnels = vitals_tunnels();
    station->worker.unrouted_grpc = vitals_unrouted_calls();
    station->tls = tls_worker_new();
    if (!station->tls)
        return -ERR_MEMORY;
    int rc = worker_init(&station->worker, index, &gateway->memory_used, gateway->memory_max);
    if (rc < 0)
        tls_worker_free(station->tls);
    return rc;
}

int station_start(struct station *station)
{
    /* Signals are the control thread's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&station->thread, NULL, station_main, station);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    station->running = rc == 0;
    return rc == 0 ? 0 : -ERR_SYSTEM;
}

void station_join(struct station *station)
{
    if (station->running)
        pthread_join(station->thread, NULL);
    station->running = false;
    if (station->snapshot)
        snapshot_drop(station->snapshot);
    station->snapshot = NULL;
    sys->free(station->served);
    worker_done(&station->worker);
    tls_worker_free(station->tls);
}
