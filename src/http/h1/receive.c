/*
 * What comes in: heads into the scratch buffer, bodies into stream->in.
 *
 * A body is read where it will stay: straight into the pipe's chunk, or by splice when no one reads its bytes.  Only
 * chunked bodies, whose framing has to be taken out, go by the scratch buffer; no more is asked for than `in` has room,
 * so nothing is left over but what does not belong to the body.  One byte more than a known length is asked for: when
 * it does not come the read was short, and that says without another system call that nothing is waiting.
 *
 * While a body sits in the kernel part of `in`, nothing more is read: then an EAGAIN of the next splice can only mean
 * the socket.
 */
#include "http/h1/conn.h"

#include <errno.h>

#include "base/arena.h"
#include "base/memory.h"

_Static_assert((int)READ_BYTES <= (int)SCRATCH_BYTES, "heads are read into the scratch buffer");

/* ---- heads ---- */

/* Empty lines in front of a request, as old clients send them behind a body. */
static void skip_blank_lines(struct h1_conn *conn, struct slice *bytes)
{
    while (conn->blank_lines < BLANK_LINES_MAX && bytes->len >= 2 && bytes->at[0] == '\r' && bytes->at[1] == '\n') {
        conn->blank_lines++;
        bytes->at += 2;
        bytes->len -= 2;
        if (conn->kept)
            kept_consume(conn, 2);
    }
}

static enum h1_next no_bytes(struct h1_conn *conn, ssize_t got)
{
    if (got == 0) {
        conn->fin = true;
        return NEXT_END;
    }
    return got == -EAGAIN ? NEXT_WAIT : NEXT_LOST;
}

enum h1_next conn_read_bytes(struct h1_conn *conn, size_t max, struct slice *ret_bytes)
{
    char *at = conn_memory(conn)->scratch;
    size_t len = max;

    if (conn->kept && kept_room(conn, &at, &len) < 0)
        return NEXT_MEMORY;
    ssize_t got = transport_recv(&conn->transport, at, len);
    if (got <= 0)
        return no_bytes(conn, got);
    if (conn->kept) {
        conn->kept->end += (uint32_t)got;
        *ret_bytes = kept_bytes(conn);
    } else {
        *ret_bytes = slice_make(at, (size_t)got);
    }
    return NEXT_HEAD;
}

enum h1_next conn_next_head(struct h1_conn *conn, struct slice *ret_bytes, size_t *ret_len)
{
    struct slice bytes = kept_bytes(conn);
    size_t max = conn_limits(conn)->head_bytes_max;

    for (;;) {
        if (!conn->is_client)
            skip_blank_lines(conn, &bytes);
        if (bytes.len > 0) {
            size_t scanned = conn->kept ? conn->kept->scanned : 0;
            size_t len = h1_scan(bytes.at, bytes.len, &scanned);
            *ret_bytes = bytes;
            *ret_len = len;
            if (len > max || (len == 0 && bytes.len > max))
                return NEXT_TOO_LARGE;
            if (len > 0)
                return NEXT_HEAD;
            if (conn->kept == NULL && kept_store(conn, bytes) < 0)
                return NEXT_MEMORY;
            conn->kept->scanned = (uint32_t)scanned;
        }
        if (!conn_can(conn, IO_READABLE))
            return NEXT_WAIT;
        enum h1_next next = conn_read_bytes(conn, conn->large ? HEAD_BYTES : READ_BYTES, &bytes);
        if (next != NEXT_HEAD)
            return next;
    }
}

/* ---- bodies ---- */

void conn_begin_body(struct h1_conn *conn, const struct h1_head *head)
{
    struct h1_body *body = &conn->stream->body;
    int64_t length = head->message->body_length;

    *body = (struct h1_body){ .kind = KIND_NONE };
    if (head->chunked) {
        body->kind = KIND_CHUNKED;
    } else if (head->until_close) {
        body->kind = KIND_CLOSE;
    } else if (length > 0) {
        body->kind = KIND_LENGTH;
        body->left = (uint64_t)length;
    } else {
        body->done = true;
    }
    conn->large = length >= LARGE_BYTES;
}

static void finish_body(struct h1_body *body, struct h1_stream *s, struct fields *trailers)
{
    body->done = true;
    if (s)
        pipe_finish(&s->base.in, trailers);
}

static size_t room_for(const struct h1_stream *s)
{
    if (s == NULL)
        return SIZE_MAX;
    return s->base.in.kernel_bytes > 0 ? 0 : pipe_room(&s->base.in);
}

/* Moves data to the stream's pipe (nowhere without a stream): how much, or -ERR_MEMORY. */
static ptrdiff_t put_data(struct h1_stream *s, struct slice *bytes, uint64_t max)
{
    size_t len = MIN(MIN(bytes->len, room_for(s)), max);

    if (s && len > 0) {
        int err = pipe_append(&s->base.in, bytes->at, len);
        if (err)
            return err;
    }
    bytes->at += len;
    bytes->len -= len;
    return (ptrdiff_t)len;
}

/* Length of the trailer section that `bytes` begin with; 0 while it is not complete. Kept bytes are not scanned twice.
 */
static size_t scan_trailers(struct h1_conn *conn, struct slice bytes)
{
    struct h1_kept *kept = conn->kept && bytes.at == kept_bytes(conn).at ? conn->kept : NULL;
    size_t scanned = kept ? kept->scanned : 0;
    size_t len = h1_scan(bytes.at, bytes.len, &scanned);

    if (kept)
        kept->scanned = (uint32_t)scanned;
    return len;
}

static int parse_trailers(struct h1_conn *conn, struct arena *arena, struct slice section, struct fields **ret_trailers)
{
    struct h1_rules rules = { .fields_max = conn_limits(conn)->fields_max,
                              .underscores_ok = conn_limits(conn)->underscores_ok };
    struct fields *trailers = arena_zalloc(arena, sizeof(*trailers));

    section = arena_copy(arena, section);
    if (section.at == NULL || trailers == NULL)
        return -ERR_MEMORY;
    *ret_trailers = trailers;
    return h1_parse_trailers(arena, section, &rules, trailers);
}

static int take_trailers(struct h1_conn *conn, struct h1_body *body, struct h1_stream *s, struct slice *bytes)
{
    size_t max = conn_limits(conn)->head_bytes_max, len = scan_trailers(conn, *bytes);
    struct fields *trailers = NULL;

    if (len > max || (len == 0 && bytes->len > max))
        return -ERR_HEAD_TOO_LARGE;
    if (len == 0)
        return 0;
    if (len == 1)
        return -ERR_BAD_LINE_END;
    if (s && len > 2) {
        int err = parse_trailers(conn, s->base.arena, slice_make(bytes->at, len), &trailers);
        if (err)
            return err;
    }
    bytes->at += len;
    bytes->len -= len;
    finish_body(body, s, trailers);
    return 0;
}

/* Takes the body's bytes off the front as far as there is room; without a stream they are dropped. 0 or -ERR_x. */
static int take_body(struct h1_conn *conn, struct h1_body *body, struct h1_stream *s, struct slice *bytes)
{
    while (!body->done) {
        uint64_t max = body->kind == KIND_LENGTH ? body->left : UINT64_MAX;
        if (body->kind == KIND_CHUNKED) {
            int next = h1_chunks_next(&body->chunks, bytes);
            if (next == 2)
                return take_trailers(conn, body, s, bytes);
            if (next <= 0)
                return next;
            max = body->chunks.left;
        }
        ptrdiff_t len = put_data(s, bytes, max);
        if (len <= 0)
            return (int)len;
        if (body->kind == KIND_CHUNKED) {
            body->chunks.left -= (uint64_t)len;
        } else if (body->kind == KIND_LENGTH) {
            body->left -= (uint64_t)len;
            if (body->left == 0)
                finish_body(body, s, NULL);
        }
    }
    return 0;
}

int conn_took_head(struct h1_conn *conn, struct slice bytes, size_t head_len)
{
    struct h1_stream *s = conn->stream;
    struct slice rest = { bytes.at + head_len, bytes.len - head_len };
    struct slice before = rest;
    int err = s->body.done ? 0 : take_body(conn, &s->body, s, &rest);

    s->base.bytes_in += head_len + (before.len - rest.len);
    if (conn->kept)
        kept_consume(conn, bytes.len - rest.len);
    else if (!err)
        err = kept_store(conn, rest);
    return err;
}

static int out_of_bytes(struct h1_conn *conn, struct h1_stream *s, ssize_t got)
{
    if (got == -EAGAIN)
        return 0;
    if (got < 0)
        return conn->is_client ? -ERR_UPSTREAM_RESET : -ERR_CLIENT_RESET;
    conn->fin = true;
    if (s->body.kind != KIND_CLOSE && s->body.kind != KIND_TUNNEL)
        return conn->is_client ? -ERR_UPSTREAM_CUT : -ERR_CLIENT_CLOSED;
    finish_body(&s->body, s, NULL);
    return 0;
}

static int spliced(struct h1_conn *conn, struct h1_stream *s)
{
    ssize_t got = transport_splice_in(&conn->transport, &s->base.in, s->body.left);

    if (got <= 0)
        return out_of_bytes(conn, s, got);
    s->base.bytes_in += (uint64_t)got;
    s->turn_bytes += (uint32_t)got;
    s->body.left -= (uint64_t)got;
    if (s->body.left == 0)
        finish_body(&s->body, s, NULL);
    return 1;
}

static bool may_splice(const struct h1_conn *conn, struct h1_stream *s)
{
    uint32_t min = conn_limits(conn)->splice_bytes_min;

    if (!s->base.splice_in_ok || s->body.kind != KIND_LENGTH || min == 0 || !conn->transport.ops->splices)
        return false;
    return s->base.in.kernel != NULL || (s->body.left > min && pipe_splice_begin(&s->base.in));
}

/* Into the pipe's own chunk. */
static int read_straight(struct h1_conn *conn, struct h1_stream *s)
{
    char *at;
    size_t len;
    int err = pipe_reserve(&s->base.in, &at, &len);

    if (err)
        return err;
    if (s->body.kind == KIND_LENGTH && len > s->body.left)
        len = (size_t)s->body.left + 1; /* `len` was larger, so there is room */
    ssize_t got = transport_recv(&conn->transport, at, len);
    if (got <= 0) {
        pipe_commit(&s->base.in, 0);
        return out_of_bytes(conn, s, got);
    }
    if (s->body.kind == KIND_LENGTH && (uint64_t)got > s->body.left) {
        got--;
        err = kept_store(conn, slice_make(at + got, 1));
    }
    pipe_commit(&s->base.in, (size_t)got);
    s->base.bytes_in += (uint64_t)got;
    s->turn_bytes += (uint32_t)got;
    if (s->body.kind == KIND_LENGTH) {
        s->body.left -= (uint64_t)got;
        if (s->body.left == 0)
            finish_body(&s->body, s, NULL);
    }
    return err ? err : 1;
}

/* By the scratch buffer: framing has to be taken out. */
static int read_chunked(struct h1_conn *conn, struct h1_stream *s)
{
    char *at = conn_memory(conn)->scratch;
    size_t len = MIN(room_for(s), (size_t)SCRATCH_BYTES);

    if (conn->kept && kept_room(conn, &at, &len) < 0)
        return -ERR_MEMORY;
    ssize_t got = transport_recv(&conn->transport, at, len);
    if (got <= 0)
        return out_of_bytes(conn, s, got);
    s->base.bytes_in += (uint64_t)got;
    s->turn_bytes += (uint32_t)got;
    if (conn->kept) {
        conn->kept->end += (uint32_t)got;
        return 1; /* the next step takes them */
    }
    struct slice bytes = { at, (size_t)got };
    int err = take_body(conn, &s->body, s, &bytes);
    if (!err)
        err = kept_store(conn, bytes);
    return err ? err : 1;
}

static bool turn_is_over(struct h1_conn *conn, struct h1_stream *s)
{
    struct loop *loop = conn_loop(conn);

    if (s->turn != loop->turns) {
        s->turn = loop->turns;
        s->turn_bytes = 0;
    }
    if (s->turn_bytes < TURN_BYTES_MAX)
        return false;
    loop_again(loop, &conn->transport.io);
    return true;
}

/* What is kept then is not waiting for room: it is the beginning of a trailer section, and the peer owes the rest. */
static bool in_trailers(const struct h1_body *body)
{
    return body->kind == KIND_CHUNKED && body->chunks.state == CHUNK_TRAILERS;
}

/* 1: there may be more; 0: later; -ERR_x. */
static int read_step(struct h1_conn *conn, struct h1_stream *s)
{
    if (conn->kept) {
        struct slice bytes = kept_bytes(conn), rest = bytes;
        int err = take_body(conn, &s->body, s, &rest);
        kept_consume(conn, bytes.len - rest.len);
        if (err || s->body.done)
            return err;
        if (conn->kept && !in_trailers(&s->body))
            return 0; /* no room */
    }
    if (room_for(s) == 0 || !conn_can(conn, IO_READABLE) || turn_is_over(conn, s))
        return 0;
    if (s->body.kind == KIND_CHUNKED)
        return read_chunked(conn, s);
    return may_splice(conn, s) ? spliced(conn, s) : read_straight(conn, s);
}

void stream_await_body(struct h1_stream *s, bool progress)
{
    struct h1_conn *conn = s->conn;
    uint32_t idle_ms = conn_limits(conn)->body_idle_ms;
    bool owed = !s->body.done && s->body.kind != KIND_TUNNEL && !s->awaits_head && !s->expects && idle_ms > 0 &&
                !s->base.quiet_ok;
    bool full = room_for(s) == 0 || (conn->kept && !in_trailers(&s->body));

    if (!owed || full)
        s->body_due_ms = 0;
    else if (progress || s->body_due_ms == 0)
        s->body_due_ms = conn_loop(conn)->now_ms + idle_ms;
}

void conn_read_body(struct h1_conn *conn)
{
    struct h1_stream *s = conn->stream;
    uint64_t total = s->base.in.total;
    int more;

    ENSURE(!s->body.done);
    do {
        more = read_step(conn, s);
    } while (more > 0 && !s->body.done);
    bool progress = s->base.in.total != total || s->body.done;
    if (progress)
        s->expects = false;
    if (more < 0) {
        if (conn->is_client)
            client_failed(conn, (enum err) - more);
        else
            server_body_failed(conn, (enum err) - more);
        return;
    }
    stream_await_body(s, progress);
    if (progress)
        s->base.events->on_body(&s->base);
}

void conn_read_later(struct h1_conn *conn)
{
    loop_defer(conn_loop(conn), &conn->read_task, PHASE_RUN);
}

/* Takes what is there of a body to be dropped; what stands behind it is kept. */
static int drop_bytes(struct h1_conn *conn, struct h1_body *body, struct slice bytes, uint64_t *left)
{
    struct slice rest = bytes;
    int err = take_body(conn, body, NULL, &rest);
    uint64_t taken = bytes.len - rest.len;

    if (conn->kept)
        kept_consume(conn, taken);
    else if (!err)
        err = kept_store(conn, rest);
    if (err || body->done)
        return err;
    if (taken > *left || (body->kind == KIND_LENGTH && body->left > *left - taken))
        return -ERR_BODY_TOO_LARGE;
    *left -= taken;
    return 0;
}

int conn_read_drain(struct h1_conn *conn, struct h1_body *body, uint64_t *left)
{
    struct slice bytes = kept_bytes(conn);
    size_t budget = TURN_BYTES_MAX;

    for (;;) {
        if (bytes.len > 0) {
            int err = drop_bytes(conn, body, bytes, left);
            if (err || body->done)
                return err ? err : 1;
        }
        if (!conn_can(conn, IO_READABLE))
            return 0;
        if (budget == 0) {
            loop_again(conn_loop(conn), &conn->transport.io);
            return 0;
        }
        enum h1_next next = conn_read_bytes(conn, READ_BYTES, &bytes);
        if (next == NEXT_WAIT)
            return 0;
        if (next != NEXT_HEAD)
            return next == NEXT_END ? -ERR_CLIENT_CLOSED : -ERR_CLIENT_RESET;
        budget -= MIN(budget, bytes.len);
    }
}
