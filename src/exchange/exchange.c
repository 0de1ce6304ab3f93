/*
 * The life of an exchange: events set bits and queue it, exchange_run takes the bits and advances what can be advanced,
 * and the end gives everything back once.
 *
 * Invariants: exchange_run is entered from the run queue alone and never nested; no hook is called after `ended`; when
 * an exchange ends no op is pending, no timer armed, no task queued; each started policy's on_done has run exactly
 * once.
 */
#include "exchange/spine.h"

#include "base/memory.h"
#include "exchange/grpc.h"
#include "exchange/tunnel.h"
#include "net/address.h"
#include "observe/access_log.h"
#include "observe/metrics.h"

enum { ROUNDS_MAX = 32 }; /* of exchange_run before the other exchanges get their turn */

/* ---- events ---- */

void exchange_raise(struct exchange *x, unsigned events)
{
    MAGIC_CHECK(x, EXCHANGE_MAGIC);
    x->events |= events;
    if (!x->in_run && !x->ended)
        loop_defer(&x->worker->loop, &x->run_task, PHASE_RUN);
}

static void down_on_body(struct stream *stream)
{
    exchange_raise(stream->user, EVENT_REQUEST_BODY);
}

static void down_on_room(struct stream *stream)
{
    exchange_raise(stream->user, EVENT_DOWN_ROOM);
}

static void down_on_reset(struct stream *stream)
{
    exchange_raise(stream->user, EVENT_DOWN_RESET);
}

static void down_on_sent(struct stream *stream)
{
    exchange_raise(stream->user, EVENT_DOWN_SENT);
}

static const struct stream_events down_events = {
    .on_body = down_on_body,
    .on_room = down_on_room,
    .on_reset = down_on_reset,
    .on_sent = down_on_sent,
};

static void on_op_request(struct op *op)
{
    exchange_raise(container_of(op, struct exchange, cursor[DIR_REQUEST].op), EVENT_RESUME_REQUEST);
}

static void on_op_response(struct op *op)
{
    exchange_raise(container_of(op, struct exchange, cursor[DIR_RESPONSE].op), EVENT_RESUME_RESPONSE);
}

static void on_timer(struct timer *timer)
{
    exchange_raise(container_of(timer, struct exchange, timer), EVENT_TIMER);
}

void exchange_wake(struct exchange *x)
{
    exchange_raise(x, EVENT_HANDLER);
}

void exchange_source_more(struct exchange *x)
{
    exchange_raise(x, EVENT_RESPONSE_BODY);
}

void exchange_body_again(struct exchange *x, enum direction direction)
{
    exchange_raise(x, direction == DIR_REQUEST ? EVENT_REQUEST_BODY : EVENT_RESPONSE_BODY);
}

struct op *exchange_op(struct exchange *x, enum direction direction)
{
    ENSURE(!x->cursor[direction].op.pending);
    return &x->cursor[direction].op;
}

/* ---- the timer ---- */

void exchange_arm(struct exchange *x)
{
    uint64_t at = x->deadline_ms;
    if (x->alarm_ms && (!at || x->alarm_ms < at))
        at = x->alarm_ms;
    if (at)
        timer_at_most(&x->worker->loop, &x->timer, at);
}

void exchange_set_alarm(struct exchange *x, uint64_t at_ms)
{
    x->alarm_ms = at_ms;
    if (at_ms)
        exchange_arm(x);
}

/* ---- begin ---- */

static void record_begin(struct exchange *x)
{
    struct record *r = &x->record;
    const struct message *m = x->request;
    const struct loop *loop = &x->worker->loop;
    r->wall_start_ns = loop->wall_ns;
    r->start_ns = loop->now_ns;
    r->peer = x->down->peer;
    r->facts = x->down->facts;
    r->version = m->version;
    r->method = m->method_name;
    r->scheme = m->scheme;
    r->authority = m->authority;
    r->path = m->path;
    r->query = m->query;
    r->route = x->plan ? x->plan->route : "";
    if (x->worker->access_log) {
        const struct field *agent = fields_find(&m->fields, FIELD_USER_AGENT);
        const struct field *referer = fields_find(&m->fields, FIELD_REFERER);
        if (agent)
            r->user_agent = agent->value;
        if (referer)
            r->referer = referer->value;
    }
}

static void exchange_run(struct task *task);

static void free_arena(struct task *task)
{
    struct stream *stream = container_of(task, struct stream, reclaim);
    arena_free(stream->arena);
}

static void release_down(struct worker *worker, struct stream *down)
{
    down->ops->release(down);
    task_init(&down->reclaim, free_arena);
    loop_defer(&worker->loop, &down->reclaim, PHASE_RECLAIM);
}

int exchange_begin(struct worker *worker, struct stream *down, struct plan *plan, enum err err, struct exchange **ret_x)
{
    ENSURE(down->head != NULL && down->arena != NULL);
    struct exchange *x = arena_zalloc(down->arena, sizeof(*x));
    unsigned policies = plan ? plan->policy_count : 0;
    void **states = x && policies ? arena_zalloc(down->arena, policies * sizeof(*states)) : NULL;
    if (!x || (policies && !states)) {
        down->events = &down_events;
        stream_reset(down, ERR_MEMORY);
        release_down(worker, down);
        return -ERR_MEMORY;
    }
    x->magic = EXCHANGE_MAGIC;
    x->worker = worker;
    x->arena = down->arena;
    x->down = down;
    x->request = down->head;
    x->states = states;
    x->body = &down->in;
    x->record.err = (uint8_t)err;
    if (plan) {
        plan_pin(plan, worker);
        x->plan = plan;
    }
    down->user = x;
    down->events = &down_events;
    x->cursor[DIR_REQUEST].op.on_complete = on_op_request;
    x->cursor[DIR_RESPONSE].op.on_complete = on_op_response;
    list_init(&x->children);
    list_init(&x->sibling);
    timer_init(&x->timer, on_timer);
    task_init(&x->run_task, exchange_run);
    pipe_init(&x->local_body, &worker->memory, UINT32_MAX);
    list_push_back(&worker->exchanges, &x->link);
    worker->exchange_count++;
    record_begin(x);
    grpc_recognise(x);
    exchange_raise(x, EVENT_BEGIN);
    *ret_x = x;
    return 0;
}

static void begin(struct exchange *x)
{
    enum err err = x->record.err;
    x->acting = (uint8_t)exchange_policy_count(x);
    if (err != ERR_NONE) {
        exchange_fail(x, err, SLICE_EMPTY);
        return;
    }
    if (!x->plan && x->request->target_form == TARGET_ASTERISK) {
        /* OPTIONS *: about the server as a whole (RFC 9110 9.3.7); we are it. */
        if (exchange_reply(x, 204, SLICE_EMPTY, SLICE_EMPTY) < 0)
            exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
        return;
    }
    if (!x->plan) {
        exchange_fail(x, ERR_NO_ROUTE, SLICE_EMPTY);
        return;
    }
    const struct plan *plan = x->plan;
    /* A body that no one will want to hold is refused before a policy spends anything on it. */
    if (plan->body_bytes_max > 0 && x->request->body_length > plan->body_bytes_max) {
        exchange_fail(x, ERR_BODY_TOO_LARGE, SLICE_EMPTY);
        return;
    }
    if (plan->exchange_timeout_ms > 0) {
        x->deadline_ms = x->worker->loop.now_ms + (uint64_t)plan->exchange_timeout_ms;
        exchange_arm(x);
    }
    if (x->grpc != GRPC_NONE) {
        err = grpc_read_timeout(x);
        if (err != ERR_NONE) {
            exchange_fail(x, err, SLICE_EMPTY);
            return;
        }
        exchange_arm(x);
    }
    x->cursor[DIR_REQUEST].phase = CURSOR_HEADS;
}

/* ---- the end ---- */

void exchange_cancel_handler(struct exchange *x)
{
    if (!x->handler_started || x->handler_over)
        return;
    x->handler_over = true;
    if (x->plan->handler->cancel)
        x->plan->handler->cancel(x, x->handler_state);
}

void exchange_abort(struct exchange *x, enum err err)
{
    if (x->record.err == ERR_NONE)
        x->record.err = (uint8_t)err;
    stream_reset(x->down, err);
    x->ended = true;
}

static void observe_end(struct exchange *x)
{
    struct record *r = &x->record;
    r->end_ns = x->worker->loop.now_ns;
    r->bytes_in = x->down->in.total;
    r->tunnel = x->tunnel;
    unsigned index = x->worker->index;
    metric_cell **requests = x->plan ? x->plan->requests : x->worker->unrouted;
    if (requests)
        place_add(requests[r->status / 100 % STATUS_CLASSES], index, 1);
    if (x->plan && !x->tunnel) /* how long one stays open says nothing of how fast answers come */
        place_observe_us(x->plan->latency, index, (r->end_ns - r->start_ns) / 1000);
    if (r->grpc)
        grpc_count(x);
    if (r->err != ERR_NONE && x->worker->errors)
        series_add(x->worker->errors[r->err], index, 1);
    if (x->worker->access_log)
        access_log_write(x->worker->access_log, x->worker->index, r);
}

static void finish(struct exchange *x);

/* At once: what a child has borrowed from this exchange's arena is given back before that goes. */
static void end_children(struct exchange *x)
{
    struct link *link;
    while ((link = list_pop_front(&x->children)) != NULL) {
        struct exchange *child = container_of(link, struct exchange, sibling);
        ENSURE(!child->in_run);
        child->parent = NULL;
        exchange_abort(child, ERR_CANCELLED);
        finish(child);
    }
    if (x->parent)
        list_unlink(&x->sibling);
}

/* Everything that was begun is ended, once, in reverse. The memory goes at the end of the turn. */
static void finish(struct exchange *x)
{
    struct worker *worker = x->worker;
    op_cancel(&x->cursor[DIR_REQUEST].op);
    op_cancel(&x->cursor[DIR_RESPONSE].op);
    timer_clear(&worker->loop, &x->timer);
    task_cancel(&x->run_task);
    end_children(x);
    if (x->handler_started) {
        if (!x->record.complete)
            exchange_cancel_handler(x);
        x->handler_over = true;
        if (x->plan->handler->on_done)
            x->plan->handler->on_done(x, x->handler_state);
    }
    tunnel_done(x);
    observe_end(x);
    while (x->started > 0) {
        unsigned i = --x->started;
        const struct plan_policy *p = &x->plan->policies[i];
        if (p->type->on_done)
            p->type->on_done(x, x->states[i], p->data);
    }
    ENSURE(!x->cursor[DIR_REQUEST].op.pending && !x->cursor[DIR_RESPONSE].op.pending);
    flow_drop_stages(x, DIR_REQUEST);
    flow_drop_stages(x, DIR_RESPONSE);
    pipe_done(&x->local_body);
    list_unlink(&x->link);
    worker->exchange_count--;
    if (x->plan)
        plan_unpin(x->plan, worker);
    x->magic = 0;
    release_down(worker, x->down);
}

void exchange_cancel(struct exchange *x, enum err err)
{
    if (x->record.err == ERR_NONE)
        x->record.err = (uint8_t)err;
    exchange_raise(x, EVENT_CANCEL);
}

/* ---- run ---- */

static void timer_fired(struct exchange *x)
{
    uint64_t now = x->worker->loop.now_ms;
    if (x->deadline_ms && now >= x->deadline_ms) {
        x->deadline_ms = 0;
        if (x->tunnel)
            tunnel_due(x);
        else
            answer_error(x, x->deadline_client ? ERR_DEADLINE_EXCEEDED : ERR_EXCHANGE_TIMEOUT);
        return;
    }
    if (x->alarm_ms && now >= x->alarm_ms) {
        x->alarm_ms = 0;
        x->events |= EVENT_HANDLER;
    }
    exchange_arm(x);
}

/* A tunnel is over when both directions are; a plain exchange when its answer is out. */
static bool is_over(const struct exchange *x)
{
    if (!x->record.complete || !x->tunnel)
        return x->record.complete;
    return x->request_sent && (tunnel_closes(x) ? tunnel_answered(x) : pipe_drained(&x->down->in));
}

static void resume(struct exchange *x, enum direction direction)
{
    x->cursor[direction].waiting = false;
    for (struct stage *s = x->stages[direction]; s; s = s->next)
        s->waiting = false;
}

/* What can move a direction on; everything else leaves it alone. */
enum {
    REQUEST_EVENTS = EVENT_BEGIN | EVENT_RESUME_REQUEST | EVENT_REQUEST_BODY,
    RESPONSE_EVENTS = EVENT_RESUME_RESPONSE | EVENT_RESPONSE_BODY | EVENT_DOWN_ROOM,
    TUNNEL_EVENTS = EVENT_REQUEST_BODY | EVENT_RESPONSE_BODY | EVENT_DOWN_ROOM, /* bytes came, or went */
};

static void step_request(struct exchange *x)
{
    heads_request(x);
    if (!x->ended)
        flow_request(x);
}

static void step_handler(struct exchange *x)
{
    if (x->ended || !x->handler_started || x->handler_over || !x->plan->handler->on_wake)
        return;
    x->acting = (uint8_t)exchange_policy_count(x);
    x->plan->handler->on_wake(x, x->handler_state);
}

static void step_response(struct exchange *x)
{
    x->events &= ~(unsigned)RESPONSE_EVENTS; /* what was answered in this very step goes out with it */
    heads_response(x);
    if (!x->ended)
        flow_response(x);
}

static void down_sent(struct exchange *x)
{
    x->record.complete = !x->source_cut;
    if (x->source_cut)
        x->ended = true;
}

static void step(struct exchange *x, unsigned events)
{
    if (x->tunnel && (events & TUNNEL_EVENTS))
        tunnel_moved(x);
    if (events & EVENT_BEGIN)
        begin(x);
    if (events & EVENT_TIMER)
        timer_fired(x);
    if (events & EVENT_RESUME_REQUEST)
        resume(x, DIR_REQUEST);
    if (events & EVENT_RESUME_RESPONSE)
        resume(x, DIR_RESPONSE);
    if (!x->ended && (events & REQUEST_EVENTS))
        step_request(x);
    if (events & EVENT_HANDLER)
        step_handler(x);
    if (!x->ended && ((events | x->events) & RESPONSE_EVENTS))
        step_response(x);
    if (!x->ended && (events & EVENT_DOWN_SENT))
        down_sent(x);
    if (is_over(x))
        x->ended = true;
}

static void exchange_run(struct task *task)
{
    struct exchange *x = container_of(task, struct exchange, run_task);
    MAGIC_CHECK(x, EXCHANGE_MAGIC);
    ENSURE(!x->in_run && !x->ended);
    x->in_run = true;
    for (int round = 0; x->events && !x->ended && round < ROUNDS_MAX; round++) {
        unsigned events = x->events;
        x->events = 0;
        if (events & EVENT_DOWN_RESET) {
            if (x->record.err == ERR_NONE)
                x->record.err = x->down->err;
            x->ended = true;
        } else if (events & EVENT_CANCEL) {
            exchange_abort(x, ERR_CANCELLED);
        } else {
            step(x, events);
        }
    }
    x->in_run = false;
    if (x->ended)
        finish(x);
    else if (x->events)
        loop_defer(&x->worker->loop, &x->run_task, PHASE_RUN);
}
