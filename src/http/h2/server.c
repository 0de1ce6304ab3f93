/*
 * The server role: requests in, responses out.
 *
 * A request that is malformed is told to the host with its error, so that it is logged and counted like one of HTTP/1;
 * what the user then answers is replaced by RST_STREAM with PROTOCOL_ERROR where RFC 9113 8.1.1 asks for it.  What is
 * merely too large, or expects what cannot be met, is answered.  A stream that was reset before it was told of is
 * dropped without an exchange.
 *
 * A response may be complete before its request is: the rest is not drained but refused, by RST_STREAM with NO_ERROR
 * once the response has been read (RFC 9113 8.1).
 */
#include "base/arena.h"
#include "base/memory.h"
#include "http/date.h"
#include "http/h2/conn.h"
#include "http/h2/write.h"
#include "net/facts.h"

enum { ANSWER_WORTH = 20 }; /* in patience: someone who takes answers may cancel now and then */

static void server_on_ready(struct io *io);
static const struct stream_ops server_ops;

static bool server_shed(struct http_conn *http)
{
    struct h2_conn *conn = h2_conn_of(http);

    if (conn->state != H2_OPEN || conn->count > 0 || conn->requests == 0 || h2_can(conn, IO_READABLE))
        return false;
    h2_conn_end(conn, ERR_OVERLOADED);
    return true;
}

static const struct http_conn_ops server_conn_ops = {
    .version = "h2",
    .drain = h2_drain,
    .close = h2_close,
    .shed = server_shed,
};

static int keep_bytes(struct h2_conn *conn, struct slice bytes)
{
    if (bytes.len == 0)
        return 0;
    conn->kept = memory_get(h2_memory(conn), sizeof(*conn->kept) + bytes.len);
    if (conn->kept == NULL)
        return -ERR_MEMORY;
    conn->kept->size = (uint32_t)bytes.len;
    memcpy(conn->kept->data, bytes.at, bytes.len);
    return 0;
}

struct http_conn *h2_adopt(struct transport *from, struct slice bytes, const struct address *peer,
                           struct stream_host *host)
{
    struct h2_conn *conn = h2_conn_new(from->loop, &server_conn_ops, false);

    if (conn == NULL)
        return NULL;
    conn->server.host = host;
    conn->peer = *peer;
    if (h2_session_begin(conn) < 0 || keep_bytes(conn, bytes) < 0 ||
        transport_move(from, &conn->transport, server_on_ready) < 0) {
        h2_conn_free(conn);
        return NULL;
    }
    conn->state = H2_OPEN;
    h2_earn(conn, INT16_MAX); /* up to the most that may be had */
    h2_wait_for(conn, H2_WAIT_FIRST, host->limits->head_timeout_ms);
    h2_rearm(conn);
    list_push_back(&host->conns, &conn->base.link);
    if (conn->kept || h2_can(conn, IO_READABLE))
        h2_read_later(conn);
    h2_flush_later(conn); /* SETTINGS */
    return &conn->base;
}

static void server_on_ready(struct io *io)
{
    struct h2_conn *conn = container_of(io, struct h2_conn, transport.io);

    MAGIC_CHECK(conn, H2_MAGIC);
    if (h2_can(conn, IO_WRITABLE) && (conn->out.bytes > 0 || conn->paused))
        h2_flush(conn);
    if (conn->state != H2_CLOSED)
        h2_read(conn);
    h2_rearm(conn);
}

/* ---- requests ---- */

static void drop_told(struct h2_conn *conn, enum err err)
{
    if (conn->server.host->on_dropped)
        conn->server.host->on_dropped(conn->server.host, err);
}

struct h2_stream *server_begin_stream(struct h2_conn *conn, int32_t id)
{
    struct arena *arena = arena_new(h2_memory(conn), ARENA_LIMIT_DEFAULT);
    struct h2_stream *s = arena ? arena_zalloc(arena, sizeof(*s)) : NULL;

    if (s == NULL) {
        arena_free(arena);
        drop_told(conn, ERR_MEMORY);
        return NULL;
    }
    h2_attach(conn, s, arena);
    s->local = s->base.facts && s->base.facts->proxied ? s->base.facts->local : *conn->server.host->local;
    s->base.ops = &server_ops;
    s->base.local = &s->local;
    s->id = id;
    s->known = true;
    (void)nghttp2_session_set_stream_user_data(conn->session, id, s); /* it has just been opened */
    return s;
}

/* Not told yet, and never to be. */
static void drop_stream(struct h2_conn *conn, struct h2_stream *s, enum err err)
{
    pipe_done(&s->base.in);
    facts_drop(s->base.facts);
    arena_free(s->base.arena);
    drop_told(conn, err);
}

void server_head_done(struct h2_stream *s, bool end)
{
    struct message *message = s->head->message;
    int err = h2_head_request(s->head, end, s->base.secure);

    s->base.head = message;
    s->method = message->method;
    s->remote_done = end;
    s->request_err = (uint8_t)-err;
    /* That there is no body has still to be seen: until then nobody is sent a request that says so. */
    s->held = !err && !end && s->head->has_length && s->head->length == 0;
    if (!s->held)
        h2_add_news(s, NEWS_REQUEST);
    if (err) {
        s->malformed = err_info((enum err) - err)->status == 400 && err != -ERR_UPGRADE_REFUSED;
        s->discard = true;
        pipe_finish(&s->base.in, NULL);
        return;
    }
    s->asked_upgrade = message->upgrade.len > 0;
    s->asked_tunnel = s->asked_upgrade || message->method == METHOD_CONNECT;
    s->early_end = s->asked_tunnel && end;
    s->expects = message->expect_continue;
    s->expected = s->asked_tunnel || !s->head->has_length ? -1 : s->head->length;
    if (end || s->asked_tunnel)
        pipe_finish(&s->base.in, NULL);
    h2_await_body(s, true);
}

void server_let_go(struct h2_stream *s, enum err err)
{
    s->held = false;
    s->request_err = (uint8_t)err;
    h2_add_news(s, NEWS_REQUEST);
    if (err == ERR_NONE)
        return;
    s->malformed = s->discard = true;
    pipe_finish(&s->base.in, NULL);
}

static void tell_request(struct h2_conn *conn, struct h2_stream *s)
{
    struct stream_host *host = conn->server.host;
    enum err err = s->request_err;
    uint32_t max = host->limits->requests_max;

    if (!s->known || err == ERR_MEMORY) {
        bool reset = !s->known;
        s->news |= NEWS_REQUEST; /* nobody knows it */
        if (!reset)
            h2_rst(s, NGHTTP2_REFUSED_STREAM);
        h2_detach(s);
        drop_stream(conn, s, reset ? ERR_CLIENT_RESET : ERR_MEMORY);
        return;
    }
    h2_await_body(s, true);
    host->on_request(host, &s->base, err);
    if (max > 0 && conn->requests >= max && conn->state == H2_OPEN)
        h2_conn_drain(conn, false);
}

/* Of a tunnel it is told: with its answer out it still waits for the client's half. */
static void cut_behind_answer(struct h2_stream *s, enum err err)
{
    bool waits = s->base.tunnel && s->base.in.end == PIPE_OPEN;

    pipe_cut(&s->base.in, err);
    if (!waits)
        return;
    s->base.err = (uint8_t)err;
    s->base.events->on_reset(&s->base);
}

/* nghttp2 has done with the stream. */
static void stream_closed(struct h2_conn *conn, struct h2_stream *s)
{
    if (s->end_framed) { /* our half had ended */
        cut_behind_answer(s, ERR_CLIENT_RESET);
        h2_await_body(s, false);
        return;
    }
    enum err err = s->fault ? s->fault : h2_err_of(conn, s->close_code, s->peer_reset);
    h2_detach(s);
    server_lost(conn, s, err);
}

void server_tell(struct h2_stream *s, enum h2_news news)
{
    struct h2_conn *conn = s->conn;

    if (news == NEWS_REQUEST)
        tell_request(conn, s);
    else if (s->base.events == NULL) { /* reset before its head was whole */
        h2_detach(s);
        drop_stream(conn, s, ERR_CLIENT_RESET);
    } else {
        stream_closed(conn, s);
    }
}

void server_lost(struct h2_conn *conn, struct h2_stream *s, enum err err)
{
    if (s->base.events == NULL) {
        drop_stream(conn, s, err ? err : ERR_CLIENT_CLOSED);
        return;
    }
    if (err == ERR_NONE)
        err = ERR_CLIENT_CLOSED;
    s->base.sent_cut = true;
    if (s->sent_told) {
        cut_behind_answer(s, err);
        return;
    }
    pipe_cut(&s->base.in, err);
    s->base.err = (uint8_t)err;
    s->base.events->on_reset(&s->base);
}

/* ---- responses ---- */

static bool makes_tunnel(const struct h2_stream *s, const struct message *head)
{
    if (s->asked_upgrade)
        return head->status == 101;
    return s->asked_tunnel && head->status >= 200 && head->status < 300;
}

static int choose_framing(struct h2_stream *s, const struct message *head, bool end)
{
    if (!status_has_body(head->status, s->method)) {
        s->out_kind = OUT_NONE;
    } else if (head->body_length > 0) {
        s->out_kind = OUT_COUNTED;
        s->owed = head->body_length;
        return end ? -ERR_INTERNAL : 0;
    } else if (head->body_length != BODY_UNKNOWN || end) {
        s->out_kind = OUT_COUNTED;
        s->owed = 0;
    } else {
        s->out_kind = OUT_OPEN;
    }
    return 0;
}

static int send_malformed(struct h2_stream *s, bool end)
{
    s->base.head_sent = true;
    s->base.end_sent = end;
    s->out_kind = OUT_NONE;
    if (s->known && nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_PROTOCOL_ERROR) != 0)
        return -ERR_MEMORY;
    h2_flush_later(s->conn);
    return 0;
}

static int server_send_head(struct stream *stream, const struct message *head, bool end)
{
    struct h2_stream *s = h2_stream_of(stream);
    bool tunnel = makes_tunnel(s, head);

    ENSURE(!stream->head_sent);
    if (s->conn == NULL || stream->sent_cut || !s->known)
        return -ERR_CLIENT_CLOSED;
    if (head->status < 200 && !tunnel)
        return -ERR_INTERNAL;
    if (s->malformed)
        return send_malformed(s, end);
    int err = tunnel ? 0 : choose_framing(s, head, end);
    if (err)
        return err;
    if (tunnel)
        s->out_kind = OUT_OPEN;
    /* what may have no body, or was said to have none, ends with its head, whatever the user says later */
    bool ends = !tunnel && (end || s->out_kind == OUT_NONE);
    err = h2_submit_response(s, head, ends, tunnel, http_date_now(h2_loop(s->conn)));
    if (err)
        return err;
    stream->head_sent = true;
    stream->end_sent = end && !tunnel;
    if (ends)
        s->out_end = PIPE_ENDED;
    if (tunnel && !h2_open_tunnel(s)) {
        s->fault = ERR_MEMORY;
        h2_add_news(s, NEWS_FAULT);
    }
    h2_flush_later(s->conn);
    return 0;
}

static int server_send_interim(struct stream *stream, const struct message *head)
{
    struct h2_stream *s = h2_stream_of(stream);

    ENSURE(!stream->head_sent && head->status >= 100 && head->status < 200 && head->status != 101);
    if (s->conn == NULL || stream->sent_cut || !s->known)
        return -ERR_CLIENT_CLOSED;
    if (s->malformed)
        return 0;
    int err = h2_submit_interim(s, head);
    if (err)
        return err;
    if (head->status == 100 && s->expects) {
        s->expects = false;
        h2_await_body(s, true);
        h2_rearm(s->conn);
    }
    h2_flush_later(s->conn);
    return 0;
}

static void server_stop_reading(struct stream *stream)
{
    struct h2_stream *s = h2_stream_of(stream);

    if (s->conn == NULL || s->discard)
        return;
    s->discard = true;
    h2_await_body(s, false);
}

static void give_up(struct h2_stream *s)
{
    pipe_done(&s->base.in);
    facts_drop(s->base.facts);
    s->base.facts = NULL;
}

static void server_reset(struct stream *stream, enum err err)
{
    struct h2_stream *s = h2_stream_of(stream);

    stream->err = (uint8_t)err;
    if (s->conn) {
        h2_rst(s, h2_code_of(s, err));
        h2_detach(s);
    }
    pipe_done(&stream->in);
}

/* The request goes on behind its answer: RST_STREAM with NO_ERROR (RFC 9113 8.1), but not in the same breath. There are
 * clients that then drop the answer (curl before 8.0), so it waits for a PING to come back; the window stays shut. */
static void reset_behind_answer(struct h2_stream *s)
{
    struct h2_conn *conn = s->conn;

    if (!s->known)
        return;
    if (conn->late_count == LATE_RESETS_MAX || (!conn->late_pinged && h2_submit_ping(conn, PING_ANSWER_READ) < 0)) {
        h2_rst(s, NGHTTP2_NO_ERROR);
        return;
    }
    conn->late_pinged = true;
    conn->late[conn->late_count++] = s->id;
    h2_flush_later(conn);
}

void server_reset_late(struct h2_conn *conn)
{
    while (conn->late_count > 0)
        (void)nghttp2_submit_rst_stream(conn->session, NGHTTP2_FLAG_NONE, conn->late[--conn->late_count],
                                        NGHTTP2_NO_ERROR); /* nothing, if the client has ended it meanwhile */
    conn->late_pinged = false;
    h2_flush_later(conn);
}

static void server_release(struct stream *stream)
{
    struct h2_stream *s = h2_stream_of(stream);
    struct h2_conn *conn = s->conn;
    bool whole = conn && stream->end_sent && s->end_framed && !stream->sent_cut;

    if (!whole) {
        server_reset(stream, stream->sent_cut && s->end_framed ? ERR_NONE : stream->err);
        if (conn && conn->state == H2_OPEN && stream->last)
            h2_conn_drain(conn, false);
        give_up(s);
        return;
    }
    reset_behind_answer(s);
    h2_earn(conn, ANSWER_WORTH);
    h2_detach(s);
    if (stream->last && conn->state == H2_OPEN)
        h2_conn_drain(conn, false);
    give_up(s);
}

static const struct stream_ops server_ops = {
    .send_head = server_send_head,
    .send_interim = server_send_interim,
    .send_body = h2_send_body,
    .read_more = h2_read_more,
    .reset = server_reset,
    .release = server_release,
    .stop_reading = server_stop_reading,
};
