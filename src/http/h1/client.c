/*
 * The client role: a connection to a service, one request after the other, never pipelined.
 *
 * It goes back to its owner only when nothing about its state is in doubt: the request completely sent, the response
 * complete, not a byte behind it, no end seen, and both sides willing.  Everything else closes it.  A service that
 * answers before it has been sent a body, or that is sent one with a method that usually has none, may not have read
 * that body, and could take it for the next request: what it answered to that would then stand where the next client's
 * answer is awaited.
 *
 * `unsent` says whether the kernel has taken a byte of the request: until then a failure cannot have had any effect on
 * the service, and whatever the service sends is not an answer to it.  When sending fails, only that half is over:
 * reading goes on, because a service that refuses a body answers first and then closes.
 */
#include "http/h1/conn.h"

#include <errno.h>

#include "base/arena.h"
#include "base/memory.h"
#include "http/h1/write.h"
#include "http/websocket.h"
#include "net/facts.h"

static void client_on_ready(struct io *io);
static const struct http_conn_ops client_conn_ops;
static const struct stream_ops client_ops;

int h1_connect(struct loop *loop, const struct dial *dial, struct http_owner *owner, struct http_conn **ret_conn)
{
    struct h1_conn *conn = conn_new(loop, &client_conn_ops, true);

    if (conn == NULL)
        return -ERR_MEMORY;
    conn->client.owner = owner;
    conn->peer = *dial->to;
    conn->client.idle_since_ms = loop->now_ms;
    int err = transport_connect(&conn->transport, loop, dial, client_on_ready);
    if (err) {
        conn_free(conn);
        return err;
    }
    conn->state = H1_CONNECTING;
    conn_wait_for(conn, WAIT_CONNECT, dial->timeout_ms);
    conn_rearm(conn);
    *ret_conn = &conn->base;
    return 0;
}

static uint32_t h1_streams_free(const struct http_conn *http)
{
    const struct h1_conn *conn = h1_conn_of(http);

    return conn->state <= H1_OPEN && conn->stream == NULL && conn->kept == NULL && !conn->fin && !conn->draining;
}

static uint32_t h1_streams_open(const struct http_conn *conn)
{
    return h1_conn_of(conn)->stream != NULL;
}

static uint64_t h1_idle_since_ms(const struct http_conn *conn)
{
    return h1_conn_of(conn)->client.idle_since_ms;
}

/* Anything but silence from an idle service ends the connection. */
static bool is_silent(struct h1_conn *conn)
{
    if (!conn_can(conn, IO_READABLE | IO_HANGUP))
        return true;
    return transport_recv(&conn->transport, conn_memory(conn)->scratch, READ_BYTES) == -EAGAIN;
}

static int h1_open(struct http_conn *http, struct arena *arena, const struct stream_events *events, void *user,
                   struct stream **ret_stream)
{
    struct h1_conn *conn = h1_conn_of(http);

    MAGIC_CHECK(conn, H1_MAGIC);
    ENSURE(conn->is_client && conn->stream == NULL && conn->kept == NULL);
    if (conn->state == H1_CLOSED)
        return -ERR_UPSTREAM_UNSENT;
    if (conn->state == H1_OPEN && !is_silent(conn)) {
        conn_close(conn, false);
        return -ERR_UPSTREAM_UNSENT;
    }
    struct h1_stream *s = arena_zalloc(arena, sizeof(*s));
    if (s == NULL)
        return -ERR_MEMORY;
    conn_attach(conn, s, arena);
    s->awaits_head = true;
    s->base.ops = &client_ops;
    s->base.events = events;
    s->base.user = user;
    s->base.unsent = true;
    s->base.reused = conn->requests > 0;
    conn->requests++;
    if (conn->state == H1_OPEN)
        conn_wait_for(conn, WAIT_NOTHING, 0);
    *ret_stream = &s->base;
    return 0;
}

/* ---- failures ---- */

static enum err judge_failure(const struct h1_stream *s, enum err err)
{
    if (s->base.unsent && (err == ERR_UPSTREAM_CLOSED || err == ERR_UPSTREAM_RESET))
        return ERR_UPSTREAM_UNSENT;
    /* the body's errors are told as a client's */
    return err_info(err)->side == SIDE_CLIENT && !s->cut_out ? ERR_UPSTREAM_BAD_BODY : err;
}

void client_failed(struct h1_conn *conn, enum err err)
{
    struct h1_stream *s = conn_detach(conn);

    if (s == NULL) {
        conn_close(conn, false);
        return;
    }
    bool complete = !s->awaits_head && s->body.done && !s->body.broken && !s->base.tunnel;
    s->base.sent_cut = true;
    s->body.done = true;
    conn_close(conn, false);
    if (complete) { /* the answer stands; only the request cannot go on */
        if (s->want_room)
            s->base.events->on_room(&s->base);
        return;
    }
    err = judge_failure(s, err);
    s->base.err = (uint8_t)err;
    if (!s->awaits_head)
        pipe_cut(&s->base.in, err);
    s->base.events->on_reset(&s->base);
}

void client_send_failed(struct h1_conn *conn, enum err err)
{
    struct h1_stream *s = conn->stream;

    if (err != ERR_UPSTREAM_RESET) { /* a fault of ours */
        client_failed(conn, err);
        return;
    }
    if (s->base.unsent) { /* there can be no answer to it */
        client_failed(conn, ERR_UPSTREAM_UNSENT);
        return;
    }
    s->base.sent_cut = true;
    s->keep_alive = false;
    s->send_due_ms = 0;
    pipe_done(&s->out);
    if (s->base.tunnel && s->body.done) { /* neither half goes on */
        client_failed(conn, err);
        return;
    }
    /* The next read tells what the service had to say; no edge need come for it. */
    conn->transport.io.ready |= IO_READABLE | IO_HANGUP;
    loop_again(conn_loop(conn), &conn->transport.io);
    if (s->want_room) {
        s->want_room = false;
        s->base.events->on_room(&s->base);
    }
}

/* ---- responses ---- */

static bool lists(struct slice protocols, struct slice wanted)
{
    struct slice protocol;

    while ((protocol = slice_next_element(&protocols)).at != NULL) {
        if (slice_eq_nocase(protocol, wanted))
            return true;
    }
    return false;
}

/* RFC 9110 7.8: only to what was asked for, and only when the request is complete. */
static bool was_asked(const struct h1_stream *s, struct slice protocols)
{
    enum { LAYERS_MAX = 4 }; /* one protocol upon the other; nobody switches to two */
    struct slice protocol;
    unsigned layers = 0;

    if (!s->asked_upgrade || !s->base.end_sent || s->out.bytes > 0)
        return false;
    while ((protocol = slice_next_element(&protocols)).at != NULL) {
        if (++layers > LAYERS_MAX || !lists(s->asked, protocol))
            return false;
    }
    return true;
}

static int parse_response(struct h1_conn *conn, struct h1_stream *s, struct slice head, struct h1_head *ret_head)
{
    struct h1_rules rules = {
        .fields_max = conn_limits(conn)->fields_max,
        .underscores_ok = conn_limits(conn)->underscores_ok,
    };
    struct slice text = arena_copy(s->base.arena, head);

    if (text.at == NULL)
        return -ERR_MEMORY;
    int err = h1_parse_response(s->base.arena, text, &rules, s->method, ret_head);
    if (err)
        return err;
    struct message *message = ret_head->message;
    if (message->status != 101)
        return 0;
    if (!was_asked(s, message->upgrade) || (s->key.len > 0 && !websocket_accepts(message, s->key)))
        return -ERR_UPSTREAM_BAD_HEAD;
    if (s->key.len > 0)
        fields_remove_name(&message->fields, SLICE("Sec-WebSocket-Accept"));
    return 0;
}

/* false: the stream failed. */
static bool take_interim(struct h1_conn *conn, struct h1_stream *s, struct message *message, struct slice bytes,
                         size_t head_len)
{
    int err = ++s->interims > INTERIM_MAX ? -ERR_UPSTREAM_BAD_HEAD : 0;

    s->base.bytes_in += head_len;
    if (conn->kept)
        kept_consume(conn, head_len);
    else if (!err)
        err = kept_store(conn, slice_make(bytes.at + head_len, bytes.len - head_len));
    if (err) {
        client_failed(conn, (enum err) - err);
        return false;
    }
    if (s->base.events->on_interim)
        s->base.events->on_interim(&s->base, message);
    return conn->stream == s;
}

static void take_final(struct h1_conn *conn, struct h1_stream *s, const struct h1_head *head, struct slice bytes,
                       size_t head_len)
{
    struct message *message = head->message;
    bool connected = s->method == METHOD_CONNECT && message->status >= 200 && message->status < 300;

    s->base.head = message;
    s->keep_alive = s->keep_alive && head->keep_alive;
    s->awaits_head = false;
    s->last = s->last || !s->base.end_sent || s->out.bytes > 0;
    conn_begin_body(conn, head);
    if (message->status == 101 || connected)
        stream_become_tunnel(s);
    bool has_body = !s->body.done;
    if (!has_body)
        pipe_finish(&s->base.in, NULL);
    int err = conn_took_head(conn, bytes, head_len);
    bool progress = s->base.in.bytes > 0 || (has_body && s->body.done);
    s->base.events->on_head(&s->base);
    if (err) {
        client_failed(conn, (enum err) - err);
        return;
    }
    if (progress)
        s->base.events->on_body(&s->base);
    stream_await_body(s, true);
    if (!s->body.done && conn_can(conn, IO_READABLE))
        conn_read_later(conn); /* behind the exchange's run, which may allow splicing */
}

static void read_heads(struct h1_conn *conn, struct h1_stream *s)
{
    for (;;) {
        struct slice bytes = SLICE_EMPTY;
        struct h1_head head;
        size_t len = 0;
        enum h1_next next = conn_next_head(conn, &bytes, &len);
        if (next == NEXT_WAIT)
            return;
        if (next != NEXT_HEAD) {
            client_failed(conn, next == NEXT_END         ? ERR_UPSTREAM_CLOSED
                                : next == NEXT_LOST      ? ERR_UPSTREAM_RESET
                                : next == NEXT_TOO_LARGE ? ERR_UPSTREAM_HEAD_TOO_LARGE
                                                         : ERR_MEMORY);
            return;
        }
        int err = parse_response(conn, s, slice_make(bytes.at, len), &head);
        if (err) {
            client_failed(conn, (enum err) - err);
            return;
        }
        if (head.message->status >= 200 || head.message->status == 101) {
            take_final(conn, s, &head, bytes, len);
            return;
        }
        if (!take_interim(conn, s, head.message, bytes, len))
            return;
    }
}

/* What the service had to say before our half broke is read; a tunnel has nothing to wait for behind it. */
static void end_broken_tunnel(struct h1_conn *conn)
{
    struct h1_stream *s = conn->stream;

    if (s && s->base.tunnel && s->base.sent_cut && !s->body.done && !conn_can(conn, IO_READABLE))
        client_failed(conn, ERR_UPSTREAM_RESET);
}

void client_on_read(struct h1_conn *conn)
{
    struct h1_stream *s = conn->stream;

    if (conn->state != H1_OPEN || !(conn->kept || conn_can(conn, IO_READABLE)))
        return;
    if (s == NULL) {
        if (!is_silent(conn))
            conn_close(conn, false);
    } else if (s->base.unsent && !conn->kept) {
        if (!is_silent(conn))
            client_failed(conn, ERR_UPSTREAM_UNSENT);
    } else if (s->awaits_head) {
        read_heads(conn, s);
    } else if (!s->body.done) {
        conn_read_body(conn);
        end_broken_tunnel(conn);
    }
}

/* true: connected, now or before. */
static bool finish_connecting(struct h1_conn *conn)
{
    int result = transport_establish(&conn->transport);

    if (result > 0)
        return false;
    if (result < 0) {
        client_failed(conn, (enum err) - result);
        return false;
    }
    conn->state = H1_OPEN;
    conn->client.idle_since_ms = conn_loop(conn)->now_ms;
    if (conn->stream)
        conn_wait_for(conn, WAIT_NOTHING, 0);
    else
        conn_wait_for(conn, WAIT_IDLE, conn_limits(conn)->keep_alive_ms);
    return true;
}

static void client_on_ready(struct io *io)
{
    struct h1_conn *conn = container_of(io, struct h1_conn, transport.io);

    MAGIC_CHECK(conn, H1_MAGIC);
    if (conn->state == H1_CONNECTING && !finish_connecting(conn))
        return;
    struct h1_stream *s = conn->stream;
    if (s && (s->out.bytes > 0 || s->want_room) && conn_can(conn, IO_WRITABLE))
        conn_flush(conn);
    if (conn->state != H1_CLOSED)
        client_on_read(conn);
    conn_rearm(conn);
}

void client_on_due(struct h1_conn *conn)
{
    ENSURE(conn->wait == WAIT_CONNECT || conn->wait == WAIT_IDLE);
    client_failed(conn, ERR_CONNECT_TIMEOUT); /* without a stream nobody hears the reason */
}

/* ---- requests ---- */

/* RFC 9110 8.6: methods whose content has a meaning say so when there is none. */
static bool expects_content(uint8_t method)
{
    return method == METHOD_POST || method == METHOD_PUT || method == METHOD_PATCH;
}

/* RFC 9110 9.3: a body has no meaning there, and services are found that leave it unread. */
static bool brings_no_body(uint8_t method)
{
    return method_is_safe(method) || method == METHOD_DELETE;
}

static int choose_framing(struct h1_stream *s, const struct message *head, bool end, struct h1_framing *framing)
{
    int64_t length = head->body_length;

    if (length > 0 || (length == BODY_UNKNOWN && !end)) {
        if (end)
            return -ERR_INTERNAL;
        s->out_kind = length > 0 ? KIND_LENGTH : KIND_CHUNKED;
        framing->chunked = length == BODY_UNKNOWN;
        s->owed = framing->content_length = length;
    } else {
        s->out_kind = KIND_LENGTH;
        s->owed = 0;
        if (length == 0 || expects_content(head->method))
            framing->content_length = 0;
    }
    return 0;
}

/* A client that speaks a later version has no key (RFC 8441 5), and a service of HTTP/1 wants one: it is ours. */
static int give_key(struct h1_stream *s, struct message *head)
{
    char *key = arena_alloc(s->base.arena, WEBSOCKET_KEY_LEN);
    struct fields fields;

    if (key == NULL || message_copy_fields(s->base.arena, &head->fields, &fields) < 0)
        return -ERR_MEMORY;
    websocket_key(key);
    s->key = slice_make(key, WEBSOCKET_KEY_LEN);
    head->fields = fields;
    return fields_set(&head->fields, s->base.arena, SLICE("Sec-WebSocket-Key"), s->key);
}

static int write_keyed(struct h1_stream *s, const struct message *head, const struct h1_framing *framing)
{
    struct message keyed = *head;
    int err = give_key(s, &keyed);

    return err ? err : h1_write_request(&s->out, &keyed, framing);
}

static int client_send_head(struct stream *stream, const struct message *head, bool end)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_conn *conn = s->conn;
    struct h1_framing framing = { .content_length = -1 };

    ENSURE(!stream->head_sent);
    if (conn == NULL || stream->sent_cut)
        return -ERR_UPSTREAM_RESET;
    int err = choose_framing(s, head, end, &framing);
    if (err)
        return err;
    uint32_t max = conn_limits(conn)->requests_max;
    s->keep_alive = !conn->draining && (max == 0 || conn->requests < max);
    framing.close = !s->keep_alive;
    if (head->upgrade.len > 0 && head->method != METHOD_CONNECT) {
        framing.upgrade = head->upgrade;
        s->asked_upgrade = true;
        s->asked = head->upgrade;
    }
    bool keyless = s->asked_upgrade && head->version >= HTTP_2 && websocket_is(head->upgrade);
    err = keyless ? write_keyed(s, head, &framing) : h1_write_request(&s->out, head, &framing);
    if (err) {
        if (err == -ERR_MEMORY)
            stream_unwrite(s, 0);
        return err;
    }
    s->method = head->method;
    s->last = s->owed != 0 && brings_no_body(head->method);
    stream->head_sent = true;
    stream->end_sent = end;
    conn_flush_later(conn);
    return 0;
}

static int client_send_interim(struct stream *stream, const struct message *head)
{
    return -ERR_INTERNAL; /* only servers send them */
}

static void client_read_more(struct stream *stream)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_conn *conn = s->conn;

    if (conn == NULL || s->awaits_head || s->body.done)
        return;
    if (conn->kept || conn_can(conn, IO_READABLE))
        conn_read_later(conn);
    stream_await_body(s, false);
    conn_rearm(conn);
}

static void client_stop_reading(struct stream *stream)
{
    /* a client that does not want the rest resets */
}

static void client_reset(struct stream *stream, enum err err)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_conn *conn = s->conn;

    pipe_done(&stream->in);
    pipe_done(&s->out);
    stream->err = (uint8_t)err;
    if (conn == NULL)
        return;
    conn_detach(conn);
    conn_close(conn, false);
}

static bool is_reusable(const struct h1_conn *conn, const struct h1_stream *s)
{
    bool answered = !s->awaits_head && s->body.done && !s->body.broken && !s->base.tunnel;
    bool sent = s->base.end_sent && s->out.bytes == 0 && !s->base.sent_cut;

    return answered && sent && !s->last && s->keep_alive && !conn->draining && conn->kept == NULL && !conn->fin &&
           !conn_can(conn, IO_HANGUP);
}

static void client_release(struct stream *stream)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_conn *conn = s->conn;

    facts_drop(stream->facts);
    stream->facts = NULL;
    if (conn == NULL || !is_reusable(conn, s)) {
        client_reset(stream, stream->err);
        return;
    }
    pipe_done(&stream->in);
    pipe_done(&s->out);
    conn_detach(conn);
    conn->client.idle_since_ms = conn_loop(conn)->now_ms;
    conn_wait_for(conn, WAIT_IDLE, conn_limits(conn)->keep_alive_ms);
    conn_rearm(conn);
    conn->client.owner->on_free(conn->client.owner, &conn->base);
}

static const struct http_conn_ops client_conn_ops = {
    .version = "h1",
    .drain = h1_drain,
    .close = h1_close,
    .open = h1_open,
    .streams_free = h1_streams_free,
    .streams_open = h1_streams_open,
    .idle_since_ms = h1_idle_since_ms,
};

static const struct stream_ops client_ops = {
    .send_head = client_send_head,
    .send_interim = client_send_interim,
    .send_body = h1_send_body,
    .read_more = client_read_more,
    .reset = client_reset,
    .release = client_release,
    .stop_reading = client_stop_reading,
};
