/*
 * The life of a fetch.  Whatever happens only makes the task run, which looks at what there is by then; so nothing is
 * torn down from within a codec's event, and on_done never comes from within fetch_start.
 */
#include "upstream/fetch.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "dns/resolver.h"
#include "http/conn.h"
#include "http/h1/h1.h"
#include "http/message.h"
#include "loop/loop.h"
#include "net/transport.h"
#include "tls/tls.h"

enum {
    HEAD_BYTES_MAX = 32768,
    FIELDS_MAX_HERE = 128,
    BODY_ROOM_BYTES = 16384,
    ADDRESSES_TRIED = 4, /* the whole has one deadline, and a name may have dozens */
};

struct fetch {
    struct loop *loop;
    struct fetch_order order;
    void (*on_done)(void *user, const struct fetch_report *report);
    void *user;
    struct fetch_report report;
    bool over;
    struct timer timer; /* of the whole */
    struct task work, reclaim;
    struct dns_query query;
    bool resolved;
    uint32_t address; /* the one that is tried */
    /* of one try */
    struct http_owner owner;
    struct http_limits limits;
    struct http_conn *conn; /* NULL: none, or gone */
    struct stream *stream;
    struct arena *arena;
    char *body;
    size_t body_len;
};

static const char *const result_words[] = {
#define X(name, word) [FETCH_##name] = word,
    FETCH_RESULTS(X)
#undef X
};

const char *fetch_result_word(enum fetch_result result)
{
    ENSURE((unsigned)result < FETCH_RESULT_COUNT);
    return result_words[result];
}

/* ---- reports ---- */

/* The first one stands. */
static void report(struct fetch *fetch, enum fetch_result result, const char *why_format, ...)
    __attribute__((format(printf, 3, 4)));
static void report(struct fetch *fetch, enum fetch_result result, const char *why_format, ...)
{
    va_list args;
    if (fetch->over)
        return;
    fetch->over = true;
    fetch->report.result = result;
    va_start(args, why_format);
    (void)vsnprintf(fetch->report.why, sizeof(fetch->report.why), why_format, args);
    va_end(args);
    loop_defer(fetch->loop, &fetch->work, PHASE_RUN);
}

static void report_err(struct fetch *fetch, enum err err)
{
    const struct tls_layer *layer = fetch->order.layer;
    switch (err) {
    case ERR_CONNECT_REFUSED:
        report(fetch, FETCH_CONNECT, "connection refused");
        return;
    case ERR_CONNECT_FAILED:
    case ERR_CONNECT_TIMEOUT:
        report(fetch, FETCH_CONNECT, "it cannot be reached");
        return;
    case ERR_TLS_FAILED:
        report(fetch, FETCH_TLS, "the TLS handshake failed (%s)",
               layer ? tls_reason_word((enum tls_reason)layer->reason) : "plain");
        return;
    case ERR_UPSTREAM_UNSENT:
    case ERR_UPSTREAM_CLOSED:
    case ERR_UPSTREAM_RESET:
    case ERR_UPSTREAM_CUT:
        report(fetch, FETCH_CLOSED, "the connection ended before the answer did");
        return;
    case ERR_UPSTREAM_HEAD_TOO_LARGE:
        report(fetch, FETCH_TOO_LARGE, "the answer's header section is too large");
        return;
    default:
        break;
    }
    if (err_info(err)->side == SIDE_UPSTREAM)
        report(fetch, FETCH_MALFORMED, "malformed answer (%s)", err_info(err)->word);
    else
        report(fetch, FETCH_GATEWAY, "%s", err_info(err)->title);
}

static void on_time(struct timer *timer)
{
    struct fetch *fetch = container_of(timer, struct fetch, timer);
    const char *what = !fetch->resolved                          ? "address of that name"
                       : fetch->stream && !fetch->stream->unsent ? "complete answer"
                                                                 : "connection";
    report(fetch, FETCH_TIMEOUT, "no %s within %ums", what, fetch->order.timeout_ms);
}

/* ---- one try ---- */

static void wake(struct stream *stream)
{
    struct fetch *fetch = stream->user;
    loop_defer(fetch->loop, &fetch->work, PHASE_RUN);
}

static void on_interim(struct stream *stream, const struct message *head)
{
}

static const struct stream_events fetch_events = {
    .on_head = wake,
    .on_interim = on_interim,
    .on_body = wake,
    .on_room = wake,
    .on_reset = wake,
};

static void on_free(struct http_owner *owner, struct http_conn *conn)
{
    http_close(conn);
}

static void on_closed(struct http_owner *owner, struct http_conn *conn)
{
    container_of(owner, struct fetch, owner)->conn = NULL;
}

static int send_request(struct fetch *fetch)
{
    const struct fetch_order *order = &fetch->order;
    struct slice query = order->target, path = slice_cut(&query, '?');
    struct message head = {
        .version = HTTP_1_1,
        .method = METHOD_GET,
        .method_name = SLICE("GET"),
        .scheme = order->layer ? SLICE("https") : SLICE("http"),
        .authority = order->authority,
        .path = path,
        .query = query,
        .has_query = query.at != NULL,
        .body_length = BODY_NONE,
    };
    int rc = fields_add_id(&head.fields, fetch->arena, FIELD_USER_AGENT, SLICE("maitred/" MAITRED_VERSION));
    if (rc == 0)
        rc = fields_add_id(&head.fields, fetch->arena, FIELD_ACCEPT, order->accept);
    return rc < 0 ? rc : stream_send_head(fetch->stream, &head, true);
}

static int connect_to(struct fetch *fetch, const struct address *address)
{
    const struct dial dial = { .to = address, .layer = fetch->order.layer ? &fetch->order.layer->layer : NULL };
    fetch->limits = (struct http_limits){
        .head_bytes_max = HEAD_BYTES_MAX,
        .fields_max = FIELDS_MAX_HERE,
        .body_room_bytes = BODY_ROOM_BYTES,
        .requests_max = 1,
        .underscores_ok = true,
    };
    fetch->owner = (struct http_owner){ .limits = &fetch->limits, .on_free = on_free, .on_closed = on_closed };
    int rc = h1_connect(fetch->loop, &dial, &fetch->owner, &fetch->conn);
    if (rc < 0)
        return rc;
    rc = http_open(fetch->conn, fetch->arena, &fetch_events, fetch, &fetch->stream);
    return rc < 0 ? rc : send_request(fetch);
}

static void end_try(struct fetch *fetch)
{
    struct stream *stream = fetch->stream;
    if (stream) {
        bool ended = stream->end_sent && stream->in.end == PIPE_ENDED;
        if (!ended && stream->err == ERR_NONE)
            stream_reset(stream, ERR_CANCELLED);
        stream->ops->release(stream);
        fetch->stream = NULL;
    }
    if (fetch->conn)
        http_close(fetch->conn);
    fetch->conn = NULL;
    if (fetch->arena)
        arena_free(fetch->arena);
    fetch->arena = NULL;
    fetch->body = NULL;
    fetch->body_len = 0;
}

static void failed(struct fetch *fetch, enum err err);

static void begin_try(struct fetch *fetch)
{
    size_t body_max = fetch->order.body_bytes_max;
    fetch->arena = arena_new(fetch->loop->memory, body_max + (1 << 20));
    if (fetch->arena)
        fetch->body = arena_alloc(fetch->arena, body_max);
    int rc = fetch->body ? connect_to(fetch, &fetch->query.answer.v[fetch->address]) : -ERR_MEMORY;
    if (rc < 0)
        failed(fetch, (enum err) - rc);
}

/* One that cannot be reached says nothing about the next. */
static void failed(struct fetch *fetch, enum err err)
{
    uint32_t known = MIN(fetch->query.answer.n, (uint32_t)ADDRESSES_TRIED);
    bool unreached = err == ERR_CONNECT_REFUSED || err == ERR_CONNECT_FAILED || err == ERR_CONNECT_TIMEOUT;
    if (!unreached || fetch->address + 1 >= known) {
        report_err(fetch, err);
        return;
    }
    end_try(fetch);
    fetch->address++;
    begin_try(fetch);
}

/* ---- the answer ---- */

static bool take_bytes(struct fetch *fetch)
{
    struct pipe *in = &fetch->stream->in;
    struct iovec iov;
    size_t room = fetch->order.body_bytes_max - fetch->body_len;
    if (room == 0 || pipe_peek(in, &iov, 1, room) == 0)
        return false;
    memcpy(fetch->body + fetch->body_len, iov.iov_base, iov.iov_len);
    fetch->body_len += iov.iov_len;
    pipe_consume(in, iov.iov_len);
    return true;
}

static void look_at_answer(struct fetch *fetch)
{
    struct stream *stream = fetch->stream;
    while (take_bytes(fetch)) {
    }
    if (!pipe_drained(&stream->in) && fetch->body_len == fetch->order.body_bytes_max) {
        report(fetch, FETCH_TOO_LARGE, "the answer is larger than %u bytes", fetch->order.body_bytes_max);
    } else if (pipe_drained(&stream->in) && stream->in.end == PIPE_ENDED) {
        fetch->report.head = stream->head;
        fetch->report.body = slice_make(fetch->body, fetch->body_len);
        report(fetch, FETCH_ANSWERED, "%s", "");
    }
}

static void look(struct fetch *fetch)
{
    struct stream *stream = fetch->stream;
    if (!stream)
        return;
    if (stream->head)
        look_at_answer(fetch);
    if (fetch->over)
        return;
    if (stream->err != ERR_NONE)
        failed(fetch, (enum err)stream->err);
    else if (stream->in.end == PIPE_CUT)
        failed(fetch, (enum err)stream->in.err);
    else if (stream->head)
        stream_read_more(stream);
}

/* ---- its life ---- */

static void reclaim(struct task *task)
{
    mem_free(container_of(task, struct fetch, reclaim));
}

static void end(struct fetch *fetch)
{
    op_cancel(&fetch->query.op);
    timer_clear(fetch->loop, &fetch->timer);
    end_try(fetch);
    if (fetch->order.layer)
        tls_layer_drop(fetch->order.layer);
    task_cancel(&fetch->work);
    loop_defer(fetch->loop, &fetch->reclaim, PHASE_RECLAIM);
}

static void resolve_done(struct fetch *fetch)
{
    fetch->resolved = true;
    if (fetch->query.answer.err != ERR_NONE)
        report(fetch, FETCH_NAME, "its name does not resolve: %s", fetch->query.answer.why);
    else
        begin_try(fetch);
}

static void work(struct task *task)
{
    struct fetch *fetch = container_of(task, struct fetch, work);
    if (!fetch->over && !fetch->resolved && !fetch->query.op.pending)
        resolve_done(fetch);
    else if (!fetch->over)
        look(fetch);
    if (!fetch->over)
        return;
    fetch->on_done(fetch->user, &fetch->report);
    end(fetch);
}

static void on_resolved(struct op *op)
{
    struct fetch *fetch = container_of(op, struct fetch, query.op);
    loop_defer(fetch->loop, &fetch->work, PHASE_RUN);
}

struct fetch *fetch_start(struct loop *loop, const struct fetch_order *order,
                          void (*on_done)(void *user, const struct fetch_report *report), void *user)
{
    struct fetch *fetch = mem_zalloc(sizeof(*fetch));
    if (!fetch)
        return NULL;
    ENSURE(order->timeout_ms > 0 && order->body_bytes_max > 0);
    fetch->loop = loop;
    fetch->order = *order;
    fetch->on_done = on_done;
    fetch->user = user;
    timer_init(&fetch->timer, on_time);
    task_init(&fetch->work, work);
    task_init(&fetch->reclaim, reclaim);
    if (order->layer)
        (void)tls_layer_hold(order->layer);
    timer_set(loop, &fetch->timer, loop->now_ms + order->timeout_ms);
    fetch->query.op.on_complete = on_resolved;
    resolver_lookup(order->resolver, order->host, order->port, DNS_IPV4_FIRST, &fetch->query);
    return fetch;
}

void fetch_cancel(struct fetch *fetch)
{
    end(fetch);
}
