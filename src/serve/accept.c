/*
 * Accepting: in batches, pausing at the connection limit and when descriptors run out, and stopping without losing what
 * the kernel has queued.  At the limit the oldest connection that has been served and is idle makes room, so
 * that clients who only hold connections do not keep others out.
 */
#include <errno.h>

#include "base/assert.h"
#include "base/sys.h"
#include "exchange/worker.h"
#include "http/serve.h"
#include "observe/log.h"
#include "serve/serving.h"

enum {
    ACCEPT_BATCH = 64, /* one event's share; the level-triggered socket reports again */
    PAUSE_MS = 50,     /* between looks whether there is room again */
    SHED_BATCH = 16,   /* connections that are looked at for one that is idle */
    REST_MAX = 65536,  /* at the end: more than the largest backlog, so that new clients cannot keep it from ending */
};

static bool at_limit(const struct server *server)
{
    const struct serve_shared *shared = server->shared;
    unsigned max = atomic_load_explicit(&shared->connections_max, memory_order_relaxed);
    return max && atomic_load_explicit(&shared->connections, memory_order_relaxed) >= max;
}

static void pause_accepting(struct server *server)
{
    if (server->paused)
        return;
    server->paused = true;
    loop_unwatch(&server->worker->loop, &server->io);
    timer_set(&server->worker->loop, &server->pause_timer, server->worker->loop.now_ms + PAUSE_MS);
}

/* The list is in the order of accepting; those that stay go to its end, so that the next look finds others. */
static void make_room(struct server *server)
{
    struct link *conns = &server->host.conns;
    for (int i = 0; i < SHED_BATCH && !list_empty(conns); i++) {
        struct link *oldest = conns->next;
        list_unlink(oldest);
        list_push_back(conns, oldest);
        if (http_shed(http_conn_of(oldest)))
            return;
    }
}

void accept_resume(struct server *server)
{
    if (!server->paused || server->stopping || at_limit(server))
        return;
    server->paused = false;
    timer_clear(&server->worker->loop, &server->pause_timer);
    if (loop_watch(&server->worker->loop, &server->io, IO_LEVEL_READ) < 0)
        pause_accepting(server);
}

void accept_on_pause_over(struct timer *timer)
{
    struct server *server = container_of(timer, struct server, pause_timer);
    accept_resume(server);
    if (server->paused && !server->stopping)
        make_room(server);
    if (server->paused && !server->stopping)
        timer_set(&server->worker->loop, timer, server->worker->loop.now_ms + PAUSE_MS);
}

static void serve_connection(struct server *server, int fd, const struct sockaddr *sockaddr, socklen_t len)
{
    struct address peer;
    address_from_sockaddr(sockaddr, len, &peer);
    address_unmap(&peer);
    if (server->address.family == AF_UNIX)
        peer.family = AF_UNIX;
    server->connections++;
    server->worker->connection_count++;
    atomic_fetch_add_explicit(&server->shared->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->shared->accepted, 1, memory_order_relaxed);
    if (http_serve(&server->worker->loop, fd, &peer, &server->host))
        return;
    atomic_fetch_add_explicit(&server->shared->accept_errors, 1, memory_order_relaxed);
    server_connection_ended(server);
}

/* Returns false when there is nothing more to accept now. */
static bool accept_one(struct server *server)
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof(storage);
    int fd = sys->accept(server->io.fd, (struct sockaddr *)&storage, &len);
    if (fd >= 0) {
        serve_connection(server, fd, (struct sockaddr *)&storage, len);
        return true;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return false;
    if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO || errno == EPERM)
        return true;
    atomic_fetch_add_explicit(&server->shared->accept_errors, 1, memory_order_relaxed);
    log_warning("accept", "cannot accept on descriptor %d: %s; pausing", server->io.fd, strerror(errno));
    if (!server->stopping)
        pause_accepting(server);
    return false;
}

void accept_on_ready(struct io *io)
{
    struct server *server = container_of(io, struct server, io);
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (at_limit(server) && i > 0)
            return; /* if somebody waits, the socket says so again */
        if (at_limit(server)) {
            log_notice("connection_limit", "at the limit of %u connections: accepting pauses",
                       atomic_load_explicit(&server->shared->connections_max, memory_order_relaxed));
            pause_accepting(server);
            make_room(server);
            return;
        }
        if (!accept_one(server))
            return;
    }
}

void accept_rest(struct server *server)
{
    for (int i = 0; i < REST_MAX && accept_one(server); i++) {
    }
}
