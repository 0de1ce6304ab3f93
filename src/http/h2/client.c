/*
 * The client role: many requests on one connection to a service.
 *
 * Until the service's SETTINGS have come it is not known how many streams it takes.  What the one before it took is
 * believed (owner->streams_seen), but only EARLY_HEADS_MAX requests are sent at once; the others wait, and what then
 * proves too much is failed as refused, which costs the caller nothing.
 *
 * A request with an Upgrade becomes an extended CONNECT (RFC 8441) if the service's SETTINGS allow it, and its 2xx is
 * shown as the 101 that it stands for.
 *
 * `unsent` says whether the kernel has taken a byte of the request, as in HTTP/1.  Streams the service refuses
 * (REFUSED_STREAM, or a GOAWAY that leaves them out) surely were not processed.
 */
#include "base/arena.h"
#include "base/memory.h"
#include "http/h2/conn.h"
#include "http/h2/write.h"
#include "http/websocket.h"
#include "net/facts.h"

static void client_on_ready(struct io *io);
static const struct http_conn_ops client_conn_ops;
static const struct stream_ops client_ops;

int h2_connect(struct loop *loop, const struct dial *dial, struct http_owner *owner, struct http_conn **ret_conn)
{
    struct h2_conn *conn = h2_conn_new(loop, &client_conn_ops, true);

    if (conn == NULL)
        return -ERR_MEMORY;
    conn->client.owner = owner;
    conn->client.idle_since_ms = loop->now_ms;
    conn->peer = *dial->to;
    conn->layered = dial->layer != NULL;
    int err = h2_session_begin(conn);
    if (!err)
        err = transport_connect(&conn->transport, loop, dial, client_on_ready);
    if (err) {
        h2_conn_free(conn);
        return err;
    }
    conn->state = H2_CONNECTING;
    h2_earn(conn, INT16_MAX);
    h2_wait_for(conn, H2_WAIT_CONNECT, dial->timeout_ms);
    h2_rearm(conn);
    *ret_conn = &conn->base;
    return 0;
}

/* ---- how many ---- */

static uint32_t streams_allowed(const struct h2_conn *conn)
{
    uint32_t most = h2_streams_max(conn), seen = conn->client.owner->streams_seen;

    if (conn->settled)
        return MIN(most, nghttp2_session_get_remote_settings(conn->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS));
    return seen ? MIN(most, seen) : most;
}

static uint32_t h2_streams_free(const struct http_conn *http)
{
    const struct h2_conn *conn = h2_conn_of(http);

    if (conn->state > H2_OPEN || conn->draining || conn->fin)
        return 0;
    uint32_t allowed = streams_allowed(conn), max = h2_limits(conn)->requests_max;
    if (max > 0 && conn->requests >= max)
        return 0;
    return allowed > conn->count ? allowed - conn->count : 0;
}

static uint32_t h2_streams_open(const struct http_conn *conn)
{
    return h2_conn_of(conn)->count;
}

static uint64_t h2_idle_since_ms(const struct http_conn *conn)
{
    return h2_conn_of(conn)->client.idle_since_ms;
}

/* Frames on an idle connection are well; its end is not. */
static bool is_gone(struct h2_conn *conn)
{
    if (conn->state == H2_OPEN && conn->count == 0 && h2_can(conn, IO_READABLE | IO_HANGUP))
        h2_read(conn);
    if (conn->state != H2_CLOSED && (conn->draining || conn->state > H2_OPEN) && conn->count == 0)
        h2_conn_end(conn, ERR_NONE);
    return conn->state > H2_OPEN || conn->draining;
}

static int h2_open(struct http_conn *http, struct arena *arena, const struct stream_events *events, void *user,
                   struct stream **ret_stream)
{
    struct h2_conn *conn = h2_conn_of(http);

    MAGIC_CHECK(conn, H2_MAGIC);
    ENSURE(conn->is_client);
    if (is_gone(conn))
        return -ERR_UPSTREAM_UNSENT;
    struct h2_stream *s = arena_zalloc(arena, sizeof(*s));
    if (s == NULL)
        return -ERR_MEMORY;
    bool connecting = conn->state == H2_CONNECTING;
    uint64_t due_ms = conn->due_ms;
    s->base.reused = conn->requests > 0;
    h2_attach(conn, s, arena);
    if (connecting) { /* the connect's time goes on */
        conn->wait = H2_WAIT_CONNECT;
        conn->due_ms = due_ms;
    }
    s->awaits_head = true;
    s->base.ops = &client_ops;
    s->base.events = events;
    s->base.user = user;
    s->base.unsent = true;
    *ret_stream = &s->base;
    return 0;
}

/* ---- the connection's news ---- */

/* Streams that wait are as good as the service has room; the rest was not sent, and may go elsewhere. */
static void submit_waiting(struct h2_conn *conn, uint32_t room, enum err rest)
{
    struct link *link;

    while (conn->state != H2_CLOSED && (link = list_pop_front(&conn->waits)) != NULL) {
        struct h2_stream *s = container_of(link, struct h2_stream, wait_link);
        enum err err = rest;
        if (room > 0) {
            room--;
            err = client_submit(s, s->unsent_head);
        }
        if (err) {
            s->fault = (uint8_t)err;
            h2_add_news(s, NEWS_FAULT);
        }
    }
}

void client_settled(struct h2_conn *conn)
{
    struct http_owner *owner = conn->client.owner;
    bool first = !conn->settled;

    conn->settled = true;
    owner->streams_seen = MAX(streams_allowed(conn), 1u);
    if (!first)
        return;
    uint32_t sent = MIN(conn->early_heads, conn->count), allowed = streams_allowed(conn);
    submit_waiting(conn, allowed > sent ? allowed - sent : 0, ERR_UPSTREAM_REFUSED);
    h2_flush_later(conn);
}

void client_gone(struct h2_conn *conn)
{
    submit_waiting(conn, 0, ERR_UPSTREAM_REFUSED);
    h2_flush_later(conn); /* which ends it when it has no stream */
}

static bool chose_h2(const struct h2_conn *conn)
{
    const struct conn_facts *facts = conn->transport.facts;

    return !conn->layered || (facts && slice_eq(facts->alpn, SLICE("h2")));
}

static bool finish_connecting(struct h2_conn *conn)
{
    int result = transport_establish(&conn->transport);

    if (result > 0)
        return false;
    if (result == 0 && !chose_h2(conn))
        result = -ERR_NOT_HTTP2;
    if (result < 0) {
        h2_conn_end(conn, (enum err) - result);
        return false;
    }
    conn->state = H2_OPEN;
    conn->client.idle_since_ms = h2_loop(conn)->now_ms;
    if (conn->count > 0)
        h2_wait_for(conn, H2_WAIT_NOTHING, 0);
    else
        h2_wait_for(conn, H2_WAIT_IDLE, h2_limits(conn)->keep_alive_ms);
    LIST_FOR_EACH (link, &conn->streams) {
        struct h2_stream *s = container_of(link, struct h2_stream, link);
        if (s->base.facts == NULL)
            s->base.facts = facts_hold(conn->transport.facts);
    }
    h2_flush_later(conn);
    return true;
}

static void client_on_ready(struct io *io)
{
    struct h2_conn *conn = container_of(io, struct h2_conn, transport.io);

    MAGIC_CHECK(conn, H2_MAGIC);
    if (conn->state == H2_CONNECTING && !finish_connecting(conn))
        return;
    if (h2_can(conn, IO_WRITABLE) && (conn->out.bytes > 0 || conn->paused))
        h2_flush(conn);
    if (conn->state != H2_CLOSED)
        h2_read(conn);
    h2_rearm(conn);
}

/* ---- responses ---- */

static void set_fault(struct h2_stream *s, enum err err)
{
    s->fault = (uint8_t)err;
    h2_add_news(s, NEWS_FAULT);
}

static void take_interim(struct h2_stream *s, const struct message *message)
{
    struct h2_interim *interim = arena_alloc(s->base.arena, sizeof(*interim));

    if (interim == NULL || ++s->interim_count > INTERIM_MAX) {
        set_fault(s, interim ? ERR_UPSTREAM_BAD_HEAD : ERR_MEMORY);
        return;
    }
    *interim = (struct h2_interim){ .head = message };
    *s->interims_end = interim;
    s->interims_end = &interim->next;
    h2_add_news(s, NEWS_INTERIM);
}

/* RFC 8441 5, RFC 9113 8.5. */
static bool opens_tunnel(const struct h2_stream *s, const struct message *message, bool end)
{
    return s->asked_tunnel && message->status >= 200 && message->status < 300 && !end;
}

static void take_final(struct h2_stream *s, struct message *message, bool end)
{
    s->awaits_head = false;
    s->final = message;
    s->remote_done = end;
    if (opens_tunnel(s, message, end)) {
        if (s->asked_upgrade) {
            message->status = 101;
            message->upgrade = s->asked;
        }
        message->body_length = BODY_NONE;
        (void)h2_open_tunnel(s); /* nothing came early: heads are first here */
    } else {
        s->asked_tunnel = false;
        s->expected = message->body_length;
        if (end || !status_has_body(message->status, s->method)) {
            s->discard = !end;
            pipe_finish(&s->base.in, NULL);
        }
    }
    h2_add_news(s, NEWS_HEAD);
    h2_await_body(s, true);
}

void client_head_done(struct h2_stream *s, bool end)
{
    struct message *message = s->head->message;
    int err = h2_head_response(s->head, end, s->method);

    if (err)
        set_fault(s, (enum err) - err);
    else if (message->status < 200)
        take_interim(s, message);
    else
        take_final(s, message, end);
}

static void tell_interims(struct h2_conn *conn, struct h2_stream *s)
{
    while (s->interims) {
        struct h2_interim *interim = s->interims;
        s->interims = interim->next;
        if (s->interims == NULL)
            s->interims_end = &s->interims;
        if (s->base.events->on_interim)
            s->base.events->on_interim(&s->base, interim->head);
        if (conn->state == H2_CLOSED || conn->current != s)
            return;
    }
}

static bool is_answered(const struct h2_stream *s)
{
    return !s->awaits_head && s->base.in.end == PIPE_ENDED && (!s->base.tunnel || s->sent_told);
}

/* The answer stands; only the request cannot go on. */
static void end_sending(struct h2_stream *s)
{
    if (!s->end_framed) {
        s->base.sent_cut = true;
        h2_drop_out(s);
        list_unlink(&s->send_link);
        s->send_due_ms = 0;
    }
    list_unlink(&s->room_link);
    if (s->want_room) {
        s->want_room = false;
        s->base.events->on_room(&s->base);
    }
}

static void stream_closed(struct h2_conn *conn, struct h2_stream *s)
{
    if (s->base.sent_cut && s->out_end == PIPE_CUT && s->end_framed && !is_answered(s)) {
        enum err err = s->cut_err; /* we cut it */
        h2_detach(s);
        client_lost(conn, s, err);
        return;
    }
    if (is_answered(s)) {
        end_sending(s);
        return;
    }
    enum err err = s->fault ? s->fault : h2_err_of(conn, s->close_code, s->peer_reset);
    if (conn->spoken && !conn->settled && !s->peer_reset) /* nghttp2 has given up, whatever it says of streams */
        err = h2_nonsense(conn);
    s->base.reset_alone = s->peer_reset;
    h2_detach(s);
    client_lost(conn, s, err);
}

void client_tell(struct h2_stream *s, enum h2_news news)
{
    struct h2_conn *conn = s->conn;

    switch (news) {
    case NEWS_INTERIM:
        tell_interims(conn, s);
        break;
    case NEWS_HEAD:
        s->base.head = s->final;
        s->base.events->on_head(&s->base);
        break;
    default:
        stream_closed(conn, s);
    }
}

static enum err judge_loss(const struct h2_stream *s, enum err err)
{
    if (s->base.unsent && (err == ERR_UPSTREAM_CLOSED || err == ERR_UPSTREAM_RESET || err == ERR_NONE))
        return ERR_UPSTREAM_UNSENT;
    return err == ERR_NONE ? ERR_UPSTREAM_CLOSED : err;
}

void client_lost(struct h2_conn *conn, struct h2_stream *s, enum err err)
{
    bool answered = is_answered(s) && !(s->news & (NEWS_HEAD | NEWS_FAULT));

    s->base.sent_cut = true;
    if (answered) {
        if (s->want_room)
            s->base.events->on_room(&s->base);
        return;
    }
    err = judge_loss(s, err);
    s->base.err = (uint8_t)err;
    if (s->base.head)
        pipe_cut(&s->base.in, err);
    s->base.events->on_reset(&s->base);
}

/* ---- requests ---- */

static bool takes_extended_connect(const struct h2_conn *conn)
{
    return nghttp2_session_get_remote_settings(conn->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

enum err client_submit(struct h2_stream *s, const struct message *head)
{
    struct h2_conn *conn = s->conn;

    if (s->asked_upgrade && !takes_extended_connect(conn))
        return ERR_NO_EXTENDED_CONNECT;
    s->base.secure = conn->layered;
    bool end = s->out_end == PIPE_ENDED && s->out.bytes == 0 && !s->trailers && !s->asked_tunnel;
    int err = h2_submit_request(s, head, end, s->asked_upgrade);
    if (!err && !conn->settled)
        conn->early_heads++;
    if (err == -ERR_UPSTREAM_REFUSED)
        conn->draining = true;
    return (enum err) - err;
}

/* What is known only once the service has spoken waits for it. */
static bool has_to_wait(const struct h2_conn *conn, const struct h2_stream *s)
{
    return !conn->settled && (s->asked_upgrade || conn->early_heads >= EARLY_HEADS_MAX);
}

/* What an extended CONNECT can stand for (RFC 8441 4): a GET without a body, for one protocol. From anything else the
 * Upgrade is left out, as everyone may (RFC 9110 7.8): the method and the body then arrive as they are. */
static bool may_upgrade(const struct message *head, bool end)
{
    return head->upgrade.len > 0 && head->method == METHOD_GET && end && slice_find(head->upgrade, ',') < 0;
}

static int choose_framing(struct h2_stream *s, const struct message *head, bool end)
{
    int64_t length = head->body_length;

    s->method = head->method;
    s->asked_upgrade = may_upgrade(head, end);
    s->asked_tunnel = s->asked_upgrade || head->method == METHOD_CONNECT;
    if (end && length > 0)
        return -ERR_INTERNAL;
    if (s->asked_tunnel && !end)
        return -ERR_INTERNAL; /* a tunnel's bytes follow its answer */
    s->out_kind = length == BODY_UNKNOWN && !end ? OUT_OPEN : OUT_COUNTED;
    s->owed = MAX(length, 0);
    if (s->asked_tunnel)
        s->out_kind = OUT_OPEN;
    else if (end)
        s->out_end = PIPE_ENDED;
    return 0;
}

/* RFC 6455 4.2.1: a client of HTTP/1 wants the answer to its key. Without one there can be none. */
static bool can_be_answered(const struct message *head)
{
    return head->version >= HTTP_2 || !websocket_is(head->upgrade) || websocket_key_of(head).at != NULL;
}

static int client_send_head(struct stream *stream, const struct message *head, bool end)
{
    struct h2_stream *s = h2_stream_of(stream);
    struct h2_conn *conn = s->conn;
    int err = 0;

    ENSURE(!stream->head_sent);
    if (conn == NULL || stream->sent_cut)
        return -ERR_UPSTREAM_RESET;
    err = choose_framing(s, head, end);
    if (err)
        return err;
    if (s->asked_upgrade) {
        if (!can_be_answered(head))
            return -ERR_UPGRADE_REFUSED;
        s->asked = arena_copy(stream->arena, head->upgrade);
        if (s->asked.at == NULL)
            return -ERR_MEMORY;
    }
    if (has_to_wait(conn, s)) {
        s->unsent_head = message_copy(stream->arena, head);
        if (s->unsent_head == NULL)
            return -ERR_MEMORY;
        list_push_back(&conn->waits, &s->wait_link);
    } else {
        enum err failed = client_submit(s, head);
        if (failed == ERR_MEMORY || failed == ERR_INTERNAL)
            return -(int)failed;
        if (failed)
            set_fault(s, failed);
    }
    stream->head_sent = true;
    stream->end_sent = end;
    h2_flush_later(conn);
    return 0;
}

static int client_send_interim(struct stream *stream, const struct message *head)
{
    return -ERR_INTERNAL; /* only servers send them */
}

static void client_stop_reading(struct stream *stream)
{
    /* a client that does not want the rest resets */
}

static void client_reset(struct stream *stream, enum err err)
{
    struct h2_stream *s = h2_stream_of(stream);

    stream->err = (uint8_t)err;
    if (s->conn) {
        bool whole = s->remote_done && s->end_framed;
        if (!whole)
            h2_rst(s, h2_code_of(s, err));
        h2_detach(s);
    }
    pipe_done(&stream->in);
}

static void client_release(struct stream *stream)
{
    client_reset(stream, stream->err);
    facts_drop(stream->facts);
    stream->facts = NULL;
}

static const struct http_conn_ops client_conn_ops = {
    .version = "h2",
    .drain = h2_drain,
    .close = h2_close,
    .open = h2_open,
    .streams_free = h2_streams_free,
    .streams_open = h2_streams_open,
    .idle_since_ms = h2_idle_since_ms,
};

static const struct stream_ops client_ops = {
    .send_head = client_send_head,
    .send_interim = client_send_interim,
    .send_body = h2_send_body,
    .read_more = h2_read_more,
    .reset = client_reset,
    .release = client_release,
    .stop_reading = client_stop_reading,
};
