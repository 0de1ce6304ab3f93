/*
 * Tries.  Which failure may be tried again (RFC 9110 9.2.2):
 *
 *      the request surely was not processed (connect failed, closed before a byte went out)      any method
 *      the connection broke before an answer                                             idempotent methods
 *      an answer whose status the upstream's `retry.on` lists (answer.c)                       as it says
 *      anything after an accepted head, or with more body gone than the replay holds                  never
 *
 * A connection from the pool that the service had closed meanwhile says nothing about the service, and nor does a
 * stream that it refuses (it has enough of them, or is about to go): they are replaced at once, cost no try and no
 * budget.  Real retries go to another target, after a back-off with full jitter, within `retry.attempts` and the
 * upstream's budget.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "exchange/worker.h"
#include "handlers/proxy/proxy.h"

/* ---- events of the service's stream: bits only ---- */

static void leave(struct stream *stream, enum attempt_event event)
{
    struct proxying *p = stream->user;
    p->events |= event;
    exchange_wake(p->x);
}

static void up_on_head(struct stream *stream)
{
    leave(stream, ATTEMPT_HEAD);
}

static void up_on_body(struct stream *stream)
{
    leave(stream, ATTEMPT_BODY);
}

static void up_on_room(struct stream *stream)
{
    leave(stream, ATTEMPT_ROOM);
}

static void up_on_reset(struct stream *stream)
{
    leave(stream, ATTEMPT_RESET);
}

static void up_on_written(struct stream *stream)
{
    struct proxying *p = stream->user;
    if (!p->body_end_taken)
        leave(stream, ATTEMPT_WRITTEN);
}

static void up_on_sent(struct stream *stream)
{
    leave(stream, ATTEMPT_SENT);
}

static void up_on_interim(struct stream *stream, const struct message *head)
{
    struct proxying *p = stream->user;
    struct interim *interim = arena_alloc(p->x->arena, sizeof(*interim));
    if (!interim)
        return; /* an interim answer is only a hint */
    *interim = (struct interim){ NULL, head };
    *p->interims_end = interim;
    p->interims_end = &interim->next;
    exchange_wake(p->x);
}

static const struct stream_events up_events = {
    .on_head = up_on_head,
    .on_interim = up_on_interim,
    .on_body = up_on_body,
    .on_room = up_on_room,
    .on_reset = up_on_reset,
    .on_written = up_on_written,
    .on_sent = up_on_sent,
};

/* ---- opening ---- */

static bool without_body(const struct message *m)
{
    return m->body_length == BODY_NONE;
}

/* Its name is "host:port", or "host:port (address)" where a name was resolved. */
static struct slice target_authority(const struct target *target)
{
    struct slice name = slice_from(target->name);
    return slice_cut(&name, ' ');
}

/* What this service's version cannot be sent is not sent again; all else is a connection that has gone. */
static enum err unsent_because(enum err err)
{
    return err == ERR_MEMORY || err == ERR_UPGRADE_REFUSED ? err : ERR_UPSTREAM_UNSENT;
}

static void attempt_send(struct proxying *p)
{
    struct exchange *x = p->x;
    struct stream *up = p->try.stream;
    bool end = without_body(&p->head);
    if (p->names_target)
        p->head.authority = target_authority(p->try.target);
    up->quiet_ok = call_may_be_quiet(p);
    int rc = stream_send_head(up, &p->head, end);
    if (rc < 0) {
        attempt_failed(p, unsent_because((enum err) - rc));
        return;
    }
    x->down->splice_in_ok = up->splices && !p->replayable && exchange_body_passes(x, DIR_REQUEST);
    if (end) {
        p->body_end_taken = true;
        request_await_response(p);
    } else {
        if (p->head.expect_continue) /* the client waits for the service's word before it goes on */
            request_await_response(p);
        request_send(p);
    }
}

/* A copy: names may resolve anew meanwhile, and the record outlives the hold on the target. */
static const char *name_for_log(struct exchange *x, const struct target *target)
{
    if (!x->worker->access_log)
        return NULL;
    return arena_copy(x->arena, slice_make(target->name, strlen(target->name) + 1)).at;
}

void attempt_open(struct proxying *p)
{
    struct exchange *x = p->x;
    ENSURE(!p->trying && !p->accepted);
    x->record.try_start_ns = x->worker->loop.now_ns;
    x->record.reused_up = false;
    p->events = 0;
    int rc = call_prepare(p);
    if (rc < 0) {
        exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
        return;
    }
    const struct upstream_wish wish = {
        .key = p->key, .sticky = p->session, .tried = &p->tried, .down = x->down, .fresh = p->insist_fresh
    };
    rc = upstream_open(p->proxy->upstream, x->worker->index, &wish, x->arena, &up_events, p, &p->try);
    if (rc < 0 && !p->try.target) {
        exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
        return;
    }
    p->trying = true;
    x->record.target = name_for_log(x, p->try.target);
    if (x->record.tries < UINT8_MAX)
        x->record.tries++;
    if (rc < 0) {
        attempt_failed(p, (enum err) - rc);
        return;
    }
    x->record.reused_up = p->try.stream->reused;
    attempt_send(p);
}

void attempt_close(struct proxying *p, enum err err)
{
    p->response_deadline_ms = 0;
    p->retry_at_ms = 0;
    if (p->in_budget)
        upstream_retry_end(p->proxy->upstream);
    p->in_budget = false;
    if (!p->trying)
        return;
    p->trying = false;
    upstream_close(&p->try, err);
}

/* ---- judging ---- */

static bool is_broken_off(enum err err)
{
    return err == ERR_UPSTREAM_CLOSED || err == ERR_UPSTREAM_RESET;
}

static bool may_repeat(const struct proxying *p, enum err err)
{
    if (p->body_lost)
        return false;
    if (err_info(err)->retryable)
        return true;
    return is_broken_off(err) && method_is_idempotent(p->x->request->method) && p->x->request->upgrade.len == 0;
}

bool attempt_has_tries_left(const struct proxying *p)
{
    const struct upstream_conf *conf = upstream_settings(p->proxy->upstream);
    return p->x->record.retries + 1u < (uint64_t)conf->retry.attempts;
}

uint64_t attempt_backoff_ms(struct proxying *p)
{
    const struct upstream_conf *conf = upstream_settings(p->proxy->upstream);
    uint64_t ceiling = (uint64_t)conf->retry.backoff_ms << MIN(p->x->record.retries, 16);
    ceiling = MIN(ceiling, (uint64_t)conf->retry.backoff_max_ms);
    return ceiling ? rng_below(&p->x->worker->rng, (uint32_t)ceiling + 1) : 0;
}

void attempt_retry(struct proxying *p, uint64_t delay_ms)
{
    if (request_rewind(p) < 0) {
        exchange_fail(p->x, ERR_MEMORY, SLICE_EMPTY);
        return;
    }
    if (delay_ms == 0) {
        attempt_open(p);
        return;
    }
    p->retry_at_ms = p->x->worker->loop.now_ms + delay_ms;
    exchange_set_alarm(p->x, p->retry_at_ms);
}

void attempt_failed(struct proxying *p, enum err err)
{
    struct exchange *x = p->x;
    bool repeatable = may_repeat(p, err);
    bool stale = err == ERR_UPSTREAM_REFUSED ||
                 (p->try.stream && p->try.stream->reused && (is_broken_off(err) || err == ERR_UPSTREAM_UNSENT));
    if (!stale && p->try.target)
        tried_add(&p->tried, p->try.target);
    bool replaced = repeatable && stale && p->stale_tries < STALE_TRIES_MAX;
    attempt_close(p, replaced ? ERR_CANCELLED : err); /* it is no failure of the target's */
    if (replaced) {
        p->insist_fresh = ++p->stale_tries == STALE_TRIES_MAX;
        x->record.tries--;
        attempt_retry(p, 0);
        return;
    }
    if (repeatable && attempt_has_tries_left(p) && upstream_retry_begin(p->proxy->upstream)) {
        p->in_budget = true;
        uint64_t delay = attempt_backoff_ms(p);
        x->record.retries++;
        attempt_retry(p, delay);
        return;
    }
    exchange_fail(x, err, SLICE_EMPTY);
}
