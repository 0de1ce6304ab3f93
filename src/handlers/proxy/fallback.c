/*
 * What serves when the upstream cannot: another upstream takes the request over, or a fixed answer is given; else the
 * error is the answer, with the time to come back when a circuit is open.
 *
 * Another upstream gets the request only when it may be sent once more: always when nothing has been sent, else as for
 * a retry. Its tries, its budget and its fallback are its own.
 */
#include "upstream/fallback.h"
#include "base/arena.h"
#include "base/assert.h"
#include "exchange/worker.h"
#include "handlers/proxy/proxy.h"

static void count(const struct proxying *p)
{
    atomic_fetch_add_explicit(&upstream_cluster(p->proxy->upstream)->fallbacks, 1, memory_order_relaxed);
}

/* Nothing has reached a service that may not be sent again. */
static bool may_go_elsewhere(const struct proxying *p, enum err err)
{
    const struct exchange *x = p->x;
    if (p->body_lost)
        return false;
    bool sent = x->record.tries > 0 && !err_info(err)->retryable;
    return !sent || (method_is_idempotent(x->request->method) && x->request->upgrade.len == 0);
}

static void go_elsewhere(struct attempt *a)
{
    struct proxying *p = a->p;
    struct exchange *x = p->x;
    count(p);
    attempts_close(p, ERR_CANCELLED); /* what counts on the one before ends */
    upstream_request_end(p->proxy->upstream);
    p->proxy = p->proxy->fallback;
    upstream_request_begin(p->proxy->upstream);
    x->record.upstream = upstream_name(p->proxy->upstream);
    p->session = 0;
    p->insist_fresh = false;
    p->stale_tries = 0;
    p->retries_elsewhere = x->record.retries;
    p->hedges = 0;
    a->hedge = false;
    int rc = key_compute(p);
    if (rc == 0)
        rc = session_read(p);
    if (rc < 0)
        exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
    else
        attempt_repeat(a, 0);
}

static int answer(struct proxying *p, const struct fallback_conf *fallback)
{
    struct exchange *x = p->x;
    struct slice body = fallback->body ? slice_from(fallback->body) : SLICE_EMPTY, type = SLICE_EMPTY;
    if (body.len > 0)
        type = fallback->content_type ? slice_from(fallback->content_type) : SLICE("text/plain; charset=utf-8");
    int rc = exchange_reply(x, (unsigned)fallback->status, type, body);
    for (size_t i = 0; rc == 0 && i < fallback->headers.count; i++) {
        const struct conf_entry *entry = conf_entry_at(&fallback->headers, &fallback_header_type, i);
        const char *value = *(const char *const *)entry->value;
        rc = fields_add(&x->response.fields, x->arena, slice_from(entry->key), slice_from(value ? value : ""));
    }
    return rc;
}

/* When it may be asked again; 0: nothing is known of that. Who found a limit reached finds it so no longer than others
 * take, which is about a second or a reason to wait longer. */
static uint64_t wait_ms_after(const struct proxying *p, enum err err)
{
    if (err == ERR_BREAKER_OPEN)
        return MAX(upstream_open_again_ms(p->proxy->upstream, p->x->worker->loop.now_ns), (uint64_t)1);
    if (err == ERR_NO_TARGET)
        return upstream_targets_again_ms(p->proxy->upstream, p->x->worker->index, p->x->worker->loop.now_ns);
    return err == ERR_UPSTREAM_FULL || err == ERR_QUEUE_FULL || err == ERR_QUEUE_TIMEOUT ? 1000 : 0;
}

static struct slice detail_of(const struct attempt *a, enum err err)
{
    bool limited = err == ERR_UPSTREAM_FULL || err == ERR_QUEUE_FULL || err == ERR_QUEUE_TIMEOUT;
    return limited ? slice_from(limit_text(a->try.lacked)) : SLICE_EMPTY;
}

/* In whole seconds, and not at once. A call of gRPC is told by its status alone. */
static void fail(struct attempt *a, enum err err)
{
    struct proxying *p = a->p;
    struct exchange *x = p->x;
    uint64_t wait_ms = wait_ms_after(p, err);
    exchange_fail(x, err, detail_of(a, err));
    if (wait_ms == 0 || x->ended || x->head_down || x->grpc != GRPC_NONE)
        return;
    struct slice seconds = arena_printf(x->arena, "%llu", (unsigned long long)((wait_ms + 999) / 1000));
    if (seconds.at) /* without memory it goes without */
        (void)!fields_set_id(&x->response.fields, x->arena, FIELD_RETRY_AFTER, seconds);
}

void fallback_or_fail(struct attempt *a, enum err err)
{
    struct proxying *p = a->p;
    const struct fallback_conf *fallback = upstream_settings(p->proxy->upstream)->fallback;
    if (!fallback_is_for(fallback, err)) {
        fail(a, err);
    } else if (p->proxy->fallback) {
        if (may_go_elsewhere(p, err))
            go_elsewhere(a);
        else
            fail(a, err);
    } else if (p->x->grpc != GRPC_NONE) {
        fail(a, err);
    } else {
        count(p);
        if (answer(p, fallback) < 0)
            exchange_fail(p->x, ERR_MEMORY, SLICE_EMPTY);
    }
}
