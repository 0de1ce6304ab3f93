/*
 * The server role's half of a stream: the response out (RFC 9112 6.3 from the sender's side), interim ones, tunnels,
 * and how the user lets go.
 *
 * How a body is framed follows from the status, the method, body_length and the client's version, never from fields.  A
 * connection that cannot be kept says so in its last head; an old client that asked for keep-alive is told that it got
 * it.
 */
#include "base/arena.h"
#include "http/date.h"
#include "http/h1/server.h"
#include "http/h1/write.h"
#include "http/websocket.h"
#include "net/facts.h"

static bool makes_tunnel(const struct h1_stream *s, const struct message *head)
{
    if (s->method == METHOD_CONNECT)
        return head->status >= 200 && head->status < 300;
    return head->status == 101 && s->asked_upgrade;
}

/* RFC 9112 6.3, from the other side: how the body is framed. */
static int choose_framing(struct h1_stream *s, const struct message *head, bool end, struct h1_framing *framing)
{
    int64_t length = head->body_length;
    bool is_head = s->method == METHOD_HEAD;

    if (!status_has_body(head->status, s->method)) {
        s->out_kind = KIND_NONE;
        framing->length_is_metadata = is_head || head->status == 304;
        if (is_head && length >= 0 && status_has_body(head->status, METHOD_GET) &&
            fields_find(&head->fields, FIELD_CONTENT_LENGTH) == NULL)
            framing->content_length = length;
    } else if (length > 0) {
        if (end)
            return -ERR_INTERNAL;
        s->out_kind = KIND_LENGTH;
        s->owed = framing->content_length = length;
    } else if (length != BODY_UNKNOWN || end) {
        s->out_kind = KIND_LENGTH;
        s->owed = framing->content_length = 0;
    } else if (s->base.head->version == HTTP_1_0) {
        s->out_kind = KIND_CLOSE;
        s->keep_alive = false;
    } else {
        s->out_kind = KIND_CHUNKED;
        framing->chunked = true;
    }
    return 0;
}

static void choose_connection(struct h1_stream *s, const struct message *head, struct h1_framing *framing)
{
    struct h1_conn *conn = s->conn;

    /* A client told to wait may never send the body it announced; behind a refused CONNECT may stand what was meant for
     * the tunnel. */
    if (!server_may_serve_more(conn) || s->base.last || s->base.untrusted || s->expects || s->method == METHOD_CONNECT)
        s->keep_alive = false;
    if (head->status == 101 || head->status == 426)
        framing->upgrade = head->upgrade;
    framing->close = !s->keep_alive;
    framing->keep_alive = s->keep_alive && s->base.head->version == HTTP_1_0;
}

/* A service that speaks a later version accepts without a word (RFC 8441 5); this client waits for it. */
static int give_accept(struct h1_stream *s, struct message *head)
{
    struct slice key = websocket_key_of(s->base.head), name = SLICE("Sec-WebSocket-Accept");
    char *accept = arena_alloc(s->base.arena, WEBSOCKET_ACCEPT_LEN);
    struct fields fields;

    if (key.at == NULL)
        return -ERR_UPGRADE_REFUSED;
    if (accept == NULL || message_copy_fields(s->base.arena, &head->fields, &fields) < 0)
        return -ERR_MEMORY;
    websocket_accept(key, accept);
    head->fields = fields;
    return fields_set(&head->fields, s->base.arena, name, slice_make(accept, WEBSOCKET_ACCEPT_LEN));
}

static int write_accepting(struct h1_stream *s, const struct message *head, const struct h1_framing *framing)
{
    struct message accepting = *head;
    int err = give_accept(s, &accepting);

    return err ? err : h1_write_response(&s->out, &accepting, framing, http_date_now(conn_loop(s->conn)));
}

static int server_send_head(struct stream *stream, const struct message *head, bool end)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_framing framing = { .content_length = -1 };
    bool tunnel = makes_tunnel(s, head);

    ENSURE(!stream->head_sent);
    if (s->conn == NULL || stream->sent_cut)
        return -ERR_CLIENT_CLOSED;
    if ((head->status < 200 && !tunnel) || (tunnel && !s->body.done))
        return -ERR_INTERNAL;
    int err = choose_framing(s, head, end && !tunnel, &framing);
    if (err)
        return err;
    choose_connection(s, head, &framing);
    if (tunnel)
        framing.close = framing.keep_alive = false;
    uint32_t before = s->out.bytes;
    bool unsaid = head->status == 101 && head->version >= HTTP_2 && websocket_is(head->upgrade);
    err = unsaid ? write_accepting(s, head, &framing)
                 : h1_write_response(&s->out, head, &framing, http_date_now(conn_loop(s->conn)));
    if (err) {
        if (err == -ERR_MEMORY)
            stream_unwrite(s, before);
        return err;
    }
    stream->head_sent = true;
    if (tunnel) {
        stream_become_tunnel(s);
        if (s->conn->kept || conn_can(s->conn, IO_READABLE))
            conn_read_later(s->conn);
    } else if (end) {
        stream->end_sent = true;
    }
    conn_flush_later(s->conn);
    return 0;
}

static int server_send_interim(struct stream *stream, const struct message *head)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_framing framing = { .content_length = -1 };

    ENSURE(!stream->head_sent && head->status >= 100 && head->status < 200 && head->status != 101);
    if (s->conn == NULL || stream->sent_cut)
        return -ERR_CLIENT_CLOSED;
    if (stream->head->version == HTTP_1_0)
        return 0;
    uint32_t before = s->out.bytes;
    int err = h1_write_response(&s->out, head, &framing, SLICE_EMPTY);
    if (err) {
        if (err == -ERR_MEMORY)
            stream_unwrite(s, before);
        return err;
    }
    if (head->status == 100 && s->expects) {
        s->expects = false;
        stream_await_body(s, true);
        conn_rearm(s->conn);
    }
    conn_flush_later(s->conn);
    return 0;
}

static void server_read_more(struct stream *stream)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_conn *conn = s->conn;

    if (conn == NULL || s->body.done || s->discard)
        return;
    if (conn->kept || conn_can(conn, IO_READABLE))
        conn_read_later(conn);
    stream_await_body(s, false);
    conn_rearm(conn);
}

static void server_stop_reading(struct stream *stream)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_conn *conn = s->conn;

    if (conn == NULL || s->body.done || s->discard)
        return;
    s->discard = true;
    s->body_due_ms = 0;
    s->drain_left = conn_limits(conn)->drain_bytes_max;
    if (server_body_is_too_much(&s->body, s->drain_left)) {
        s->body.done = s->body.broken = true;
        s->keep_alive = false;
    } else if (conn->kept || conn_can(conn, IO_READABLE)) {
        conn_read_later(conn);
    }
}

static void server_reset(struct stream *stream, enum err err)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_conn *conn = s->conn;
    bool cuts = stream->head_sent && (!stream->end_sent || s->out.bytes > 0);

    pipe_done(&stream->in);
    pipe_done(&s->out);
    stream->err = (uint8_t)err;
    if (conn == NULL)
        return;
    conn_detach(conn);
    conn_close(conn, cuts);
}

static void server_release(struct stream *stream)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_conn *conn = s->conn;

    facts_drop(stream->facts);
    stream->facts = NULL;
    if (conn == NULL || !stream->end_sent || s->out.bytes > 0 || stream->sent_cut) {
        server_reset(stream, stream->err);
        return;
    }
    pipe_done(&stream->in);
    pipe_done(&s->out);
    conn_detach(conn);
    server_request_over(conn, s);
}

const struct stream_ops h1_server_ops = {
    .send_head = server_send_head,
    .send_interim = server_send_interim,
    .send_body = h1_send_body,
    .read_more = server_read_more,
    .reset = server_reset,
    .release = server_release,
    .stop_reading = server_stop_reading,
};
