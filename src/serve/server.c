/*
 * The life of a server: start, new settings, stop.  It outlives its connections by reference count and frees itself at
 * the end of the turn in which the last one ended.
 */
#include "serve/server.h"

#include "base/assert.h"
#include "base/sys.h"
#include "conf/conf.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "http/conn.h"
#include "observe/log.h"
#include "observe/metrics.h"
#include "route/router.h"
#include "serve/serving.h"
#include "tls/tls.h"

static void free_server(struct task *task)
{
    struct server *server = container_of(task, struct server, free_task);
    ENSURE(server->connections == 0 && list_empty(&server->host.conns));
    server->magic = 0;
    list_unlink(&server->link);
    if (server->tls)
        tls_layer_drop(server->tls);
    router_drop(server->router);
    conf_free(server->conf);
    sys->free(server);
}

static void free_when_unused(struct server *server)
{
    if (server->stopping && server->connections == 0)
        loop_defer(&server->worker->loop, &server->free_task, PHASE_RECLAIM);
}

void server_connection_ended(struct server *server)
{
    MAGIC_CHECK(server, SERVER_MAGIC);
    ENSURE(server->connections > 0);
    server->connections--;
    server->worker->connection_count--;
    atomic_fetch_sub_explicit(&server->shared->connections, 1, memory_order_relaxed);
    accept_resume(server);
    free_when_unused(server);
}

static void on_connection_end(struct stream_host *host)
{
    server_connection_ended(container_of(host, struct server, host));
}

/* No exchange, and so no line in the access log: the errors are counted all the same. */
static void on_dropped(struct stream_host *host, enum err err)
{
    const struct worker *worker = container_of(host, struct server, host)->worker;
    if (worker->errors)
        series_add(worker->errors[err], worker->index, 1);
    char listener[ADDRESS_TEXT_MAX];
    address_format(host->local, true, listener);
    log_info("dropped", "listener %s: given up before there was a request: %s", listener, err_info(err)->word);
}

/* ---- TLS ---- */

static int begin_nothing(const struct transport_layer *layer, struct transport *t)
{
    return -ERR_MEMORY;
}
/* Where TLS is wanted and could not be prepared: better no connection than a plain one. */
static const struct transport_layer no_layer = { .begin = begin_nothing };

static void use_context(struct server *server, struct tls_context *context)
{
    if (server->tls && context)
        tls_layer_use(server->tls, context);
    else if (!server->tls && (!context || tls_layer_new(context, SLICE_EMPTY, &server->tls) < 0))
        server->tls = NULL;
    server->host.layer = server->tls ? &server->tls->layer : &no_layer;
}

static void drop_layer(struct server *server)
{
    if (server->tls)
        tls_layer_drop(server->tls);
    server->tls = NULL;
    server->host.layer = NULL;
}

static void take_tls(struct server *server, const struct server_settings *settings)
{
    if (!settings->secure)
        drop_layer(server);
    else if (!server->tls || server->tls->context != settings->tls)
        use_context(server, settings->tls);
}

void server_renew(struct server *server, struct tls_context *context)
{
    MAGIC_CHECK(server, SERVER_MAGIC);
    if (server->host.layer) /* else it has become a plain one meanwhile */
        use_context(server, context);
}

/* ---- life ---- */

static void take_settings(struct server *server, const struct server_settings *settings)
{
    server->limits = settings->limits;
    server->proxy = settings->proxy;
    server->host.proxy = server->proxy.from_count > 0 ? &server->proxy : NULL;
    server->forwarding = settings->forwarding;
    server->router = router_hold(settings->router);
    server->conf = conf_hold(settings->conf);
}

int server_start(struct worker *worker, int fd, const struct address *address, struct serve_shared *shared,
                 const struct server_settings *settings, struct server **ret_server)
{
    struct server *server = settings->secure && !settings->tls ? NULL : mem_zalloc(sizeof(*server));
    if (!server)
        return -ERR_MEMORY;
    server->magic = SERVER_MAGIC;
    server->worker = worker;
    server->shared = shared;
    server->address = *address;
    server->host = (struct stream_host){
        .limits = &server->limits,
        .local = &server->address,
        .on_request = dispatch_request,
        .on_connection_end = on_connection_end,
        .on_dropped = on_dropped,
    };
    list_init(&server->host.conns);
    list_init(&server->link);
    timer_init(&server->pause_timer, accept_on_pause_over);
    task_init(&server->free_task, free_server);
    io_init(&server->io, fd, accept_on_ready);
    int rc = loop_watch(&worker->loop, &server->io, IO_LEVEL_READ);
    if (rc < 0) {
        sys->free(server);
        return rc;
    }
    take_settings(server, settings);
    take_tls(server, settings);
    *ret_server = server;
    return 0;
}

void server_update(struct server *server, const struct server_settings *settings)
{
    MAGIC_CHECK(server, SERVER_MAGIC);
    struct router *old_router = server->router;
    struct conf *old_conf = server->conf;
    take_settings(server, settings);
    if (!server->stopping) /* those are what all listeners have in common */
        take_tls(server, settings);
    router_drop(old_router);
    conf_free(old_conf);
}

/* The codec unlinks a connection that it closes, so the next one is looked up first. */
static void for_each_connection(struct server *server, void (*act)(struct http_conn *conn))
{
    struct link *next;
    for (struct link *link = server->host.conns.next; link != &server->host.conns; link = next) {
        next = link->next;
        act(http_conn_of(link));
    }
}

static void drain_softly(struct http_conn *conn)
{
    http_drain(conn, false);
}

void server_stop(struct server *server, enum server_stop how, struct link *stopping)
{
    MAGIC_CHECK(server, SERVER_MAGIC);
    ENSURE(!server->stopping);
    server->stopping = true;
    list_push_back(stopping, &server->link);
    server->host.draining = true;
    timer_clear(&server->worker->loop, &server->pause_timer);
    if (how == STOP_LISTENING)
        accept_rest(server);
    if (!server->paused)
        loop_unwatch(&server->worker->loop, &server->io); /* the socket may live on in another process */
    loop_close(&server->worker->loop, &server->io);
    for_each_connection(server, drain_softly);
    exchanges_drain(server->worker, &server->host, TUNNEL_SPREAD_MS);
    free_when_unused(server);
}

void servers_update(struct link *stopping, const struct server_settings *settings)
{
    LIST_FOR_EACH (at, stopping) {
        server_update(container_of(at, struct server, link), settings);
    }
}

static void for_each_server(struct link *stopping, void (*act)(struct http_conn *conn))
{
    LIST_FOR_EACH (at, stopping) {
        struct server *server = container_of(at, struct server, link);
        MAGIC_CHECK(server, SERVER_MAGIC);
        for_each_connection(server, act);
    }
}

static void drain_now(struct http_conn *conn)
{
    http_drain(conn, true);
}

void servers_close_idle(struct link *stopping)
{
    for_each_server(stopping, drain_now);
}

void servers_close_all(struct link *stopping)
{
    for_each_server(stopping, http_close);
}
