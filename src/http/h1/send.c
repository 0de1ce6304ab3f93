/*
 * What goes out: bodies into `out`, framed as the head said, and the flush.
 *
 * send_* only queues, and a dirty connection flushes once when the run queue is empty, so that a head and the first
 * bytes of its body leave together.  The one exception is a body in a kernel pipe: it cannot be queued behind `out`, so
 * what is queued is sent first and the kernel's bytes right after, inside send_body.  Whatever follows from that (an
 * error, room, the first byte written) is still told from the flush, never inside the op.
 *
 * No more bytes are sent than the head declared, and fewer than it declared never end a message: both are faults of
 * ours and cut the connection, as a CUT pipe does.
 */
#include "http/h1/conn.h"

#include <errno.h>

#include "http/h1/write.h"

void conn_flush_later(struct h1_conn *conn)
{
    loop_defer(conn_loop(conn), &conn->flush_task, PHASE_FLUSH);
}

/* Moves `out` to the kernel as far as it takes it; `more` follows at once. 0 or the transport's error. */
static int send_out(struct h1_conn *conn, struct h1_stream *s, bool more)
{
    struct iovec iov[IOV_MAX_SENT];

    while (s->out.bytes > 0 && conn_can(conn, IO_WRITABLE)) {
        int count = pipe_peek(&s->out, iov, IOV_MAX_SENT, SIZE_MAX);
        ssize_t sent = transport_sendv(&conn->transport, iov, count, more);
        if (sent < 0)
            return sent == -EAGAIN ? 0 : (int)sent;
        pipe_consume(&s->out, (size_t)sent);
        s->base.bytes_out += (uint64_t)sent;
        s->base.unsent = false;
        s->send_due_ms = 0; /* progress: waits anew */
    }
    return 0;
}

static void await_taking(struct h1_stream *s)
{
    struct h1_conn *conn = s->conn;
    uint32_t idle_ms = conn_limits(conn)->send_idle_ms;

    if ((s->out.bytes == 0 && !s->want_room) || conn_can(conn, IO_WRITABLE) || idle_ms == 0)
        s->send_due_ms = 0;
    else if (s->send_due_ms == 0)
        s->send_due_ms = conn_loop(conn)->now_ms + idle_ms;
}

/* Nothing is queued any more. The connection may be closed after it. */
static void out_is_empty(struct h1_conn *conn, struct h1_stream *s)
{
    if (s->cut_out && conn->is_client) {
        client_failed(conn, s->cut_err);
        return;
    }
    if (s->cut_out) {
        conn_detach(conn);
        conn_close(conn, s->out_kind == KIND_CLOSE || s->out_kind == KIND_TUNNEL);
        s->base.events->on_sent(&s->base);
        return;
    }
    if (!s->base.end_sent || s->sent_told)
        return;
    s->sent_told = true;
    if (s->base.tunnel)
        conn->transport.ops->shutdown(&conn->transport);
    if (!conn->is_client || (s->base.tunnel && s->base.events->on_sent))
        s->base.events->on_sent(&s->base);
}

static void send_failed(struct h1_conn *conn, enum err err)
{
    if (conn->is_client)
        client_send_failed(conn, err);
    else
        server_failed(conn, err);
}

/* A connection's last bytes wait in the kernel for its end, and a head for the body that was held back until it had
 * gone: they follow in this turn, and one packet carries both. */
static bool more_follows(const struct h1_conn *conn, const struct h1_stream *s)
{
    if (conn->is_client)
        return s->base.unsent && s->base.body_waits;
    return s->base.end_sent && !s->keep_alive && !s->base.tunnel;
}

void conn_flush(struct h1_conn *conn)
{
    struct h1_stream *s = conn->stream;

    if (s == NULL || conn->state != H1_OPEN)
        return;
    bool sends = s->cut_out || !s->base.sent_cut;
    if (sends && !s->fault && send_out(conn, s, more_follows(conn, s)) < 0)
        s->fault = conn->is_client ? ERR_UPSTREAM_RESET : ERR_CLIENT_RESET;
    if (!s->base.unsent && !s->written_told) {
        s->written_told = true;
        if (s->base.events->on_written)
            s->base.events->on_written(&s->base);
    }
    if (s->fault) {
        enum err err = s->fault;
        s->fault = ERR_NONE;
        send_failed(conn, err);
        return;
    }
    await_taking(s);
    if (s->want_room && s->out.bytes <= OUT_LOW && conn_can(conn, IO_WRITABLE)) {
        s->want_room = false;
        s->base.events->on_room(&s->base);
    }
    if (s->out.bytes == 0)
        out_is_empty(conn, s);
}

/* ---- bodies ---- */

void stream_end_sent(struct h1_stream *s)
{
    s->base.end_sent = true;
    conn_flush_later(s->conn);
}

void stream_become_tunnel(struct h1_stream *s)
{
    ENSURE(s->body.done);
    s->body = (struct h1_body){ .kind = KIND_TUNNEL };
    s->out_kind = KIND_TUNNEL;
    s->base.in.end = PIPE_OPEN;
    s->base.in.trailers = NULL;
    s->base.end_sent = false;
    s->base.tunnel = true;
    s->keep_alive = false;
    s->sent_told = false;
}

void stream_unwrite(struct h1_stream *s, uint32_t bytes_before)
{
    if (bytes_before == 0) {
        pipe_consume(&s->out, s->out.bytes);
        return;
    }
    s->base.sent_cut = true;
    s->fault = ERR_MEMORY;
    conn_flush_later(s->conn);
}

/* The message ends here, unfinished, and everyone is to see it. What is queued still goes out. */
static void cut_message(struct h1_stream *s, enum err err)
{
    s->cut_err = (uint8_t)err;
    s->base.sent_cut = true;
    s->keep_alive = false;
    s->cut_out = true;
    conn_flush_later(s->conn);
}

/* Queues up to `max` bytes of the pipe's chunks: how many, or -ERR_MEMORY. */
static ptrdiff_t queue_bytes(struct h1_stream *s, struct pipe *pipe, size_t max)
{
    size_t len = MIN((size_t)(pipe->bytes - pipe->kernel_bytes), max);

    if (len == 0)
        return 0;
    if (s->out_kind == KIND_CHUNKED && h1_write_chunk_open(&s->out, len) < 0)
        return -ERR_MEMORY;
    if (pipe_move(pipe, &s->out, len) != len)
        return -ERR_MEMORY; /* its chunk's size is told already */
    if (s->out_kind == KIND_CHUNKED && h1_write_chunk_close(&s->out) < 0)
        return -ERR_MEMORY;
    return (ptrdiff_t)len;
}

/* The kernel's part, right behind what is queued. true: all of it has gone. */
static bool send_spliced(struct h1_conn *conn, struct h1_stream *s, struct pipe *pipe)
{
    if (send_out(conn, s, true) < 0) {
        s->fault = conn->is_client ? ERR_UPSTREAM_RESET : ERR_CLIENT_RESET;
        return false;
    }
    while (s->out.bytes == 0 && pipe->kernel_bytes > 0 && conn_can(conn, IO_WRITABLE)) {
        ssize_t sent = transport_splice_out(&conn->transport, pipe, pipe->kernel_bytes, false);
        if (sent == -EAGAIN)
            break;
        if (sent <= 0) {
            s->fault = conn->is_client ? ERR_UPSTREAM_RESET : ERR_CLIENT_RESET;
            break;
        }
        s->base.bytes_out += (uint64_t)sent;
        s->base.unsent = false;
        s->send_due_ms = 0;
        if (s->out_kind == KIND_LENGTH)
            s->owed -= sent;
    }
    return pipe->kernel_bytes == 0;
}

/* Nobody takes this body (HEAD, 204, a broken connection): drops what is there. */
static enum sent swallow(struct h1_stream *s, struct pipe *pipe)
{
    pipe_done(pipe);
    if (pipe->end == PIPE_OPEN)
        return EMPTY;
    if (s->conn && !s->base.sent_cut && !s->base.end_sent)
        stream_end_sent(s);
    return SENT;
}

/* The pipe is empty and has ended. */
static void end_message(struct h1_stream *s, const struct pipe *pipe)
{
    if (pipe->end == PIPE_CUT)
        cut_message(s, pipe->err);
    else if (s->out_kind == KIND_LENGTH && s->owed > 0)
        cut_message(s, ERR_INTERNAL); /* less than was declared */
    else if (s->out_kind == KIND_CHUNKED && h1_write_last_chunk(&s->out, pipe->trailers) < 0)
        cut_message(s, ERR_MEMORY);
    else
        stream_end_sent(s);
}

static enum sent blocked(struct h1_stream *s)
{
    s->want_room = true;
    conn_flush_later(s->conn);
    return BLOCKED;
}

enum sent h1_send_body(struct stream *stream, struct pipe *pipe)
{
    struct h1_stream *s = h1_stream_of(stream);
    struct h1_conn *conn = s->conn;

    ENSURE(stream->head_sent || conn == NULL || stream->sent_cut);
    if (conn == NULL || stream->sent_cut || stream->end_sent || s->out_kind == KIND_NONE)
        return swallow(s, pipe);
    if (pipe->bytes > 0 && s->out.bytes >= OUT_MAX)
        return blocked(s);
    if (s->out_kind == KIND_LENGTH && (uint64_t)s->owed < pipe->bytes) {
        cut_message(s, ERR_INTERNAL); /* more than was declared */
        return swallow(s, pipe);
    }
    uint32_t room = s->out.bytes < OUT_MAX ? OUT_MAX - s->out.bytes : 0;
    ptrdiff_t queued = queue_bytes(s, pipe, room + QUEUE_MIN);
    if (queued < 0) {
        s->fault = ERR_MEMORY;
        cut_message(s, ERR_MEMORY);
        return swallow(s, pipe);
    }
    if (s->out_kind == KIND_LENGTH)
        s->owed -= queued;
    if (pipe->kernel_bytes > 0 && pipe->kernel_bytes == pipe->bytes) {
        if (s->out_kind == KIND_CHUNKED) { /* only bodies of known length are spliced */
            cut_message(s, ERR_INTERNAL);
            return swallow(s, pipe);
        }
        if (conn->state != H1_OPEN || !send_spliced(conn, s, pipe))
            return blocked(s);
    }
    if (pipe->bytes > 0)
        return blocked(s);
    if (pipe->end != PIPE_OPEN) {
        end_message(s, pipe);
        return SENT;
    }
    conn_flush_later(conn);
    return EMPTY;
}
