/*
 * What comes in: nghttp2's callbacks, which leave news, and telling them.
 *
 * Room is the window: a stream's is the room of its `in`, and read_more gives back what the user has taken, to the
 * stream's window and to the connection's.  So the connection's window bounds what all its bodies hold together, and
 * streams that stall cannot hold up the others before they hold all of it.
 *
 * What costs a peer nothing and us something (empty DATA, PING, SETTINGS, resets, faults that make us reset) is paid
 * from a budget that time and useful work refill; when it is used up the connection ends with ENHANCE_YOUR_CALM.
 */
#include "http/h2/conn.h"

#include <errno.h>

#include "base/arena.h"
#include "base/memory.h"

enum {
    PATIENCE_MAX = 10000,
    PATIENCE_A_SECOND = 1000,
    COST_SETTINGS = 50,
    COST_PING = 20,
    COST_MEASURE = 1,
    COST_EMPTY_DATA = 20,
    COST_PRIORITY = 5,
    COST_UNKNOWN = 5,
    COST_WINDOW_UPDATE = 1,
    BLOCK_BYTES_TIMES = 4, /* of head_bytes_max: how much of a head that is too large is decoded, to answer it */
};

/* From a callback: nghttp2 fails, and the connection is told why. */
static int abort_with(struct h2_conn *conn, uint32_t code)
{
    conn->abort_code = code;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int calm_down(struct h2_conn *conn)
{
    return abort_with(conn, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* ---- patience ---- */

bool h2_spend(struct h2_conn *conn, int32_t cost)
{
    struct h2_patience *patience = &conn->patience;
    uint64_t now_ms = h2_loop(conn)->now_ms, passed_ms = now_ms - patience->at_ms;

    if (passed_ms > 0) {
        uint64_t worth = MIN(passed_ms, (uint64_t)PATIENCE_MAX) * PATIENCE_A_SECOND / 1000;
        patience->at_ms = now_ms;
        h2_earn(conn, (int32_t)worth);
    }
    patience->left -= cost;
    return patience->left >= 0;
}

void h2_earn(struct h2_conn *conn, int32_t worth)
{
    conn->patience.left = MIN(conn->patience.left + worth, (int32_t)PATIENCE_MAX);
}

/* One behind DATA that passed, either way, is no idle one: so peers measure the path (gRPC's, for their windows). */
static int32_t cost_of_ping(struct h2_conn *conn)
{
    int32_t cost = conn->data_passed ? COST_MEASURE : COST_PING;

    conn->data_passed = false;
    return cost;
}

static int32_t cost_of(struct h2_conn *conn, const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_DATA:
        return hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM) ? COST_EMPTY_DATA : 0;
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
        return 0;
    case NGHTTP2_RST_STREAM:
        return conn->is_client ? 0 : COST_RESET;
    case NGHTTP2_SETTINGS:
        /* One that moves the windows lets every stream send a frame, from which we then earn. */
        return hd->flags & NGHTTP2_FLAG_ACK ? 0 : COST_SETTINGS + 2 * DATA_WORTH * (int32_t)conn->count;
    case NGHTTP2_PING:
        return cost_of_ping(conn);
    case NGHTTP2_PRIORITY:
        return COST_PRIORITY;
    case NGHTTP2_WINDOW_UPDATE:
        return COST_WINDOW_UPDATE;
    default:
        return COST_UNKNOWN;
    }
}

/* HEADERS for a stream that is over. nghttp2 forgets streams and ignores it, as it has to if we were who reset it: the
 * client may not have known. What the client itself has ended (RFC 9113 5.1) or passed over (5.1.1) is an error: its
 * code, else 0. */
static uint32_t judge_id(struct h2_conn *conn, int32_t id)
{
    if (id > conn->last_id) {
        if (id > conn->last_id + 2) {
            conn->gap_begin = conn->last_id;
            conn->gap_end = id;
        }
        conn->last_id = id;
        return 0;
    }
    if (id > conn->gap_begin && id < conn->gap_end)
        return NGHTTP2_PROTOCOL_ERROR;
    bool ours = conn->reset_low != 0 && id >= conn->reset_low;
    return ours || nghttp2_session_find_stream(conn->session, id) ? 0 : (uint32_t)NGHTTP2_STREAM_CLOSED;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct h2_conn *conn = user;
    int32_t cost = cost_of(conn, hd);

    uint32_t bad_id =
        hd->type == NGHTTP2_HEADERS && !conn->is_client && hd->stream_id % 2 ? judge_id(conn, hd->stream_id) : 0;
    if (bad_id)
        return abort_with(conn, bad_id);
    return cost == 0 || h2_spend(conn, cost) ? 0 : calm_down(conn);
}

/* ---- heads ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_conn *conn = user;
    bool request = frame->headers.cat == NGHTTP2_HCAT_REQUEST;

    conn->block_bytes = 0;
    conn->incoming = NULL;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct h2_stream *s = request ? server_begin_stream(conn, frame->hd.stream_id) : h2_find(conn, frame->hd.stream_id);
    if (s == NULL)
        return request ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
    s->head = h2_head_new(s->base.arena, h2_limits(conn),
                          request          ? BLOCK_REQUEST
                          : s->awaits_head ? BLOCK_RESPONSE
                                           : BLOCK_TRAILERS);
    if (s->head == NULL) {
        s->fault = ERR_MEMORY;
        h2_add_news(s, NEWS_FAULT);
        return 0;
    }
    conn->incoming = s;
    /* Not before: of a block that nghttp2 ignores (refused, or behind GOAWAY) nobody is told when it is over. */
    if (h2_limits(conn)->head_timeout_ms > 0)
        conn->head_due_ms = h2_loop(conn)->now_ms + h2_limits(conn)->head_timeout_ms;
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2_conn *conn = user;
    uint64_t bytes = (uint64_t)conn->block_bytes + name_len + value_len + 32;

    if (bytes > (uint64_t)BLOCK_BYTES_TIMES * h2_limits(conn)->head_bytes_max)
        return calm_down(conn);
    conn->block_bytes = (uint32_t)bytes;
    if (conn->incoming)
        h2_head_field(conn->incoming->head, slice_make((const char *)name, name_len),
                      slice_make((const char *)value, value_len));
    return 0;
}

static void set_fault(struct h2_stream *s, enum err err)
{
    if (s->fault == ERR_NONE)
        s->fault = (uint8_t)err;
    h2_add_news(s, NEWS_FAULT);
}

/* The peer's half ends, with trailers or none. */
static void end_body(struct h2_stream *s, struct fields *trailers)
{
    s->remote_done = true;
    s->expects = false;
    if (s->asked_tunnel && !s->base.tunnel && !s->conn->is_client) {
        s->early_end = true;
        return;
    }
    if (s->awaits_head) {
        set_fault(s, ERR_UPSTREAM_BAD_HEAD);
        return;
    }
    if (s->base.in.end != PIPE_OPEN || s->fault != ERR_NONE) /* behind a gap nothing is whole */
        return;
    if (s->expected > 0) {
        set_fault(s, s->conn->is_client ? ERR_UPSTREAM_CUT : ERR_PROTOCOL);
        return;
    }
    pipe_finish(&s->base.in, trailers);
    if (s->held)
        server_let_go(s, ERR_NONE);
    else
        h2_add_news(s, NEWS_BODY);
    h2_await_body(s, true);
}

static void trailers_done(struct h2_stream *s, bool end)
{
    struct fields *trailers = NULL;
    int err = h2_head_trailers(s->head, end, &trailers);

    if (!err)
        end_body(s, trailers);
    else if (!s->conn->is_client || err == -ERR_MEMORY)
        set_fault(s, (enum err) - err);
    else
        set_fault(s, ERR_UPSTREAM_BAD_BODY);
}

static void head_frame(struct h2_conn *conn, const nghttp2_frame *frame)
{
    struct h2_stream *s = conn->incoming;
    bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

    conn->incoming = NULL;
    conn->head_due_ms = 0;
    if (s == NULL)
        return;
    s->base.bytes_in += FRAME_HEADER_BYTES + frame->hd.length;
    if (s->head->block == BLOCK_TRAILERS)
        trailers_done(s, end);
    else if (conn->is_client)
        client_head_done(s, end);
    else
        server_head_done(s, end);
    s->head = NULL;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_conn *conn = user;
    struct h2_stream *s;

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        head_frame(conn, frame);
        break;
    case NGHTTP2_DATA:
        if (frame->data.padlen > 0 && frame->hd.length <= frame->data.padlen && !h2_spend(conn, COST_EMPTY_DATA))
            return calm_down(conn);
        s = frame->hd.flags & NGHTTP2_FLAG_END_STREAM ? h2_find(conn, frame->hd.stream_id) : NULL;
        if (s)
            end_body(s, NULL);
        break;
    case NGHTTP2_RST_STREAM:
        s = h2_find(conn, frame->hd.stream_id);
        if (s)
            s->peer_reset = true;
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            conn->todo |= TODO_SETTLED;
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK)
            conn->todo |= frame->ping.opaque_data[0] == PING_ANSWER_READ ? TODO_RESETS : TODO_LAST_ID;
        break;
    case NGHTTP2_GOAWAY:
        conn->draining = true;
        conn->todo |= TODO_GONE;
        break;
    default:
        break;
    }
    return 0;
}

/* ---- bodies ---- */

static bool put_early(struct h2_stream *s, const void *data, size_t len)
{
    if (s->early == NULL) {
        s->early = arena_alloc(s->base.arena, sizeof(*s->early));
        if (s->early == NULL)
            return false;
        pipe_init(s->early, s->base.in.memory, s->base.in.room_max);
    }
    return pipe_append(s->early, data, len) == 0;
}

bool h2_open_tunnel(struct h2_stream *s)
{
    struct pipe *early = s->early;

    s->base.tunnel = true;
    s->base.end_sent = false;
    s->base.in.end = PIPE_OPEN;
    s->base.in.trailers = NULL;
    s->expected = -1;
    if (early) {
        size_t len = early->bytes;
        if (pipe_move(early, &s->base.in, len) != len)
            return false;
        s->early = NULL;
        h2_add_news(s, NEWS_BODY);
    }
    if (s->early_end) {
        pipe_finish(&s->base.in, NULL);
        h2_add_news(s, NEWS_BODY);
    }
    return true;
}

/* Nobody takes these bytes; ERR_NONE: and that is well. */
static int drop_bytes_of(struct h2_stream *s, size_t len, enum err err)
{
    s->conn->dropped_bytes += len;
    if (err)
        set_fault(s, err);
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                         void *user)
{
    struct h2_conn *conn = user;
    struct h2_stream *s = h2_find(conn, id);

    if (s == NULL) {
        conn->dropped_bytes += len;
        return 0;
    }
    s->base.bytes_in += FRAME_HEADER_BYTES + len;
    conn->data_passed = true;
    s->expects = false;
    bool waits = s->asked_tunnel && !s->base.tunnel && !s->discard && !conn->is_client;
    const struct pipe *to = waits ? s->early : &s->base.in;
    if (s->fault != ERR_NONE || (!waits && (s->discard || to->end != PIPE_OPEN)))
        return drop_bytes_of(s, len, ERR_NONE);
    if (s->held && len > 0) {
        server_let_go(s, ERR_BAD_CONTENT_LENGTH);
        return drop_bytes_of(s, len, ERR_NONE);
    }
    bool beyond_window = to && len > pipe_room(to); /* nghttp2 is about to reset it */
    if (beyond_window || s->awaits_head || (s->expected >= 0 && (uint64_t)s->expected < len))
        return drop_bytes_of(s, len, conn->is_client ? ERR_UPSTREAM_BAD_BODY : ERR_PROTOCOL);
    if (waits ? !put_early(s, data, len) : pipe_append(&s->base.in, data, len) < 0)
        return drop_bytes_of(s, len, ERR_MEMORY);
    if (s->expected >= 0)
        s->expected -= (int64_t)len;
    if (!waits) {
        h2_add_news(s, NEWS_BODY);
        h2_await_body(s, true);
    }
    return 0;
}

void h2_await_body(struct h2_stream *s, bool progress)
{
    struct h2_conn *conn = s->conn;
    uint32_t idle_ms = h2_limits(conn)->body_idle_ms;
    bool owed = s->known && s->base.in.end == PIPE_OPEN && !s->remote_done && !s->discard && !s->base.tunnel &&
                !s->awaits_head && !s->expects && !s->base.quiet_ok && idle_ms > 0;

    if (!owed || s->base.in.total - s->returned >= h2_limits(conn)->body_room_bytes) {
        s->body_due_ms = 0;
        list_unlink(&s->body_link);
    } else if (progress || s->body_due_ms == 0) {
        s->body_due_ms = h2_loop(conn)->now_ms + idle_ms;
        list_unlink(&s->body_link);
        list_push_back(&conn->body_waits, &s->body_link);
    }
}

void h2_body_overdue(struct h2_stream *s)
{
    if (s->base.quiet_ok) { /* since it was first waited for */
        h2_await_body(s, false);
        return;
    }
    if (s->conn->is_client || s->held) {
        h2_stream_fail(s, s->held ? ERR_BODY_TIMEOUT : ERR_RESPONSE_BODY_TIMEOUT);
        return;
    }
    s->discard = true;
    h2_await_body(s, false);
    pipe_cut(&s->base.in, ERR_BODY_TIMEOUT);
    s->base.events->on_body(&s->base);
}

void h2_read_more(struct stream *stream)
{
    struct h2_stream *s = h2_stream_of(stream);
    struct h2_conn *conn = s->conn;
    uint64_t taken = stream->in.total - stream->in.bytes - s->returned;

    if (conn == NULL || taken == 0)
        return;
    s->returned += taken;
    /* without memory for the frame it follows with the next bytes */
    if (s->known && !s->remote_done && !s->discard)
        (void)nghttp2_session_consume_stream(conn->session, s->id, taken);
    (void)nghttp2_session_consume_connection(conn->session, taken);
    if (nghttp2_session_want_write(conn->session))
        h2_flush_later(conn);
    h2_await_body(s, false);
    h2_rearm(conn);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_conn *conn = user;
    struct h2_stream *s = conn->state == H2_CLOSED ? NULL : h2_find(conn, id);

    if (s == NULL)
        return 0;
    conn->found = NULL;
    s->known = false;
    s->forgotten = true;
    s->close_code = code;
    h2_add_news(s, NEWS_CLOSED);
    return 0;
}

void h2_set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}

/* ---- telling ---- */

static void tell_one(struct h2_conn *conn, struct h2_stream *s)
{
    enum h2_news news = (enum h2_news)(s->news & -s->news);

    s->news &= (uint16_t)~news;
    switch (news) {
    case NEWS_BODY:
        s->base.events->on_body(&s->base);
        break;
    case NEWS_ROOM:
        s->base.events->on_room(&s->base);
        break;
    case NEWS_WRITTEN:
        if (s->base.events->on_written)
            s->base.events->on_written(&s->base);
        break;
    case NEWS_SENT:
        s->base.events->on_sent(&s->base);
        break;
    case NEWS_FAULT:
        h2_stream_fail(s, s->fault);
        break;
    default:
        if (conn->is_client)
            client_tell(s, news);
        else
            server_tell(s, news);
    }
}

void h2_tell(struct h2_conn *conn)
{
    struct link *link;

    ENSURE(!conn->in_session);
    while (conn->state != H2_CLOSED && (link = list_pop_front(&conn->news)) != NULL) {
        struct h2_stream *s = container_of(link, struct h2_stream, news_link);
        conn->current = s;
        while (conn->state != H2_CLOSED && conn->current == s && s->news)
            tell_one(conn, s);
        conn->current = NULL;
    }
}

/* ---- reading ---- */

void h2_read_later(struct h2_conn *conn)
{
    loop_defer(h2_loop(conn), &conn->read_task, PHASE_RUN);
}

/* What a frame asked for that could not be done within nghttp2. */
static void do_todo(struct h2_conn *conn)
{
    unsigned todo = conn->todo;

    conn->todo &= TODO_CALM;
    if (conn->is_client && (todo & TODO_SETTLED))
        client_settled(conn);
    if (conn->is_client && (todo & TODO_GONE) && conn->state != H2_CLOSED)
        client_gone(conn);
    if (!conn->is_client && (todo & TODO_RESETS))
        server_reset_late(conn);
    if (conn->notice_sent && (todo & TODO_LAST_ID) && conn->state == H2_OPEN)
        h2_conn_drain(conn, true);
}

/* A service begins with SETTINGS, or speaks something else. */
enum err h2_nonsense(const struct h2_conn *conn)
{
    if (!conn->is_client)
        return ERR_PROTOCOL;
    return conn->settled ? ERR_UPSTREAM_BAD_HEAD : ERR_NOT_HTTP2;
}

static void session_failed(struct h2_conn *conn, ssize_t code)
{
    uint32_t say = conn->abort_code;

    if (code == NGHTTP2_ERR_NOMEM) {
        h2_conn_end(conn, ERR_MEMORY);
        return;
    }
    if (say == 0)
        say = code == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_ENHANCE_YOUR_CALM;
    if (!conn->is_client && conn->server.host->on_dropped)
        conn->server.host->on_dropped(conn->server.host, ERR_PROTOCOL);
    h2_conn_abort(conn, say, h2_nonsense(conn));
}

/* false: the connection takes no more. */
static bool feed(struct h2_conn *conn, struct slice bytes)
{
    conn->spoken = conn->in_session = true;
    ssize_t taken = nghttp2_session_mem_recv(conn->session, (const uint8_t *)bytes.at, bytes.len);
    conn->in_session = false;
    if (taken < 0) {
        session_failed(conn, taken);
        return false;
    }
    if (conn->dropped_bytes > 0)
        (void)nghttp2_session_consume_connection(conn->session, conn->dropped_bytes);
    conn->dropped_bytes = 0;
    do_todo(conn);
    if (conn->state != H2_CLOSED) /* as by a GOAWAY that found no memory */
        h2_tell(conn);
    return conn->state == H2_OPEN;
}

/* What came with the head by which the version was told. */
static bool feed_kept(struct h2_conn *conn)
{
    struct h2_kept *kept = conn->kept;

    if (kept == NULL)
        return true;
    conn->kept = NULL;
    bool more = feed(conn, slice_make(kept->data, kept->size));
    memory_put(h2_memory(conn), kept, sizeof(*kept) + kept->size);
    return more;
}

/* A peer that does not read what we answer is not listened to. */
static bool is_choked(const struct h2_conn *conn)
{
    return conn->out.bytes > 0 && !h2_can(conn, IO_WRITABLE) &&
           nghttp2_session_get_outbound_queue_size(conn->session) > OUTBOUND_MAX;
}

static void peer_ended(struct h2_conn *conn, ssize_t how)
{
    conn->fin = true;
    if (conn->is_client && conn->spoken && !conn->settled)
        h2_conn_end(conn, ERR_NOT_HTTP2);
    else if (conn->is_client)
        h2_conn_end(conn, how == 0 && !conn->broken ? ERR_UPSTREAM_CLOSED : ERR_UPSTREAM_RESET);
    else
        h2_conn_end(conn, how == 0 ? ERR_CLIENT_CLOSED : ERR_CLIENT_RESET);
}

static void drop_bytes(struct h2_conn *conn)
{
    for (unsigned reads = READS_A_TURN; h2_can(conn, IO_READABLE); reads--) {
        if (reads == 0) {
            loop_again(h2_loop(conn), &conn->transport.io);
            return;
        }
        ssize_t got = transport_recv(&conn->transport, h2_memory(conn)->scratch, SCRATCH_BYTES);
        if (got == -EAGAIN)
            return;
        if (got <= 0) {
            h2_conn_end(conn, ERR_CLIENT_CLOSED);
            return;
        }
    }
}

void h2_read(struct h2_conn *conn)
{
    if (conn->state == H2_LINGERING)
        drop_bytes(conn);
    if (conn->state != H2_OPEN || !feed_kept(conn))
        return;
    for (unsigned reads = READS_A_TURN; h2_can(conn, IO_READABLE); reads--) {
        conn->choked = is_choked(conn);
        if (conn->choked)
            break;
        if (reads == 0) {
            loop_again(h2_loop(conn), &conn->transport.io);
            break;
        }
        char *scratch = h2_memory(conn)->scratch;
        ssize_t got = transport_recv(&conn->transport, scratch, SCRATCH_BYTES);
        if (got == -EAGAIN)
            break;
        if (got <= 0) {
            peer_ended(conn, got);
            return;
        }
        if (!feed(conn, slice_make(scratch, (size_t)got)))
            return;
    }
    if (conn->broken) {
        h2_conn_end(conn, ERR_UPSTREAM_RESET);
        return;
    }
    if (nghttp2_session_want_write(conn->session) || !nghttp2_session_want_read(conn->session))
        h2_flush_later(conn);
}
