/*
 * Hedging: when the answer to a request that is wholly out takes longer than `hedge.after`, another target is asked as
 * well, and the first acceptable answer wins.
 *
 * Only what may be done twice is hedged, and only what can be sent again whole. A hedge counts in the retry budget, so
 * that a service which is slow as a whole gets little more than its usual load. While several tries are open one that
 * fails, or whose answer `retry.on` lists, only loses; the last one that is open decides. Losers are reset at once, and
 * that is no failure of theirs.
 */
#include "upstream/hedge.h"
#include "base/assert.h"
#include "exchange/worker.h"
#include "handlers/proxy/proxy.h"

/* A session belongs to its target: there is no other to ask. */
static bool may_be_doubled(const struct proxying *p, const struct hedge_conf *hedge)
{
    const struct message *m = p->x->request;
    if (m->upgrade.len > 0 || m->method == METHOD_CONNECT || p->head.expect_continue || p->session != 0)
        return false;
    return hedge->non_idempotent || method_is_idempotent(m->method);
}

static bool is_wholly_kept(const struct proxying *p)
{
    return p->body_end_taken && !p->body_lost && (p->head.body_length == BODY_NONE || p->replayable);
}

void hedge_plan(struct proxying *p)
{
    const struct hedge_conf *hedge = upstream_settings(p->proxy->upstream)->hedge;
    p->hedge_at_ms = 0;
    if (!hedge || p->hedges >= hedge->max || !may_be_doubled(p, hedge) || !is_wholly_kept(p))
        return;
    uint64_t after_ms = upstream_hedge_after_ms(p->proxy->upstream, p->x->worker->index);
    if (after_ms > 0)
        p->hedge_at_ms = p->x->worker->loop.now_ms + after_ms;
}

/* An idle attempt; NULL without memory. */
static struct attempt *idle_attempt(struct proxying *p)
{
    struct attempt **at = &p->first.next;
    if (p->first.state == ATTEMPT_IDLE)
        return &p->first;
    while (*at && (*at)->state != ATTEMPT_IDLE)
        at = &(*at)->next;
    if (!*at) {
        *at = arena_zalloc(p->x->arena, sizeof(**at));
        if (*at)
            attempt_init(*at, p);
    }
    return *at;
}

void hedge_begin(struct proxying *p)
{
    ENSURE(!p->winner);
    p->hedge_at_ms = 0;
    struct attempt *a = idle_attempt(p);
    if (!a || !upstream_hedge_begin(p->proxy->upstream))
        return;
    a->in_budget = true;
    a->hedge = true;
    p->hedges++;
    if (request_rewind(a) < 0) { /* the others go on without it */
        attempt_close(a, ERR_CANCELLED);
        return;
    }
    unsigned tries = p->x->record.tries;
    attempt_open(a);
    if (p->x->record.tries > tries) {
        upstream_hedge_sent(p->proxy->upstream);
        p->x->record.hedges++;
    }
}

/* Targets that failed, and those that have not answered yet. */
struct tried hedge_tried(const struct proxying *p)
{
    struct tried tried = p->tried;
    for (const struct attempt *a = &p->first; a; a = a->next)
        if (a->state == ATTEMPT_OPEN && a->try.target)
            tried_add(&tried, a->try.target);
    return tried;
}

void hedge_decide(struct attempt *winner)
{
    struct proxying *p = winner->p;
    struct record *record = &p->x->record;
    for (struct attempt *a = &p->first; a; a = a->next) {
        if (a == winner)
            continue;
        if (a->state == ATTEMPT_OPEN)
            upstream_note_head_time(&a->try);
        attempt_close(a, ERR_CANCELLED);
    }
    p->hedge_at_ms = 0;
    record->try_start_ns = winner->try.started_ns;
    record->reused_up = winner->try.stream->reused;
    record->target = winner->target;
    record->hedge_won = winner->hedge;
    if (winner->hedge)
        upstream_hedge_won(p->proxy->upstream);
}
