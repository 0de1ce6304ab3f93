/*
 * Tiny services, a loop and calls to them, for the upstream's tests: everything in one thread, on the real loopback.
 *
 * A service answers each request with its name as the body and keeps the connection, unless told otherwise.  The tests
 * turn the loop until what they wait for has happened; only if it never does, patience ends.
 */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "base/sys.h"
#include "loop/loop.h"
#include "net/listen.h"
#include "upstream/upstream.h"

enum { SERVICE_CONNECTIONS_MAX = 16, PATIENCE_MS = 10000 };

struct bench_loop {
    struct memory memory;
    struct loop loop;
};

static inline void bench_loop_init(struct bench_loop *b)
{
    assert_int_equal(memory_init(&b->memory, NULL, 0), 0);
    assert_int_equal(loop_init(&b->loop, &b->memory), 0);
}

/* No descriptor, timer or byte may be left. */
static inline void bench_loop_done(struct bench_loop *b)
{
    loop_turn(&b->loop, 0);
    assert_int_equal(b->loop.watched, 1);
    assert_int_equal(b->loop.timers_armed, 0);
    loop_done(&b->loop);
    memory_done(&b->memory);
}

#define turn_until(loop_, condition)                                                                                   \
    do {                                                                                                               \
        loop_update_now(loop_);                                                                                        \
        uint64_t give_up_ms_ = (loop_)->now_ms + PATIENCE_MS;                                                          \
        while (!(condition)) {                                                                                         \
            loop_turn((loop_), 100);                                                                                   \
            if ((loop_)->now_ms > give_up_ms_)                                                                         \
                fail_msg("never came: %s", #condition);                                                                \
        }                                                                                                              \
    } while (0)

/* ---- services ---- */

struct service;

struct service_connection {
    struct io io; /* fd -1: free */
    struct service *service;
    char head[2048];
    size_t len;
    unsigned requests;
};

struct service {
    struct loop *loop;
    struct io listener;
    struct address address;
    char name;
    bool silent; /* takes requests and does not answer */
    bool closes; /* says Connection: close and closes */
    unsigned accepted, ended, requests;
    struct service_connection *last; /* that a request came on */
    struct service_connection connections[SERVICE_CONNECTIONS_MAX];
};

static inline void service_end_connection(struct service_connection *c)
{
    loop_close(c->service->loop, &c->io);
    c->service->ended++;
}

static inline void service_answer(struct service_connection *c)
{
    char text[128];
    bool closes = c->service->closes;
    int len = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n%s\r\n%c",
                       closes ? "Connection: close\r\n" : "", c->service->name);
    struct iovec iov = { text, (size_t)len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    assert_int_equal(sys_posix.sendmsg(c->io.fd, &msg, 0), len);
    if (closes)
        service_end_connection(c);
}

static inline void service_on_bytes(struct io *io)
{
    struct service_connection *c = container_of(io, struct service_connection, io);
    while (io->fd >= 0) {
        ssize_t n = recv(io->fd, c->head + c->len, sizeof c->head - 1 - c->len, 0);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            service_end_connection(c);
            break;
        }
        c->len += (size_t)n;
        c->head[c->len] = '\0';
        if (!strstr(c->head, "\r\n\r\n"))
            continue;
        c->len = 0;
        c->requests++;
        c->service->requests++;
        c->service->last = c;
        if (!c->service->silent)
            service_answer(c);
    }
    io->ready &= (uint8_t)~IO_READABLE;
}

static inline void service_on_connection(struct io *io)
{
    struct service *s = container_of(io, struct service, listener);
    int fd = sys_posix.accept(io->fd, NULL, NULL);
    if (fd < 0)
        return;
    for (unsigned i = 0; i < SERVICE_CONNECTIONS_MAX; i++) {
        struct service_connection *c = &s->connections[i];
        if (c->io.fd >= 0)
            continue;
        *c = (struct service_connection){ .service = s };
        io_init(&c->io, fd, service_on_bytes);
        if (loop_watch(s->loop, &c->io, IO_EDGE) < 0) { /* only when calls are made to fail */
            close(fd);
            c->io.fd = -1;
            return;
        }
        s->accepted++;
        return;
    }
    fail_msg("more than %d connections", SERVICE_CONNECTIONS_MAX);
}

static inline void service_start(struct service *s, struct loop *loop, char name)
{
    struct listen_options options = { .backlog = 64 };
    struct address any;
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    int fd;
    *s = (struct service){ .loop = loop, .name = name };
    for (unsigned i = 0; i < SERVICE_CONNECTIONS_MAX; i++)
        s->connections[i].io.fd = -1;
    assert_int_equal(address_parse(SLICE("127.0.0.1:0"), &any, NULL), 0);
    assert_int_equal(listen_open(&any, &options, &fd), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    address_from_sockaddr((struct sockaddr *)&at, len, &s->address);
    io_init(&s->listener, fd, service_on_connection);
    assert_int_equal(loop_watch(loop, &s->listener, IO_LEVEL_READ), 0);
}

static inline void service_end_connections(struct service *s)
{
    for (unsigned i = 0; i < SERVICE_CONNECTIONS_MAX; i++)
        if (s->connections[i].io.fd >= 0)
            service_end_connection(&s->connections[i]);
}

static inline void service_stop(struct service *s)
{
    service_end_connections(s);
    loop_close(s->loop, &s->listener);
}

/* ---- upstreams ---- */

static inline struct upstream_conf usual_conf(void)
{
    return (struct upstream_conf){
        .timeouts = { 2000, 60000, 5000, 5000, 5000 }, /* connect, idle, response, body and send idle */
        .keep_alive_connections = 256,
        .retry = { .attempts = 3, .budget_percent = 20, .budget_min = 3, .backoff_ms = 1, .backoff_max_ms = 1 },
    };
}

static inline struct target_set *set_of_services(const char *upstream_name, struct service *const *services,
                                                 uint32_t count)
{
    struct target_slot slots[8];
    assert_true(count <= ARRAY_LEN(slots));
    for (uint32_t i = 0; i < count; i++) {
        char name[] = { services[i]->name, '\0' };
        slots[i] =
            (struct target_slot){ .target = target_get(upstream_name, &services[i]->address, name), .weight = 1 };
        assert_non_null(slots[i].target);
    }
    struct target_set *set = target_set_new(slots, count);
    assert_non_null(set);
    return set;
}

/* ---- calls ---- */

struct call {
    struct upstream_try try;
    struct arena *arena;
    struct loop *loop;
    bool head, ended, reset, written;
    char body[64];
    size_t body_len;
};

static inline void call_on_head(struct stream *stream)
{
    struct call *call = stream->user;
    call->head = true;
    call->ended = stream->in.end == PIPE_ENDED && stream->in.bytes == 0;
}
static inline void call_on_interim(struct stream *stream, const struct message *head)
{
}
static inline void call_on_body(struct stream *stream)
{
    struct call *call = stream->user;
    struct iovec iov[4];
    int n = pipe_peek(&stream->in, iov, 4, sizeof call->body);
    for (int i = 0; i < n; i++) {
        assert_true(call->body_len + iov[i].iov_len < sizeof call->body);
        memcpy(call->body + call->body_len, iov[i].iov_base, iov[i].iov_len);
        call->body_len += iov[i].iov_len;
        pipe_consume(&stream->in, iov[i].iov_len);
    }
    call->ended = pipe_drained(&stream->in);
}
static inline void call_on_room(struct stream *stream)
{
}
static inline void call_on_reset(struct stream *stream)
{
    ((struct call *)stream->user)->reset = true;
}
static inline void call_on_written(struct stream *stream)
{
    ((struct call *)stream->user)->written = true;
}

static const struct stream_events call_events = {
    .on_head = call_on_head,
    .on_interim = call_on_interim,
    .on_body = call_on_body,
    .on_room = call_on_room,
    .on_reset = call_on_reset,
    .on_written = call_on_written,
};

/* The client whose requests they are; NULL: our own. */
static const struct stream *call_for;

/* Opens, and sends a GET without a body. */
static inline int call_open(struct call *call, struct upstream *upstream, unsigned worker, struct bench_loop *b,
                            bool fresh)
{
    *call = (struct call){ .loop = &b->loop };
    call->arena = arena_new(&b->memory, ARENA_LIMIT_DEFAULT);
    if (!call->arena)
        return -ERR_MEMORY;
    const struct upstream_wish wish = { .fresh = fresh, .down = call_for };
    int r = upstream_open(upstream, worker, &wish, call->arena, &call_events, call, &call->try);
    if (r < 0)
        return r;
    struct message head = {
        .version = HTTP_1_1,
        .method = METHOD_GET,
        .method_name = SLICE("GET"),
        .authority = SLICE("test"),
        .path = SLICE("/"),
        .scheme = SLICE("http"),
        .body_length = BODY_NONE,
    };
    return stream_send_head(call->try.stream, &head, true);
}

static inline void call_close(struct call *call, enum err err)
{
    upstream_close(&call->try, err);
    if (call->arena)
        arena_free(call->arena);
    call->arena = NULL;
}

static inline void call_start(struct call *call, struct upstream *upstream, unsigned worker, struct bench_loop *b)
{
    assert_int_equal(call_open(call, upstream, worker, b, false), 0);
}

/* Until it is over, or will never be: our half broke (when calls are made to fail) and the service waits for the rest.
 */
static inline void call_await(struct call *call)
{
    turn_until(call->loop, call->ended || call->reset || call->try.stream->sent_cut);
}

/* The whole of one successful call; the name of the service that answered. */
static inline char call_whole(struct upstream *upstream, unsigned worker, struct bench_loop *b)
{
    struct call call;
    call_start(&call, upstream, worker, b);
    call_await(&call);
    assert_true(call.ended);
    assert_false(call.reset);
    assert_int_equal(call.body_len, 1);
    call_close(&call, ERR_NONE);
    return call.body[0];
}
