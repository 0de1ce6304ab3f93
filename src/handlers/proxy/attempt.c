/*
 * One try: a stream to a service with its events, its times, and its opening and closing.  Events only leave bits;
 * proxy.c looks at them in the exchange's own turn.
 *
 * An attempt is idle, waits (for its back-off to pass, or for a permit), or is open.  All attempts of an exchange share
 * the request's head, its replay and one alarm, which is set for the nearest of all their times.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "exchange/worker.h"
#include "handlers/proxy/proxy.h"

/* ---- events of the service's stream: bits only ---- */

static void leave(struct stream *stream, enum attempt_event event)
{
    struct attempt *a = stream->user;
    a->events |= event;
    exchange_wake(a->p->x);
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
    struct attempt *a = stream->user;
    if (!a->p->body_end_taken)
        leave(stream, ATTEMPT_WRITTEN);
}

static void up_on_sent(struct stream *stream)
{
    leave(stream, ATTEMPT_SENT);
}

static void up_on_interim(struct stream *stream, const struct message *head)
{
    struct attempt *a = stream->user;
    struct interim *interim = arena_alloc(a->p->x->arena, sizeof(*interim));
    if (!interim)
        return; /* an interim answer is only a hint */
    *interim = (struct interim){ NULL, head };
    *a->interims_end = interim;
    a->interims_end = &interim->next;
    exchange_wake(a->p->x);
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

static void attempt_send(struct attempt *a)
{
    struct proxying *p = a->p;
    struct exchange *x = p->x;
    struct stream *up = a->try.stream;
    bool end = without_body(&p->head);
    if (p->names_target)
        p->head.authority = target_authority(a->try.target);
    up->quiet_ok = call_may_be_quiet(p);
    int rc = stream_send_head(up, &p->head, end);
    if (rc < 0) {
        attempt_failed(a, unsent_because((enum err) - rc));
        return;
    }
    x->down->splice_in_ok = up->splices && !p->replayable && exchange_body_passes(x, DIR_REQUEST);
    if (end) {
        p->body_end_taken = true;
        request_await_response(a);
    } else {
        if (p->head.expect_continue) /* the client waits for the service's word before it goes on */
            request_await_response(a);
        request_send(a);
    }
}

/* A copy: names may resolve anew meanwhile, and the record outlives the hold on the target. */
static const char *name_for_log(struct exchange *x, const struct target *target)
{
    if (!x->worker->access_log)
        return NULL;
    return arena_copy(x->arena, slice_make(target->name, strlen(target->name) + 1)).at;
}

/* In all, over all attempts. */
static void note_wait(struct attempt *a)
{
    a->p->x->record.queue_ns += a->wait.waited_ns;
    a->wait.waited_ns = 0;
}

static void wait_on_turn(struct upstream_wait *wait)
{
    attempt_called(container_of(wait, struct attempt, wait));
}

void attempt_init(struct attempt *a, struct proxying *p)
{
    a->wait.on_turn = wait_on_turn;
    a->p = p;
    a->interims_end = &a->interims;
    pipe_init(&a->feed, &p->x->worker->memory, UINT32_MAX);
}

static void attempt_enter(struct attempt *a, enum attempt_state state)
{
    a->p->under_way = (uint8_t)(a->p->under_way - (a->state != ATTEMPT_IDLE) + (state != ATTEMPT_IDLE));
    a->state = (uint8_t)state;
}

void attempt_open(struct attempt *a)
{
    struct proxying *p = a->p;
    struct exchange *x = p->x;
    ENSURE(a->state != ATTEMPT_OPEN && !p->winner);
    x->record.try_start_ns = x->worker->loop.now_ns;
    x->record.reused_up = false;
    a->events = 0;
    int rc = call_prepare(p);
    if (rc == 0)
        rc = deadline_tell(p);
    if (rc < 0) {
        exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
        return;
    }
    struct tried beside;
    const struct tried *tried = &p->tried;
    if (a->hedge) {
        beside = hedge_tried(p);
        tried = &beside;
    }
    const struct upstream_wish wish = { .key = p->key,
                                        .sticky = p->session,
                                        .tried = tried,
                                        .down = x->down,
                                        .fresh = p->insist_fresh,
                                        .wait = a->hedge ? NULL : &a->wait, /* a hedge is not worth a wait */
                                        .untried = a->hedge };
    rc = upstream_open(p->proxy->upstream, x->worker->index, &wish, x->arena, &up_events, a, &a->try);
    note_wait(a);
    if (rc == UPSTREAM_WAITS) {
        attempt_enter(a, ATTEMPT_WAITING);
        return;
    }
    if (rc < 0 && !a->try.target) {
        attempt_not_possible(a, (enum err) - rc);
        return;
    }
    attempt_enter(a, ATTEMPT_OPEN);
    a->target = name_for_log(x, a->try.target);
    x->record.target = a->target;
    if (x->record.tries < UINT8_MAX)
        x->record.tries++;
    if (rc < 0) {
        attempt_failed(a, (enum err) - rc);
        return;
    }
    x->record.reused_up = a->try.stream->reused;
    int64_t per_try_ms = upstream_settings(p->proxy->upstream)->retry.per_try_ms;
    if (per_try_ms)
        a->try_by_ms = x->worker->loop.now_ms + (uint64_t)per_try_ms;
    attempt_send(a);
    if (per_try_ms && a->state == ATTEMPT_OPEN)
        attempts_set_alarm(p);
}

void attempt_not_possible(struct attempt *a, enum err err)
{
    attempt_close(a, ERR_CANCELLED);
    if (a->p->under_way == 0) /* else the others go on */
        fallback_or_fail(a, err);
}

void attempt_begin_later(struct attempt *a, uint64_t delay_ms)
{
    if (delay_ms == 0) {
        attempt_open(a);
        return;
    }
    attempt_enter(a, ATTEMPT_BACKOFF);
    a->opens_at_ms = a->p->x->worker->loop.now_ms + delay_ms;
    attempts_set_alarm(a->p);
}

void attempt_called(struct attempt *a)
{
    a->events |= ATTEMPT_TURN;
    exchange_wake(a->p->x);
}

void attempt_close(struct attempt *a, enum err err)
{
    bool begun = a->state == ATTEMPT_OPEN || a->state == ATTEMPT_WAITING;
    attempt_enter(a, ATTEMPT_IDLE);
    a->events = 0;
    a->answer_by_ms = 0;
    a->try_by_ms = 0;
    a->opens_at_ms = 0;
    if (a->in_budget)
        upstream_retry_end(a->p->proxy->upstream);
    a->in_budget = false;
    upstream_wait_leave(&a->wait);
    note_wait(a);
    if (begun)
        upstream_close(&a->try, err);
}

void attempts_close(struct proxying *p, enum err err)
{
    p->hedge_at_ms = 0;
    for (struct attempt *a = &p->first; a; a = a->next)
        attempt_close(a, err);
}

/* ---- times ---- */

static void take_nearer(uint64_t *at_ms, uint64_t other_ms)
{
    if (other_ms && (!*at_ms || other_ms < *at_ms))
        *at_ms = other_ms;
}

void attempts_set_alarm(struct proxying *p)
{
    uint64_t at_ms = p->hedge_at_ms;
    for (struct attempt *a = &p->first; a; a = a->next) {
        take_nearer(&at_ms, a->answer_by_ms);
        take_nearer(&at_ms, a->try_by_ms);
        take_nearer(&at_ms, a->opens_at_ms);
    }
    p->next_ms = at_ms;
    exchange_set_alarm(p->x, at_ms);
}

static bool is_due(const struct attempt *a, uint64_t at_ms)
{
    return at_ms && a->p->x->worker->loop.now_ms >= at_ms;
}

void attempts_look_at_times(struct proxying *p)
{
    for (struct attempt *a = &p->first; a; a = a->next) {
        if (is_due(a, a->opens_at_ms)) {
            a->opens_at_ms = 0;
            attempt_open(a);
        } else if (is_due(a, a->try_by_ms)) {
            attempt_failed(a, ERR_TRY_TIMEOUT);
        } else if (is_due(a, a->answer_by_ms)) {
            a->answer_by_ms = 0;
            attempt_failed(a, ERR_RESPONSE_TIMEOUT);
        }
        if (p->x->ended || p->x->handler_over)
            return;
    }
    if (is_due(&p->first, p->hedge_at_ms))
        hedge_begin(p);
    if (p->x->ended || p->x->handler_over)
        return;
    attempts_set_alarm(p); /* times that were given up may have been the nearest */
}
