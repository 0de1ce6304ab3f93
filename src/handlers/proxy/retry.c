/*
 * Which failure may be tried again (RFC 9110 9.2.2):
 *
 *      the request surely was not processed (connect failed, closed before a byte went out)      any method
 *      the connection broke before an answer, or `per_try_timeout` is over                idempotent methods
 *      that or no answer in time, where `retry.on` lists it                                    as it says
 *      an answer whose status the upstream's `retry.on` lists (answer.c)                       as it says
 *      anything after an accepted head, or with more body gone than the replay holds                  never
 *
 * A connection from the pool that the service had closed meanwhile says nothing about the service, and nor does a
 * stream that it refuses (it has enough of them, or is about to go): they are replaced at once, cost no try and no
 * budget.  Real retries go to another target, after a back-off with full jitter, within `retry.attempts` and the
 * upstream's budget.
 */
#include "base/assert.h"
#include "exchange/worker.h"
#include "handlers/proxy/proxy.h"
#include "upstream/hedge.h"

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
    if (p->x->request->upgrade.len > 0)
        return false;
    const struct retry_set *set = &upstream_settings(p->proxy->upstream)->retry.set;
    bool late = err == ERR_TRY_TIMEOUT || err == ERR_RESPONSE_TIMEOUT;
    bool listed = (is_broken_off(err) && set->resets) || (late && set->timeouts);
    bool usual = is_broken_off(err) || err == ERR_TRY_TIMEOUT;
    return method_is_idempotent(p->x->request->method) ? usual || listed : listed && set->non_idempotent;
}

/* Of a connection that lives nobody can say that it had been closed. */
static bool has_gone_stale(const struct stream *stream)
{
    return stream && stream->reused && !stream->reset_alone;
}

/* Of the upstream that serves now. */
static unsigned retries_here(const struct proxying *p)
{
    return (unsigned)p->x->record.retries - p->retries_elsewhere;
}

bool retry_is_left(const struct proxying *p)
{
    const struct upstream_conf *conf = upstream_settings(p->proxy->upstream);
    return retries_here(p) + 1 < (uint64_t)conf->retry.attempts;
}

uint64_t retry_backoff_ms(struct proxying *p)
{
    const struct upstream_conf *conf = upstream_settings(p->proxy->upstream);
    uint64_t ceiling = (uint64_t)conf->retry.backoff_ms << MIN(retries_here(p), 16u);
    ceiling = MIN(ceiling, (uint64_t)conf->retry.backoff_max_ms);
    return ceiling ? rng_below(&p->x->worker->rng, (uint32_t)ceiling + 1) : 0;
}

void attempt_repeat(struct attempt *a, uint64_t delay_ms)
{
    a->p->hedge_at_ms = 0; /* of a try that is over */
    if (request_rewind(a) < 0) {
        exchange_fail(a->p->x, ERR_MEMORY, SLICE_EMPTY);
        return;
    }
    attempt_begin_later(a, delay_ms);
}

void retry_begin(struct attempt *a, uint64_t delay_ms)
{
    a->in_budget = true;
    a->hedge = false;
    a->p->x->record.retries++;
    attempt_repeat(a, delay_ms);
}

void attempt_failed(struct attempt *a, enum err err)
{
    struct proxying *p = a->p;
    struct exchange *x = p->x;
    bool repeatable = may_repeat(p, err);
    bool stale = err == ERR_UPSTREAM_REFUSED ||
                 (has_gone_stale(a->try.stream) && (is_broken_off(err) || err == ERR_UPSTREAM_UNSENT));
    bool refused_again = err == ERR_UPSTREAM_REFUSED && p->stale_tries > 0; /* it is not that one connection */
    if ((!stale || refused_again) && a->try.target)
        tried_add(&p->tried, a->try.target);
    bool replaced = repeatable && stale && p->stale_tries < STALE_TRIES_MAX;
    if (err == ERR_TRY_TIMEOUT || err == ERR_RESPONSE_TIMEOUT)
        upstream_note_head_time(&a->try);
    bool in_budget = a->in_budget && replaced;
    if (in_budget)
        a->in_budget = false;                         /* it stays there */
    attempt_close(a, replaced ? ERR_CANCELLED : err); /* it is no failure of the target's */
    if (replaced) {
        a->in_budget = in_budget;
        p->insist_fresh = ++p->stale_tries == STALE_TRIES_MAX;
        x->record.tries--;
        attempt_repeat(a, 0);
        return;
    }
    if (p->under_way > 0)
        return; /* the others go on */
    if (repeatable && retry_is_left(p) && upstream_retry_begin(p->proxy->upstream)) {
        retry_begin(a, retry_backoff_ms(p));
        return;
    }
    fallback_or_fail(a, err);
}
