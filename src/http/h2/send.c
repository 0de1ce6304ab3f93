/*
 * What goes out: bodies into their streams' `out`, frames into the connection's, and the flush.
 *
 * Ops only queue, and a dirty connection flushes once when the run queue is empty.  Then nghttp2 makes frames as long
 * as there is room in `out`, round robin over the streams, at most 16 KiB of a body in one; a large chunk of a body
 * goes behind its frame's header by pointer.  All frames of a turn leave in as few calls as the kernel lets them.
 *
 * The length of a frame is told before its bytes are moved, so the move is made sure of first (pipe_prepare): memory
 * that runs out then costs the stream and not the connection.  What ends a body but for END_STREAM in its last frame
 * (trailers, a reset that cuts it) is queued between two calls of nghttp2: `endings`.
 */
#include "http/h2/conn.h"

#include <errno.h>

#include "http/h2/write.h"

enum { PIECE_MAX = PIPE_PREPARE_MAX - FRAME_HEADER_BYTES };

void h2_flush_later(struct h2_conn *conn)
{
    if (conn->state != H2_CLOSED)
        loop_defer(h2_loop(conn), &conn->flush_task, PHASE_FLUSH);
}

/* ---- nghttp2 asks ---- */

/* The user has queued something that the stream's owner waits to be taken, or not. */
static void await_taking(struct h2_stream *s)
{
    uint32_t idle_ms = h2_limits(s->conn)->send_idle_ms;

    list_unlink(&s->send_link);
    s->send_due_ms = 0;
    if (s->out.bytes == 0 || idle_ms == 0)
        return;
    s->send_due_ms = h2_loop(s->conn)->now_ms + idle_ms;
    list_push_back(&s->conn->send_waits, &s->send_link);
}

static ssize_t ask_later(struct h2_stream *s)
{
    s->deferred = true;
    if (s->out_end == PIPE_CUT || (s->out_end == PIPE_ENDED && s->trailers))
        list_push_back(&s->conn->endings, &s->end_link);
    return NGHTTP2_ERR_DEFERRED;
}

ssize_t h2_give_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                     nghttp2_data_source *source, void *user)
{
    struct h2_conn *conn = user;
    struct h2_stream *s = h2_find(conn, id);
    size_t copied;

    if (s == NULL) /* given back; its reset is on the way */
        return NGHTTP2_ERR_DEFERRED;
    if (conn->out.bytes >= OUT_MAX) {
        conn->paused = true;
        return NGHTTP2_ERR_PAUSE;
    }
    size_t piece = pipe_next_piece(&s->out, MIN(len, (size_t)PIECE_MAX), &copied);
    if (piece == 0 && (s->out_end != PIPE_ENDED || s->trailers))
        return ask_later(s);
    if (pipe_prepare(&conn->out, FRAME_HEADER_BYTES + copied) < 0) {
        s->fault = ERR_MEMORY;
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (piece == s->out.bytes && s->out_end == PIPE_ENDED && !s->trailers)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)piece;
}

static void mark(struct h2_stream *s)
{
    if (s->mark_link.next == &s->mark_link)
        list_push_back(&s->conn->marked, &s->mark_link);
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header, size_t len,
                        nghttp2_data_source *source, void *user)
{
    struct h2_conn *conn = user;
    struct h2_stream *s = source->ptr;

    ENSURE(s->conn == conn && frame->data.padlen == 0);
    if (pipe_append(&conn->out, header, FRAME_HEADER_BYTES) < 0 || pipe_move(&s->out, &conn->out, len) != len)
        ENSURE(!"prepared");
    conn->queued_bytes -= len;
    s->base.bytes_out += FRAME_HEADER_BYTES + len;
    conn->data_passed = true;
    h2_earn(conn, DATA_WORTH);
    await_taking(s);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        s->end_framed = true;
        s->end_mark = conn->out.total;
        mark(s);
    }
    if (conn->out.bytes < OUT_MAX)
        return 0;
    conn->paused = true;
    return NGHTTP2_ERR_PAUSE;
}

static void note_reset(struct h2_conn *conn, const nghttp2_frame *frame)
{
    uint32_t code = frame->rst_stream.error_code;
    bool fault = code == NGHTTP2_PROTOCOL_ERROR || code == NGHTTP2_FLOW_CONTROL_ERROR ||
                 code == NGHTTP2_STREAM_CLOSED || code == NGHTTP2_FRAME_SIZE_ERROR;

    if (conn->reset_low == 0 || frame->hd.stream_id < conn->reset_low)
        conn->reset_low = frame->hd.stream_id;
    if (fault && !conn->is_client && !h2_spend(conn, COST_RESET))
        conn->todo |= TODO_CALM;
}

/* Its bytes are appended to `out` right after this. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_conn *conn = user;
    struct h2_stream *s;

    if (frame->hd.type == NGHTTP2_RST_STREAM)
        note_reset(conn, frame);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_RST_STREAM:
        s = h2_find(conn, frame->hd.stream_id);
        if (s == NULL)
            break;
        s->base.bytes_out += FRAME_HEADER_BYTES + frame->hd.length;
        if (frame->hd.type == NGHTTP2_RST_STREAM || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
            s->end_framed = true;
        conn->fresh = s;
        break;
    case NGHTTP2_GOAWAY:
        if (frame->goaway.error_code != NGHTTP2_NO_ERROR)
            conn->terminated = true;
        break;
    default:
        break;
    }
    return 0;
}

void h2_set_send_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
}

/* ---- the flush ---- */

int h2_submit_ping(struct h2_conn *conn, enum h2_ping what)
{
    const uint8_t data[8] = { (uint8_t)what };

    return nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, data) == 0 ? 0 : -ERR_MEMORY;
}

static void set_marks(struct h2_conn *conn, uint64_t before)
{
    struct h2_stream *s = conn->fresh;

    conn->fresh = NULL;
    if (s == NULL)
        return;
    if (s->base.unsent && s->head_mark == 0)
        s->head_mark = before + 1; /* one byte of it will do */
    if (s->end_framed && s->end_mark == 0)
        s->end_mark = conn->out.total;
    mark(s);
}

/* What has to go behind the frames that have been made: bodies that end otherwise than in a DATA frame, the PING by
 * which GOAWAY is known to have been read. true: there is more to send now. */
static bool send_endings(struct h2_conn *conn)
{
    struct link *link;
    /* without memory for it the last GOAWAY waits for idleness */
    bool any = conn->ping_due && h2_submit_ping(conn, PING_GOAWAY_READ) == 0;

    conn->ping_due = false;
    while ((link = list_pop_front(&conn->endings)) != NULL) {
        struct h2_stream *s = container_of(link, struct h2_stream, end_link);
        any = true;
        if (s->out_end == PIPE_CUT)
            h2_rst(s, conn->is_client ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR);
        else if (h2_submit_trailers(s) < 0)
            h2_rst(s, NGHTTP2_INTERNAL_ERROR);
    }
    return any;
}

/* Frames into `out`, until it is full or there are none. 0 or -ERR_MEMORY, -ERR_INTERNAL. */
static int make_frames(struct h2_conn *conn)
{
    conn->paused = false;
    while (conn->out.bytes < OUT_MAX) {
        const uint8_t *frame;
        uint64_t before = conn->out.total;
        conn->in_session = true;
        ssize_t len = nghttp2_session_mem_send(conn->session, &frame);
        conn->in_session = false;
        if (len < 0)
            return len == NGHTTP2_ERR_NOMEM ? -ERR_MEMORY : -ERR_INTERNAL;
        if (len > 0 && pipe_append(&conn->out, frame, (size_t)len) < 0)
            return -ERR_MEMORY;
        set_marks(conn, before);
        if (len == 0 && (conn->paused || !send_endings(conn)))
            return 0;
    }
    conn->paused = true;
    return 0;
}

static int send_out(struct h2_conn *conn)
{
    struct iovec iov[IOV_MAX_SENT];

    while (conn->out.bytes > 0 && h2_can(conn, IO_WRITABLE)) {
        int count = pipe_peek(&conn->out, iov, IOV_MAX_SENT, SIZE_MAX);
        ssize_t sent = transport_sendv(&conn->transport, iov, count, false);
        if (sent < 0)
            return sent == -EAGAIN ? 0 : (int)sent;
        pipe_consume(&conn->out, (size_t)sent);
        conn->write_due_ms = 0;
    }
    return 0;
}

/* What has reached the kernel. */
static void take_marks(struct h2_conn *conn)
{
    uint64_t taken = conn->out.total - conn->out.bytes;
    struct link *next;

    for (struct link *link = conn->marked.next; link != &conn->marked; link = next) {
        struct h2_stream *s = container_of(link, struct h2_stream, mark_link);
        next = link->next;
        if (s->base.unsent && s->head_mark > 0 && taken >= s->head_mark) {
            s->base.unsent = false;
            h2_add_news(s, NEWS_WRITTEN);
        }
        bool ended = s->end_mark > 0 && taken >= s->end_mark && (s->base.end_sent || s->base.sent_cut);
        if (ended && !s->sent_told && (!conn->is_client || (s->base.tunnel && s->base.events->on_sent))) {
            s->sent_told = true;
            h2_add_news(s, NEWS_SENT);
        }
        if (ended || (!s->base.unsent && s->end_mark == 0))
            list_unlink(link);
    }
}

static void give_room(struct h2_conn *conn)
{
    struct link *next;

    for (struct link *link = conn->rooms.next; link != &conn->rooms; link = next) {
        struct h2_stream *s = container_of(link, struct h2_stream, room_link);
        next = link->next;
        if (conn->queued_bytes >= h2_bytes_max(conn))
            return;
        if (s->out.bytes > STREAM_OUT_LOW)
            continue;
        s->want_room = false;
        list_unlink(link);
        h2_add_news(s, NEWS_ROOM);
    }
}

static void await_writing(struct h2_conn *conn)
{
    uint32_t idle_ms = h2_limits(conn)->send_idle_ms;

    if (conn->out.bytes == 0 || h2_can(conn, IO_WRITABLE) || idle_ms == 0)
        conn->write_due_ms = 0;
    else if (conn->write_due_ms == 0)
        conn->write_due_ms = h2_loop(conn)->now_ms + idle_ms;
}

/* A service that has closed may have answered before. */
static void write_failed(struct h2_conn *conn)
{
    if (!conn->is_client) {
        h2_conn_end(conn, ERR_CLIENT_RESET);
        return;
    }
    conn->broken = conn->draining = true;
    conn->transport.io.ready |= IO_READABLE | IO_HANGUP;
    loop_again(h2_loop(conn), &conn->transport.io);
}

void h2_say_goodbye(struct h2_conn *conn)
{
    if (conn->state != H2_OPEN || conn->broken || conn->in_session)
        return;
    if (!conn->goaway_sent)
        (void)nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(conn->session), NGHTTP2_NO_ERROR, NULL, 0);
    if (make_frames(conn) == 0)
        (void)send_out(conn);
}

void h2_send_last(struct h2_conn *conn)
{
    if (make_frames(conn) == 0)
        (void)send_out(conn);
}

static void end_if_done(struct h2_conn *conn)
{
    if (conn->state == H2_CLOSED || conn->out.bytes > 0 || nghttp2_session_want_write(conn->session))
        return;
    if (conn->state == H2_ENDING) {
        h2_conn_finish(conn, conn->abort_err);
    } else if (conn->terminated) { /* nghttp2 found a frame that may not be */
        if (!conn->is_client && conn->server.host->on_dropped)
            conn->server.host->on_dropped(conn->server.host, ERR_PROTOCOL);
        h2_conn_finish(conn, h2_nonsense(conn));
    } else if (conn->draining && conn->count == 0 && !nghttp2_session_want_read(conn->session)) {
        h2_conn_finish(conn, ERR_NONE);
    }
}

void h2_flush(struct h2_conn *conn)
{
    int err = 0;

    if ((conn->state != H2_OPEN && conn->state != H2_ENDING) || conn->broken)
        return;
    for (unsigned flushes = FLUSHES_A_TURN;; flushes--) {
        err = make_frames(conn);
        if (err) {
            h2_conn_end(conn, (enum err) - err);
            return;
        }
        if (send_out(conn) < 0) {
            take_marks(conn);
            write_failed(conn);
            return;
        }
        take_marks(conn);
        give_room(conn);
        h2_tell(conn);
        if (conn->state == H2_OPEN && (conn->todo & TODO_CALM)) {
            h2_conn_abort(conn, NGHTTP2_ENHANCE_YOUR_CALM, ERR_PROTOCOL);
            return;
        }
        if (conn->state == H2_CLOSED || !conn->paused || conn->out.bytes >= OUT_MAX / 2)
            break;
        if (flushes == 0) {
            loop_again(h2_loop(conn), &conn->transport.io);
            break;
        }
    }
    if (conn->state == H2_CLOSED)
        return;
    await_writing(conn);
    end_if_done(conn);
    if (conn->state == H2_OPEN && conn->choked && conn->out.bytes == 0)
        h2_read_later(conn);
}

/* ---- bodies ---- */

void h2_drop_out(struct h2_stream *s)
{
    s->conn->queued_bytes -= s->out.bytes;
    if (s->out.bytes > 0 && !list_empty(&s->conn->rooms))
        h2_flush_later(s->conn); /* others may have its room */
    pipe_done(&s->out);
}

/* nghttp2 asks for the body again. */
static void resume(struct h2_stream *s)
{
    if (s->deferred && s->known) {
        s->deferred = false;
        if (nghttp2_session_resume_data(s->conn->session, s->id) == NGHTTP2_ERR_NOMEM)
            s->deferred = true; /* with the next bytes, or not at all: then send_idle ends it */
    }
    h2_flush_later(s->conn);
}

/* The message ends here, unfinished, and everyone is to see it. What is queued still goes out. */
static void cut_message(struct h2_stream *s, enum err err)
{
    s->cut_err = (uint8_t)err;
    s->base.sent_cut = true;
    s->out_end = PIPE_CUT;
    resume(s);
}

static enum sent swallow(struct h2_stream *s, struct pipe *pipe)
{
    pipe_done(pipe);
    if (pipe->end == PIPE_OPEN)
        return EMPTY;
    if (s->conn && !s->base.sent_cut && !s->base.end_sent) {
        s->base.end_sent = true;
        h2_flush_later(s->conn);
    }
    return SENT;
}

static void end_message(struct h2_stream *s, struct pipe *pipe)
{
    if (pipe->end == PIPE_CUT) {
        cut_message(s, pipe->err);
    } else if (s->out_kind == OUT_COUNTED && s->owed > 0) {
        cut_message(s, ERR_INTERNAL); /* less than was declared */
    } else {
        s->base.end_sent = true;
        s->out_end = PIPE_ENDED;
        s->trailers = pipe->trailers && pipe->trailers->count > 0 ? pipe->trailers : NULL;
        resume(s);
    }
}

static enum sent blocked(struct h2_stream *s)
{
    s->want_room = true;
    if (s->room_link.next == &s->room_link)
        list_push_back(&s->conn->rooms, &s->room_link);
    h2_flush_later(s->conn);
    return BLOCKED;
}

enum sent h2_send_body(struct stream *stream, struct pipe *pipe)
{
    struct h2_stream *s = h2_stream_of(stream);
    struct h2_conn *conn = s->conn;

    ENSURE(stream->head_sent || conn == NULL || stream->sent_cut);
    ENSURE(pipe->kernel_bytes == 0); /* `splices` is false */
    if (conn == NULL || stream->sent_cut || stream->end_sent || s->out_kind == OUT_NONE)
        return swallow(s, pipe);
    if (pipe->bytes > 0 && (s->out.bytes >= STREAM_OUT_MAX || conn->queued_bytes >= h2_bytes_max(conn)))
        return blocked(s);
    if (s->out_kind == OUT_COUNTED && (uint64_t)s->owed < pipe->bytes) {
        cut_message(s, ERR_INTERNAL); /* more than was declared */
        return swallow(s, pipe);
    }
    uint32_t before = s->out.bytes;
    uint32_t max = STREAM_OUT_MAX + QUEUE_SLACK - MIN(before, (uint32_t)STREAM_OUT_MAX);
    size_t moved = pipe_move(pipe, &s->out, max);
    conn->queued_bytes += moved;
    if (s->out_kind == OUT_COUNTED)
        s->owed -= (int64_t)moved;
    if (moved == 0 && pipe->bytes > 0) {
        cut_message(s, ERR_MEMORY);
        return swallow(s, pipe);
    }
    if (before == 0)
        await_taking(s);
    if (pipe->bytes > 0) {
        resume(s);
        return blocked(s);
    }
    if (pipe->end != PIPE_OPEN) {
        end_message(s, pipe);
        return SENT;
    }
    if (moved > 0)
        resume(s);
    return EMPTY;
}
