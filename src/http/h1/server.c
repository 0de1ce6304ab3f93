/*
 * The server role: requests in, responses out (RFC 9112 9).
 *
 * One request at a time: bytes behind it are left in the kernel, or kept when they came along, until its response is
 * out and the stream released.  That is also what holds tunnel bytes back until an upgrade or CONNECT is decided.
 *
 * A response may be complete before its request is.  What is left of the body is dropped when it is little
 * (drain_bytes_max), and the connection serves on; else it is closed lingering: our end is sent, and what comes is
 * dropped until the client has seen it, because closing with bytes unread would make the kernel send a reset that can
 * overtake the response.
 */
#include "http/h1/conn.h"

#include <errno.h>

#include "base/arena.h"
#include "base/memory.h"
#include "base/sys.h"
#include "http/h1/server.h"
#include "http/h2/h2.h"
#include "net/facts.h"

enum { REQUESTS_A_TURN = 16 }; /* pipelined ones, before others get theirs; a power of two */

static void server_on_ready(struct io *io);

static bool server_shed(struct http_conn *http)
{
    struct h1_conn *conn = h1_conn_of(http);

    if (conn->state != H1_OPEN || conn->wait != WAIT_IDLE || conn->kept || conn_can(conn, IO_READABLE))
        return false;
    conn_close(conn, false);
    return true;
}

static const struct http_conn_ops server_conn_ops = {
    .version = "h1",
    .drain = h1_drain,
    .close = h1_close,
    .shed = server_shed,
};

static struct h1_conn *new_conn(struct loop *loop, const struct address *peer, struct stream_host *host)
{
    struct h1_conn *conn = conn_new(loop, &server_conn_ops, false);

    if (conn) {
        conn->server.host = host;
        conn->peer = *peer;
    }
    return conn;
}

static struct http_conn *begin(struct h1_conn *conn)
{
    struct stream_host *host = conn->server.host;

    conn->state = H1_OPEN;
    conn_wait_for(conn, WAIT_HEAD, host->limits->head_timeout_ms);
    conn_rearm(conn);
    list_push_back(&host->conns, &conn->base.link);
    return &conn->base;
}

struct http_conn *h1_serve(struct loop *loop, int fd, const struct address *peer, struct stream_host *host)
{
    struct h1_conn *conn = new_conn(loop, peer, host);

    if (conn == NULL) {
        sys->close(fd);
        return NULL;
    }
    if (transport_accept(&conn->transport, loop, fd, server_on_ready) < 0) {
        conn_free(conn);
        return NULL;
    }
    return begin(conn);
}

struct http_conn *h1_adopt(struct transport *from, const struct address *peer, struct stream_host *host)
{
    struct h1_conn *conn = new_conn(from->loop, peer, host);

    if (conn == NULL)
        return NULL;
    if (transport_move(from, &conn->transport, server_on_ready) < 0) {
        conn_free(conn);
        return NULL;
    }
    if (conn_can(conn, IO_READABLE))
        conn_read_later(conn);
    return begin(conn);
}

/* ---- the end ---- */

static void begin_lingering(struct h1_conn *conn)
{
    uint32_t linger_ms = conn_limits(conn)->linger_ms;

    kept_drop(conn);
    conn->transport.ops->shutdown(&conn->transport);
    if (linger_ms == 0 || conn->fin) {
        conn_close(conn, false);
        return;
    }
    conn->state = H1_LINGERING;
    conn_wait_for(conn, WAIT_LINGER, linger_ms);
    conn_rearm(conn);
    if (conn_can(conn, IO_READABLE))
        conn_read_later(conn);
}

static void linger(struct h1_conn *conn)
{
    for (size_t budget = TURN_BYTES_MAX / READ_BYTES; conn_can(conn, IO_READABLE); budget--) {
        if (budget == 0) {
            loop_again(conn_loop(conn), &conn->transport.io);
            return;
        }
        ssize_t got = transport_recv(&conn->transport, conn_memory(conn)->scratch, READ_BYTES);
        if (got == -EAGAIN)
            return;
        if (got <= 0) {
            conn_close(conn, false);
            return;
        }
    }
}

/* Nothing more is served. `unread`: bytes of the client are known to be on their way. */
static void finish(struct h1_conn *conn, bool unread)
{
    if (unread || conn->kept || conn_can(conn, IO_READABLE)) {
        begin_lingering(conn);
        return;
    }
    conn->transport.ops->shutdown(&conn->transport); /* what was sent last goes now, even if something has come */
    conn_close(conn, false);
}

void server_failed(struct h1_conn *conn, enum err err)
{
    struct h1_stream *s = conn_detach(conn);

    s->base.err = (uint8_t)err;
    s->base.sent_cut = true;
    s->body.done = true;
    pipe_cut(&s->base.in, err);
    conn_close(conn, s->base.head_sent);
    s->base.events->on_reset(&s->base);
}

void server_body_failed(struct h1_conn *conn, enum err err)
{
    struct h1_stream *s = conn->stream;

    if (err == ERR_CLIENT_RESET || s->base.tunnel) {
        server_failed(conn, err);
        return;
    }
    s->body.done = s->body.broken = true;
    s->body_due_ms = 0;
    s->keep_alive = false;
    pipe_cut(&s->base.in, err);
    s->base.events->on_body(&s->base);
}

/* ---- requests ---- */

/* There is not even memory for a stream: said from static text. */
static void answer_without_memory(struct h1_conn *conn)
{
    static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    struct iovec iov = { (char *)answer, sizeof(answer) - 1 };

    (void)transport_sendv(&conn->transport, &iov, 1, false); /* closed whether it goes or not */
    begin_lingering(conn);
}

static struct h1_stream *new_stream(struct h1_conn *conn)
{
    struct arena *arena = arena_new(conn_memory(conn), ARENA_LIMIT_DEFAULT);
    struct h1_stream *s = arena ? arena_zalloc(arena, sizeof(*s)) : NULL;

    if (s == NULL) {
        arena_free(arena);
        return NULL;
    }
    conn_attach(conn, s, arena);
    s->local = s->base.facts && s->base.facts->proxied ? s->base.facts->local : *conn->server.host->local;
    s->base.ops = &h1_server_ops;
    s->base.local = &s->local;
    conn->requests++;
    conn->blank_lines = 0;
    conn_wait_for(conn, WAIT_NOTHING, 0);
    return s;
}

/* Undoes new_stream. */
static void drop_stream(struct h1_conn *conn)
{
    struct h1_stream *s = conn_detach(conn);

    pipe_done(&s->base.in);
    facts_drop(s->base.facts);
    arena_free(s->base.arena);
}

/* The request is answered with an error and is the connection's last. */
static void tell_bad_request(struct h1_conn *conn, struct h1_stream *s, struct message *message, enum err err)
{
    s->base.head = message;
    s->keep_alive = false;
    s->method = message->method;
    s->body = (struct h1_body){ .done = true, .broken = true };
    pipe_finish(&s->base.in, NULL);
    kept_drop(conn);
    conn->server.host->on_request(conn->server.host, &s->base, err);
}

/* Without a head that could be parsed. */
static void refuse(struct h1_conn *conn, enum err err)
{
    struct h1_stream *s = new_stream(conn);
    struct message *message = s ? arena_zalloc(s->base.arena, sizeof(*message)) : NULL;

    if (message == NULL) {
        if (s)
            drop_stream(conn);
        answer_without_memory(conn);
        return;
    }
    message->version = HTTP_1_1;
    message->body_length = BODY_NONE;
    s->base.bytes_in = kept_bytes(conn).len;
    tell_bad_request(conn, s, message, err);
}

bool server_may_serve_more(const struct h1_conn *conn)
{
    uint32_t max = conn_limits(conn)->requests_max;

    return !conn->draining && !conn->server.host->draining && (max == 0 || conn->requests < max);
}

static void begin_request(struct h1_conn *conn, struct h1_stream *s, const struct h1_head *head, struct slice bytes,
                          size_t head_len)
{
    struct stream_host *host = conn->server.host;
    struct message *message = head->message;

    s->base.head = message;
    s->keep_alive = head->keep_alive && server_may_serve_more(conn);
    s->method = message->method;
    s->asked_upgrade = head->wants_upgrade;
    s->expects = message->expect_continue;
    conn_begin_body(conn, head);
    bool has_body = !s->body.done;
    if (!has_body)
        pipe_finish(&s->base.in, NULL);
    int err = conn_took_head(conn, bytes, head_len);
    bool progress = s->base.in.bytes > 0 || (has_body && s->body.done);
    if (progress)
        s->expects = false;
    host->on_request(host, &s->base, ERR_NONE);
    if (conn->stream != s) /* it could not even be begun (memory) and was given back */
        return;
    if (err) {
        server_body_failed(conn, (enum err) - err);
        return;
    }
    if (progress)
        s->base.events->on_body(&s->base);
    stream_await_body(s, true);
    if (!s->body.done && conn_can(conn, IO_READABLE))
        conn_read_later(conn); /* behind the exchange's first run, which may allow splicing */
}

/* The beginning of HTTP/2's preface, which is made to be taken for a request (RFC 9113 3.4). Over TLS ALPN has to
 * choose HTTP/2 (3.3), and whoever is here was given HTTP/1. */
static bool is_preface(const struct h1_conn *conn, struct slice head)
{
    const struct conn_facts *facts = conn->transport.facts;

    return conn->requests == 0 && !(facts && facts->secure) && slice_eq(head, SLICE("PRI * HTTP/2.0\r\n\r\n"));
}

/* The connection goes on as HTTP/2's; of this one nobody hears again. */
static void hand_over(struct h1_conn *conn, struct slice bytes)
{
    if (h2_adopt(&conn->transport, bytes, &conn->peer, conn->server.host) == NULL)
        conn_close(conn, false);
    else
        conn_vanish(conn);
}

static void take_request(struct h1_conn *conn, struct slice bytes, size_t head_len)
{
    struct h1_stream *s = new_stream(conn);
    struct h1_head head = { 0 };
    int err = -ERR_MEMORY;

    if (s) {
        struct slice text = arena_copy(s->base.arena, slice_make(bytes.at, head_len));
        struct h1_rules rules = {
            .secure_scheme = s->base.secure ? "https" : "http",
            .target_bytes_max = conn_limits(conn)->target_bytes_max,
            .fields_max = conn_limits(conn)->fields_max,
            .underscores_ok = conn_limits(conn)->underscores_ok,
        };
        if (text.at)
            err = h1_parse_request(s->base.arena, text, &rules, &head);
    }
    if (err == 0) {
        begin_request(conn, s, &head, bytes, head_len);
    } else if (err == -ERR_MEMORY) {
        if (s)
            drop_stream(conn);
        answer_without_memory(conn);
    } else {
        s->base.bytes_in = head_len;
        tell_bad_request(conn, s, head.message, (enum err) - err);
    }
}

static void read_request(struct h1_conn *conn)
{
    struct slice bytes = SLICE_EMPTY;
    size_t len = 0;

    switch (conn_next_head(conn, &bytes, &len)) {
    case NEXT_HEAD:
        if (is_preface(conn, slice_make(bytes.at, len)))
            hand_over(conn, bytes);
        else
            take_request(conn, bytes, len);
        return;
    case NEXT_WAIT:
        if (conn->kept && conn->wait != WAIT_HEAD)
            conn_wait_for(conn, WAIT_HEAD, conn_limits(conn)->head_timeout_ms);
        return;
    case NEXT_TOO_LARGE:
        len = MIN(bytes.len, (size_t)conn_limits(conn)->head_bytes_max);
        refuse(conn, memchr(bytes.at, '\n', len) ? ERR_HEAD_TOO_LARGE : ERR_TARGET_TOO_LONG);
        return;
    case NEXT_MEMORY:
        answer_without_memory(conn);
        return;
    default: /* the client went away between requests, or within a head that no one can answer */
        conn_close(conn, false);
    }
}

/* ---- what is read besides requests ---- */

/* A hang-up while the response is being made: did the client only end its half, or is it gone? */
static void look_behind_request(struct h1_conn *conn)
{
    struct slice bytes;

    if (!conn_can(conn, IO_HANGUP) || !conn_can(conn, IO_READABLE) || kept_bytes(conn).len >= READ_BYTES)
        return;
    bool was_kept = conn->kept != NULL;
    switch (conn_read_bytes(conn, READ_BYTES, &bytes)) {
    case NEXT_HEAD:
        if (was_kept || kept_store(conn, bytes) == 0)
            return;
        break;
    case NEXT_LOST:
        break;
    default:
        return;
    }
    server_failed(conn, ERR_CLIENT_RESET);
}

static void next_request(struct h1_conn *conn)
{
    conn_wait_for(conn, WAIT_IDLE, conn_limits(conn)->keep_alive_ms);
    conn_rearm(conn);
    if (conn->kept == NULL && !conn_can(conn, IO_READABLE))
        return;
    if ((conn->requests & (REQUESTS_A_TURN - 1)) == 0)
        loop_again(conn_loop(conn), &conn->transport.io);
    else
        conn_read_later(conn);
}

static void end_drain(struct h1_conn *conn)
{
    memory_put(conn_memory(conn), conn->server.drain, sizeof(*conn->server.drain));
    conn->server.drain = NULL;
}

/* The rest of a body behind its response. */
static void drain(struct h1_conn *conn)
{
    struct h1_drain *rest = conn->server.drain;
    int result = conn_read_drain(conn, &rest->body, &rest->left);

    if (result == 0)
        return;
    end_drain(conn);
    if (result < 0)
        begin_lingering(conn);
    else
        next_request(conn);
}

/* The response is out, the request is not in. */
static void begin_drain(struct h1_conn *conn, const struct h1_stream *s)
{
    uint64_t left = s->discard ? s->drain_left : conn_limits(conn)->drain_bytes_max;
    struct h1_drain *rest =
        server_body_is_too_much(&s->body, left) ? NULL : memory_get(conn_memory(conn), sizeof(*rest));

    if (rest == NULL) {
        begin_lingering(conn);
        return;
    }
    *rest = (struct h1_drain){ s->body, left };
    conn->server.drain = rest;
    conn_wait_for(conn, WAIT_DRAIN, conn_limits(conn)->linger_ms);
    conn_rearm(conn);
    if (conn->kept || conn_can(conn, IO_READABLE))
        conn_read_later(conn);
}

void server_request_over(struct h1_conn *conn, const struct h1_stream *s)
{
    if (s->base.tunnel)
        conn_close(conn, false);
    else if (!s->keep_alive)
        finish(conn, !s->body.done || s->body.broken);
    else if (!s->body.done)
        begin_drain(conn, s);
    else
        next_request(conn);
}

static void discard_body(struct h1_conn *conn, struct h1_stream *s)
{
    int result = conn_read_drain(conn, &s->body, &s->drain_left);

    if (result == -ERR_CLIENT_RESET) {
        server_failed(conn, ERR_CLIENT_RESET);
    } else if (result < 0) {
        s->body.done = s->body.broken = true;
        s->keep_alive = false;
    }
}

void server_on_read(struct h1_conn *conn)
{
    struct h1_stream *s = conn->stream;

    if (conn->state == H1_LINGERING)
        linger(conn);
    else if (conn->server.drain)
        drain(conn);
    else if (s == NULL)
        read_request(conn);
    else if (s->body.done)
        look_behind_request(conn);
    else if (s->discard)
        discard_body(conn, s);
    else
        conn_read_body(conn);
}

static void server_on_ready(struct io *io)
{
    struct h1_conn *conn = container_of(io, struct h1_conn, transport.io);
    struct h1_stream *s = conn->stream;

    MAGIC_CHECK(conn, H1_MAGIC);
    if (s && (s->out.bytes > 0 || s->want_room) && conn_can(conn, IO_WRITABLE))
        conn_flush(conn);
    if (conn->state != H1_CLOSED)
        server_on_read(conn);
    conn_rearm(conn);
}

void server_on_due(struct h1_conn *conn)
{
    if (conn->wait == WAIT_HEAD && conn->kept)
        refuse(conn, ERR_HEAD_TIMEOUT);
    else
        conn_close(conn, conn->wait == WAIT_DRAIN);
}
