/*
 * A connection's birth and death, the bytes it keeps, and its one timer.
 *
 * The timer is armed lazily: on the way of a request only deadlines change, and the timer, when it fires, looks which
 * of them have passed and arms itself for the next.
 */
#include "http/h1/conn.h"

#include "base/memory.h"
#include "base/sys.h"
#include "net/facts.h"

static void on_timer(struct timer *timer);
static void on_flush_task(struct task *task);
static void on_read_task(struct task *task);

struct h1_conn *conn_new(struct loop *loop, const struct http_conn_ops *ops, bool is_client)
{
    struct h1_conn *conn = memory_get(loop->memory, sizeof(*conn));

    if (conn == NULL)
        return NULL;
    memset(conn, 0, sizeof(*conn));
    conn->magic = H1_MAGIC;
    conn->is_client = is_client;
    conn->base.ops = ops;
    conn->transport.loop = loop;
    list_init(&conn->base.link);
    timer_init(&conn->timer, on_timer);
    task_init(&conn->flush_task, on_flush_task);
    task_init(&conn->read_task, on_read_task);
    return conn;
}

void conn_free(struct h1_conn *conn)
{
    struct memory *memory = conn_memory(conn);

    ENSURE(conn->stream == NULL && conn->kept == NULL && !timer_armed(&conn->timer));
    conn->magic = 0;
    memory_put(memory, conn, sizeof(*conn));
}

static void on_reclaim_task(struct task *task)
{
    struct h1_conn *conn = container_of(task, struct h1_conn, flush_task);

    if (!conn->is_client)
        conn->server.host->on_connection_end(conn->server.host);
    conn_free(conn);
}

/* Nothing happens on it any more; `on_reclaim` frees it. */
static void retire(struct h1_conn *conn, void (*on_reclaim)(struct task *task))
{
    struct loop *loop = conn_loop(conn);

    conn->state = H1_CLOSED;
    timer_clear(loop, &conn->timer);
    task_cancel(&conn->read_task);
    task_cancel(&conn->flush_task);
    task_init(&conn->flush_task, on_reclaim);
    loop_defer(loop, &conn->flush_task, PHASE_RECLAIM);
    kept_drop(conn);
}

void conn_close(struct h1_conn *conn, bool hard)
{
    MAGIC_CHECK(conn, H1_MAGIC);
    ENSURE(conn->stream == NULL && conn->state != H1_CLOSED);
    if (hard) {
        struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
        (void)sys->setsockopt(conn->transport.io.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    conn->transport.ops->close(&conn->transport);
    retire(conn, on_reclaim_task);
    if (!conn->is_client && conn->server.drain) {
        memory_put(conn_memory(conn), conn->server.drain, sizeof(*conn->server.drain));
        conn->server.drain = NULL;
    }
    if (conn->is_client)
        conn->client.owner->on_closed(conn->client.owner, &conn->base);
    else
        list_unlink(&conn->base.link);
}

static void on_vanished(struct task *task)
{
    conn_free(container_of(task, struct h1_conn, flush_task));
}

void conn_vanish(struct h1_conn *conn)
{
    ENSURE(conn->stream == NULL && conn->state != H1_CLOSED && !conn->is_client);
    retire(conn, on_vanished);
    list_unlink(&conn->base.link);
}

struct h1_stream *conn_detach(struct h1_conn *conn)
{
    struct h1_stream *s = conn->stream;

    if (s != NULL) {
        s->conn = NULL;
        conn->stream = NULL;
    }
    return s;
}

void conn_attach(struct h1_conn *conn, struct h1_stream *s, struct arena *arena)
{
    ENSURE(conn->stream == NULL);
    s->conn = conn;
    s->base.arena = arena;
    s->peer = conn->peer;
    s->base.peer = &s->peer;
    s->base.splices = conn->transport.ops->splices;
    s->base.facts = facts_hold(conn->transport.facts);
    s->base.secure = s->base.facts && s->base.facts->secure;
    pipe_init(&s->base.in, conn_memory(conn), conn_limits(conn)->body_room_bytes);
    pipe_init(&s->out, conn_memory(conn), UINT32_MAX);
    conn->stream = s;
}

void h1_close(struct http_conn *http)
{
    struct h1_conn *conn = h1_conn_of(http);

    MAGIC_CHECK(conn, H1_MAGIC);
    if (conn->stream == NULL)
        conn_close(conn, false);
    else if (conn->is_client)
        client_failed(conn, ERR_DRAINING);
    else
        server_failed(conn, ERR_DRAINING);
}

void h1_drain(struct http_conn *http, bool now)
{
    struct h1_conn *conn = h1_conn_of(http);
    bool idle = conn->stream == NULL && conn->kept == NULL && conn->state == H1_OPEN;

    conn->draining = true;
    if (idle && (now || conn->is_client) && (conn->is_client || conn->server.drain == NULL))
        conn_close(conn, false);
}

/* ---- deadlines ---- */

void conn_wait_for(struct h1_conn *conn, enum h1_wait wait, uint64_t timeout_ms)
{
    conn->wait = wait & 7;
    conn->due_ms = wait == WAIT_NOTHING || timeout_ms == 0 ? 0 : conn_loop(conn)->now_ms + timeout_ms;
}

void conn_rearm(struct h1_conn *conn)
{
    uint64_t due = conn->due_ms;

    if (conn->state == H1_CLOSED)
        return;
    if (conn->stream)
        due = deadline_earlier(due, deadline_earlier(conn->stream->body_due_ms, conn->stream->send_due_ms));
    if (due != 0)
        timer_at_most(conn_loop(conn), &conn->timer, due);
}

static void body_overdue(struct h1_conn *conn)
{
    conn->stream->body_due_ms = 0;
    if (conn->is_client)
        client_failed(conn, ERR_RESPONSE_BODY_TIMEOUT);
    else
        server_body_failed(conn, ERR_BODY_TIMEOUT);
}

static void send_overdue(struct h1_conn *conn)
{
    if (conn->is_client)
        client_failed(conn, ERR_UPSTREAM_SEND_TIMEOUT);
    else
        server_failed(conn, ERR_CLIENT_SEND_TIMEOUT);
}

static void on_timer(struct timer *timer)
{
    struct h1_conn *conn = container_of(timer, struct h1_conn, timer);

    MAGIC_CHECK(conn, H1_MAGIC);
    if (deadline_passed(conn_loop(conn), conn->due_ms)) {
        conn->due_ms = 0;
        if (conn->is_client)
            client_on_due(conn);
        else
            server_on_due(conn);
    } else if (conn->stream && deadline_passed(conn_loop(conn), conn->stream->send_due_ms)) {
        send_overdue(conn);
    } else if (conn->stream && deadline_passed(conn_loop(conn), conn->stream->body_due_ms)) {
        body_overdue(conn);
    }
    conn_rearm(conn);
}

/* ---- tasks ---- */

static void on_flush_task(struct task *task)
{
    struct h1_conn *conn = container_of(task, struct h1_conn, flush_task);

    MAGIC_CHECK(conn, H1_MAGIC);
    conn_flush(conn);
    conn_rearm(conn);
}

static void on_read_task(struct task *task)
{
    struct h1_conn *conn = container_of(task, struct h1_conn, read_task);

    MAGIC_CHECK(conn, H1_MAGIC);
    if (conn->is_client)
        client_on_read(conn);
    else
        server_on_read(conn);
    conn_rearm(conn);
}

/* ---- kept bytes ---- */

static struct h1_kept *kept_new(struct h1_conn *conn, uint32_t size)
{
    struct h1_kept *kept = memory_get(conn_memory(conn), sizeof(*kept) + size);

    if (kept)
        *kept = (struct h1_kept){ .size = size };
    return kept;
}

void kept_drop(struct h1_conn *conn)
{
    if (conn->kept)
        memory_put(conn_memory(conn), conn->kept, sizeof(*conn->kept) + conn->kept->size);
    conn->kept = NULL;
}

void kept_consume(struct h1_conn *conn, size_t len)
{
    struct h1_kept *kept = conn->kept;

    if (len == 0)
        return;
    ENSURE(kept && len <= kept->end - kept->begin);
    kept->begin += (uint32_t)len;
    kept->scanned = 0;
    if (kept->begin == kept->end)
        kept_drop(conn);
}

int kept_store(struct h1_conn *conn, struct slice bytes)
{
    if (bytes.len == 0)
        return 0;
    ENSURE(conn->kept == NULL);
    conn->kept = kept_new(conn, MAX((uint32_t)bytes.len, (uint32_t)KEPT_MIN));
    if (conn->kept == NULL)
        return -ERR_MEMORY;
    memcpy(conn->kept->data, bytes.at, bytes.len);
    conn->kept->end = (uint32_t)bytes.len;
    return 0;
}

int kept_room(struct h1_conn *conn, char **ret_at, size_t *ret_len)
{
    struct h1_kept *kept = conn->kept;
    uint32_t len = kept ? kept->end - kept->begin : 0;

    if (kept && kept->begin > 0) {
        memmove(kept->data, kept->data + kept->begin, len);
        kept->begin = 0;
        kept->end = len;
    }
    if (kept == NULL || kept->end == kept->size) {
        struct h1_kept *larger = kept_new(conn, MAX(2 * len, (uint32_t)KEPT_MIN));
        if (larger == NULL)
            return -ERR_MEMORY;
        if (kept) {
            memcpy(larger->data, kept->data, len);
            larger->end = len;
            larger->scanned = kept->scanned;
            kept_drop(conn);
        }
        kept = conn->kept = larger;
    }
    *ret_at = kept->data + kept->end;
    *ret_len = kept->size - kept->end;
    return 0;
}
