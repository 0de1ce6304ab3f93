/*
 * A connection's birth and death, its streams, and its one timer.
 *
 * Three ways to end: h2_conn_end at once (the peer is gone, or memory is out); h2_conn_abort with GOAWAY when the peer
 * breaks the rules; h2_conn_finish when all has been said.  The latter two linger in the server role: closing with
 * bytes unread would make the kernel send a reset that can overtake our last frames.
 */
#include "http/h2/conn.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/sys.h"
#include "net/facts.h"

static void on_timer(struct timer *timer);
static void on_flush_task(struct task *task);
static void on_read_task(struct task *task);

struct h2_conn *h2_conn_new(struct loop *loop, const struct http_conn_ops *ops, bool is_client)
{
    struct h2_conn *conn = memory_get(loop->memory, sizeof(*conn));

    if (conn == NULL)
        return NULL;
    memset(conn, 0, sizeof(*conn));
    conn->magic = H2_MAGIC;
    conn->is_client = is_client;
    conn->base.ops = ops;
    conn->transport.loop = loop;
    conn->patience = (struct h2_patience){ .at_ms = loop->now_ms };
    list_init(&conn->base.link);
    list_init(&conn->streams);
    list_init(&conn->news);
    list_init(&conn->marked);
    list_init(&conn->rooms);
    list_init(&conn->waits);
    list_init(&conn->endings);
    list_init(&conn->body_waits);
    list_init(&conn->send_waits);
    timer_init(&conn->timer, on_timer);
    task_init(&conn->flush_task, on_flush_task);
    task_init(&conn->read_task, on_read_task);
    pipe_init(&conn->out, loop->memory, UINT32_MAX);
    return conn;
}

static void drop_kept(struct h2_conn *conn)
{
    if (conn->kept)
        memory_put(h2_memory(conn), conn->kept, sizeof(*conn->kept) + conn->kept->size);
    conn->kept = NULL;
}

static void drop_session(struct h2_conn *conn)
{
    conn->in_session = true; /* nothing its callbacks say counts any more */
    nghttp2_session_del(conn->session);
    conn->session = NULL;
    pipe_done(&conn->out);
    drop_kept(conn);
}

void h2_conn_free(struct h2_conn *conn)
{
    ENSURE(list_empty(&conn->streams) && !timer_armed(&conn->timer));
    drop_session(conn);
    conn->magic = 0;
    memory_put(h2_memory(conn), conn, sizeof(*conn));
}

static void on_reclaim_task(struct task *task)
{
    struct h2_conn *conn = container_of(task, struct h2_conn, flush_task);

    if (!conn->is_client)
        conn->server.host->on_connection_end(conn->server.host);
    h2_conn_free(conn);
}

/* ---- streams ---- */

void h2_attach(struct h2_conn *conn, struct h2_stream *s, struct arena *arena)
{
    struct memory *memory = h2_memory(conn);
    uint32_t room = h2_limits(conn)->body_room_bytes;

    s->conn = conn;
    s->id = -1;
    s->expected = -1;
    s->interims_end = &s->interims;
    s->base.arena = arena;
    s->peer = conn->peer;
    s->base.peer = &s->peer;
    s->base.facts = facts_hold(conn->transport.facts);
    s->base.secure = s->base.facts && s->base.facts->secure;
    list_init(&s->news_link);
    list_init(&s->mark_link);
    list_init(&s->room_link);
    list_init(&s->wait_link);
    list_init(&s->end_link);
    list_init(&s->body_link);
    list_init(&s->send_link);
    pipe_init(&s->base.in, memory, MAX(room, (uint32_t)WINDOW_FIRST));
    pipe_init(&s->out, memory, UINT32_MAX);
    list_push_back(&conn->streams, &s->link);
    conn->count++;
    conn->requests++;
    h2_wait_for(conn, H2_WAIT_NOTHING, 0);
}

/* Out of all lists but `link`. */
static void unlist(struct h2_stream *s)
{
    struct h2_conn *conn = s->conn;

    list_unlink(&s->news_link);
    list_unlink(&s->mark_link);
    list_unlink(&s->room_link);
    list_unlink(&s->wait_link);
    list_unlink(&s->end_link);
    list_unlink(&s->body_link);
    list_unlink(&s->send_link);
    h2_drop_out(s);
    if (s->early)
        pipe_done(s->early);
    if (conn->found == s)
        conn->found = NULL;
    if (conn->current == s)
        conn->current = NULL;
    if (conn->incoming == s) {
        conn->incoming = NULL;
        conn->head_due_ms = 0;
    }
    if (conn->fresh == s)
        conn->fresh = NULL;
    s->body_due_ms = s->send_due_ms = 0;
    s->conn = NULL;
}

void h2_rst(struct h2_stream *s, uint32_t code)
{
    if (!s->known)
        return;
    s->known = false;
    ENSURE(!s->conn->in_session);
    /* without memory for it the peer is not told; what it sends is dropped all the same */
    (void)nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, code);
    h2_flush_later(s->conn);
}

static void on_less_streams(struct h2_conn *conn)
{
    if (conn->is_client && conn->count == 0)
        conn->client.idle_since_ms = h2_loop(conn)->now_ms;
    if (conn->count == 0 && conn->state <= H2_OPEN) {
        h2_wait_for(conn, H2_WAIT_IDLE, h2_limits(conn)->keep_alive_ms);
        h2_rearm(conn);
    }
    if (conn->draining)
        h2_flush_later(conn); /* it may have been the last */
    if (conn->is_client && conn->state != H2_CLOSED)
        conn->client.owner->on_free(conn->client.owner, &conn->base);
}

void h2_detach(struct h2_stream *s)
{
    struct h2_conn *conn = s->conn;
    uint64_t unreturned = s->base.in.total - s->returned;

    ENSURE(!conn->in_session && conn->count > 0);
    if (s->early)
        unreturned += s->early->total;
    if (s->id > 0 && !s->forgotten)
        (void)nghttp2_session_set_stream_user_data(conn->session, s->id, NULL); /* it is there */
    if (unreturned > 0)
        (void)nghttp2_session_consume_connection(conn->session, unreturned);
    list_unlink(&s->link);
    unlist(s);
    conn->count--;
    on_less_streams(conn);
}

static void tell_lost(struct h2_conn *conn, struct h2_stream *s, enum err err)
{
    if (conn->is_client)
        client_lost(conn, s, err);
    else
        server_lost(conn, s, err);
}

void h2_stream_fail(struct h2_stream *s, enum err err)
{
    struct h2_conn *conn = s->conn;

    h2_rst(s, h2_code_of(s, err));
    h2_detach(s);
    tell_lost(conn, s, err);
}

/* ---- ends ---- */

void h2_conn_end(struct h2_conn *conn, enum err err)
{
    struct loop *loop = h2_loop(conn);
    struct link orphans, *link;

    MAGIC_CHECK(conn, H2_MAGIC);
    ENSURE(!conn->in_session && conn->state != H2_CLOSED);
    list_init(&orphans);
    while ((link = list_pop_front(&conn->streams)) != NULL) {
        unlist(container_of(link, struct h2_stream, link));
        list_push_back(&orphans, link);
    }
    conn->state = H2_CLOSED;
    conn->transport.ops->close(&conn->transport);
    timer_clear(loop, &conn->timer);
    task_cancel(&conn->read_task);
    task_cancel(&conn->flush_task);
    task_init(&conn->flush_task, on_reclaim_task);
    loop_defer(loop, &conn->flush_task, PHASE_RECLAIM);
    drop_session(conn);
    if (conn->is_client)
        conn->client.owner->on_closed(conn->client.owner, &conn->base);
    else
        list_unlink(&conn->base.link);
    conn->count = 0;
    while ((link = list_pop_front(&orphans)) != NULL)
        tell_lost(conn, container_of(link, struct h2_stream, link), err);
}

/* All streams, while the connection stays to say its last words. */
static void lose_streams(struct h2_conn *conn, enum err err)
{
    while (!list_empty(&conn->streams) && conn->state != H2_CLOSED) {
        struct h2_stream *s = container_of(conn->streams.next, struct h2_stream, link);
        h2_detach(s);
        tell_lost(conn, s, err);
    }
}

void h2_conn_finish(struct h2_conn *conn, enum err err)
{
    uint32_t linger_ms = h2_limits(conn)->linger_ms;

    if (conn->is_client || linger_ms == 0 || conn->fin) {
        if (conn->state > H2_CONNECTING)
            conn->transport.ops->shutdown(&conn->transport);
        h2_conn_end(conn, err);
        return;
    }
    conn->state = H2_LINGERING;
    conn->draining = true;
    lose_streams(conn, err);
    if (conn->state == H2_CLOSED)
        return;
    conn->transport.ops->shutdown(&conn->transport);
    h2_wait_for(conn, H2_WAIT_LINGER, linger_ms);
    h2_rearm(conn);
    if (h2_can(conn, IO_READABLE))
        h2_read_later(conn);
}

void h2_conn_abort(struct h2_conn *conn, uint32_t code, enum err err)
{
    conn->abort_err = (uint8_t)err;
    if (conn->state != H2_OPEN || nghttp2_session_terminate_session(conn->session, code) != 0) {
        h2_conn_end(conn, err);
        return;
    }
    conn->draining = true;
    conn->state = H2_ENDING;
    if (conn->is_client) { /* its owner would have to look after what only waits for its end */
        h2_send_last(conn);
        h2_conn_end(conn, err);
        return;
    }
    lose_streams(conn, err);
    if (conn->state != H2_CLOSED)
        h2_flush_later(conn);
}

void h2_conn_drain(struct h2_conn *conn, bool final)
{
    int failed = 0;

    ENSURE(!conn->in_session);
    conn->draining = true;
    if (conn->state > H2_OPEN || conn->goaway_sent)
        return;
    if (final)
        server_reset_late(conn);
    if (!final && !conn->is_client) {
        if (!conn->notice_sent) {
            failed = nghttp2_submit_shutdown_notice(conn->session);
            conn->ping_due = true;
        }
        conn->notice_sent = true;
    } else {
        failed =
            nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE,
                                  nghttp2_session_get_last_proc_stream_id(conn->session), NGHTTP2_NO_ERROR, NULL, 0);
        conn->goaway_sent = true;
    }
    if (failed)
        h2_conn_end(conn, ERR_MEMORY);
    else
        h2_flush_later(conn);
}

void h2_drain(struct http_conn *http, bool now)
{
    struct h2_conn *conn = h2_conn_of(http);

    MAGIC_CHECK(conn, H2_MAGIC);
    if (conn->is_client && conn->count == 0)
        h2_conn_end(conn, ERR_DRAINING);
    else
        h2_conn_drain(conn, now && conn->count == 0);
}

void h2_close(struct http_conn *http)
{
    struct h2_conn *conn = h2_conn_of(http);

    MAGIC_CHECK(conn, H2_MAGIC);
    h2_say_goodbye(conn);
    h2_conn_end(conn, ERR_DRAINING);
}

/* ---- deadlines ---- */

void h2_wait_for(struct h2_conn *conn, enum h2_wait wait, uint64_t timeout_ms)
{
    conn->wait = (uint8_t)wait;
    conn->due_ms = wait == H2_WAIT_NOTHING || timeout_ms == 0 ? 0 : h2_loop(conn)->now_ms + timeout_ms;
}

static struct h2_stream *first_body(const struct h2_conn *conn)
{
    return list_empty(&conn->body_waits) ? NULL : container_of(conn->body_waits.next, struct h2_stream, body_link);
}

static struct h2_stream *first_send(const struct h2_conn *conn)
{
    return list_empty(&conn->send_waits) ? NULL : container_of(conn->send_waits.next, struct h2_stream, send_link);
}

void h2_rearm(struct h2_conn *conn)
{
    if (conn->state == H2_CLOSED)
        return;
    uint64_t due = deadline_earlier(conn->due_ms, deadline_earlier(conn->head_due_ms, conn->write_due_ms));
    if (first_body(conn))
        due = deadline_earlier(due, first_body(conn)->body_due_ms);
    if (first_send(conn))
        due = deadline_earlier(due, first_send(conn)->send_due_ms);
    if (due != 0)
        timer_at_most(h2_loop(conn), &conn->timer, due);
}

static void drop_told(struct h2_conn *conn, enum err err)
{
    struct stream_host *host = conn->server.host;

    if (!conn->is_client && host->on_dropped)
        host->on_dropped(host, err);
}

static void conn_overdue(struct h2_conn *conn)
{
    conn->due_ms = 0;
    switch (conn->wait) {
    case H2_WAIT_CONNECT:
        h2_conn_end(conn, ERR_CONNECT_TIMEOUT);
        return;
    case H2_WAIT_FIRST:
        drop_told(conn, ERR_HEAD_TIMEOUT);
        h2_conn_drain(conn, true);
        return;
    case H2_WAIT_IDLE:
        h2_drain(&conn->base, true);
        return;
    default:
        h2_conn_end(conn, ERR_CLIENT_CLOSED);
    }
}

static void streams_overdue(struct h2_conn *conn)
{
    struct h2_stream *s;

    while (conn->state != H2_CLOSED && (s = first_send(conn)) != NULL && deadline_passed(h2_loop(conn), s->send_due_ms))
        h2_stream_fail(s, conn->is_client ? ERR_UPSTREAM_SEND_TIMEOUT : ERR_CLIENT_SEND_TIMEOUT);
    while (conn->state != H2_CLOSED && (s = first_body(conn)) != NULL && deadline_passed(h2_loop(conn), s->body_due_ms))
        h2_body_overdue(s);
}

static void on_timer(struct timer *timer)
{
    struct h2_conn *conn = container_of(timer, struct h2_conn, timer);

    MAGIC_CHECK(conn, H2_MAGIC);
    if (deadline_passed(h2_loop(conn), conn->write_due_ms)) {
        h2_conn_end(conn, conn->is_client ? ERR_UPSTREAM_SEND_TIMEOUT : ERR_CLIENT_SEND_TIMEOUT);
        return;
    }
    if (deadline_passed(h2_loop(conn), conn->head_due_ms)) {
        conn->head_due_ms = 0;
        drop_told(conn, ERR_HEAD_TIMEOUT);
        h2_conn_abort(conn, NGHTTP2_NO_ERROR, conn->is_client ? ERR_RESPONSE_TIMEOUT : ERR_HEAD_TIMEOUT);
    } else if (deadline_passed(h2_loop(conn), conn->due_ms)) {
        conn_overdue(conn);
    } else {
        streams_overdue(conn);
    }
    h2_rearm(conn);
}

/* ---- tasks ---- */

static void on_flush_task(struct task *task)
{
    struct h2_conn *conn = container_of(task, struct h2_conn, flush_task);

    MAGIC_CHECK(conn, H2_MAGIC);
    h2_flush(conn);
    h2_rearm(conn);
}

static void on_read_task(struct task *task)
{
    struct h2_conn *conn = container_of(task, struct h2_conn, read_task);

    MAGIC_CHECK(conn, H2_MAGIC);
    h2_read(conn);
    h2_rearm(conn);
}
