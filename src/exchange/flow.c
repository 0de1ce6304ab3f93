/*
 * Bodies.  Without a policy that asked for it, a body goes from the source pipe straight to its end; else through one
 * stage a policy, in the order the bytes flow:
 *
 *      source -> [stage.out] -> [stage.out] -> sink
 *
 * A STREAM stage's on_body moves what it can; a WHOLE stage gathers everything, gives it to on_body once, and lets its
 * cursor go on.  Room goes backwards by itself: a stage whose out is full takes nothing, so the source fills and its
 * codec stops reading.
 */
#include "exchange/spine.h"

#include "base/memory.h"
#include "exchange/grpc.h"
#include "exchange/tunnel.h"

int flow_add_stage(struct exchange *x, enum direction direction, unsigned policy)
{
    struct stage *stage = arena_zalloc(x->arena, sizeof(*stage));
    if (!stage)
        return -ERR_MEMORY;
    stage->policy = (uint8_t)policy;
    stage->need = x->want;
    stage->bytes_max = x->want_max ? x->want_max : WHOLE_BYTES_DEFAULT;
    bool whole = stage->need == BODY_WHOLE;
    pipe_init(&stage->gathered, &x->worker->memory, UINT32_MAX);
    pipe_init(&stage->out, &x->worker->memory, whole ? UINT32_MAX : PIPE_ROOM_DEFAULT);
    struct stage **at = &x->stages[direction];
    while (*at)
        at = &(*at)->next;
    *at = stage;
    if (direction == DIR_REQUEST) {
        x->body = &stage->out;
        x->down->splice_in_ok = false;
        if (whole && x->request->expect_continue) {
            /* We must read it first, so the 100 is ours, once, and the service is not asked again. */
            const struct message proceed = { .version = HTTP_1_1, .status = 100, .body_length = BODY_NONE };
            x->request->expect_continue = false;
            exchange_interim(x, &proceed);
        }
    }
    return 0;
}

void flow_drop_stages(struct exchange *x, enum direction direction)
{
    for (struct stage *s = x->stages[direction]; s; s = s->next) {
        pipe_done(&s->gathered);
        pipe_done(&s->out);
    }
    x->stages[direction] = NULL;
    if (direction == DIR_REQUEST)
        x->body = &x->down->in;
}

static bool reply_stops(struct exchange *x, enum verdict verdict, struct stage *stage)
{
    if (verdict == WAIT)
        stage->waiting = true;
    return verdict == REPLIED || x->ended;
}

static enum verdict call_body(struct exchange *x, enum direction direction, struct stage *stage, struct pipe *in)
{
    const struct plan_policy *p = &x->plan->policies[stage->policy];
    x->acting = stage->policy;
    if (!p->type->on_body[direction]) { /* it only wanted to wait for it */
        pipe_move(in, &stage->out, SIZE_MAX);
        if (pipe_drained(in))
            pipe_finish(&stage->out, in->trailers);
        return NEXT;
    }
    return p->type->on_body[direction](x, x->states[stage->policy], p->data, in, &stage->out);
}

static enum err whole_limit_error(enum direction direction)
{
    return direction == DIR_REQUEST ? ERR_BODY_TOO_LARGE : ERR_UPSTREAM_BODY_TOO_LARGE;
}

/* Returns false when nothing behind this stage may run now. */
static bool run_whole(struct exchange *x, enum direction direction, struct stage *stage, struct pipe *in)
{
    if (stage->done)
        return true;
    if (stage->waiting)
        return false;
    if (stage->gathered.end == PIPE_OPEN) {
        pipe_move(in, &stage->gathered, SIZE_MAX);
        if (in->bytes > 0) { /* what is left found no memory: an end behind it would hide the gap */
            answer_error(x, ERR_MEMORY);
            return false;
        }
        if (stage->gathered.bytes > stage->bytes_max) {
            answer_error(x, whole_limit_error(direction));
            return false;
        }
        if (in->end == PIPE_CUT) {
            answer_error(x, in->err);
            return false;
        }
        if (in->end != PIPE_ENDED)
            return false;
        pipe_finish(&stage->gathered, in->trailers);
    }
    enum verdict verdict = call_body(x, direction, stage, &stage->gathered);
    if (reply_stops(x, verdict, stage) || verdict == WAIT)
        return false;
    ENSURE(stage->out.end == PIPE_ENDED);
    stage->done = true;
    x->cursor[direction].phase = CURSOR_HEADS;
    return true;
}

static bool run_stream(struct exchange *x, enum direction direction, struct stage *stage, struct pipe *in)
{
    if (stage->out.end != PIPE_OPEN || stage->waiting)
        return true;
    if (in->bytes > 0 || in->end == PIPE_ENDED) {
        enum verdict verdict = call_body(x, direction, stage, in);
        if (reply_stops(x, verdict, stage))
            return false;
    }
    if (in->end == PIPE_CUT && in->bytes == 0 && stage->out.end == PIPE_OPEN)
        pipe_cut(&stage->out, in->err);
    return true;
}

/* Runs the stages of a direction. Returns the pipe at the end of them, or NULL when a hook answered, failed, or waits
 * for more. */
static struct pipe *run_stages(struct exchange *x, enum direction direction, struct pipe *source)
{
    struct pipe *in = source;
    for (struct stage *s = x->stages[direction]; s; s = s->next) {
        bool go_on = s->need == BODY_WHOLE ? run_whole(x, direction, s, in) : run_stream(x, direction, s, in);
        if (!go_on)
            return NULL;
        in = &s->out;
    }
    return in;
}

/* The same, and the heads behind a body that has been read whole: they may add stages, which have not seen it yet. */
static struct pipe *run_body(struct exchange *x, enum direction direction, struct pipe *source)
{
    const struct cursor *c = &x->cursor[direction];
    for (;;) {
        struct pipe *body = run_stages(x, direction, source);
        if (x->ended || c->phase != CURSOR_HEADS || c->waiting)
            return x->ended ? NULL : body;
        if (direction == DIR_REQUEST)
            heads_request(x);
        else
            heads_response(x);
        if (x->ended || (direction == DIR_RESPONSE && x->source != source))
            return NULL; /* a hook put another answer in its place: the next round sends it */
    }
}

/* ---- the request's ---- */

struct pipe *exchange_body(struct exchange *x)
{
    return x->body;
}

/* May another round bring more? Of a tunnel that closes only what waits in the source: `body` has an end of its own. */
static bool more_may_come(const struct exchange *x)
{
    if (tunnel_closes(x))
        return x->down->in.bytes > 0;
    return x->down->in.end == PIPE_OPEN || x->stages[DIR_REQUEST];
}

void exchange_body_taken(struct exchange *x)
{
    if (more_may_come(x)) {
        x->body_taken = true;
        x->events |= EVENT_REQUEST_BODY;
    }
}

static bool may_take_body(const struct plan_policy *policy, enum direction direction)
{
    const struct policy_type *type = policy->type;
    return type->need[direction] != BODY_PASS && (!type->takes_body || type->takes_body(policy->data, direction));
}

bool exchange_body_passes(const struct exchange *x, enum direction direction)
{
    if (x->stages[direction])
        return false;
    if (direction == DIR_RESPONSE)
        for (unsigned i = 0; i < exchange_policy_count(x); i++)
            if (may_take_body(&x->plan->policies[i], DIR_RESPONSE))
                return false;
    return true;
}

void exchange_stop_request(struct exchange *x)
{
    if (x->request_stopped)
        return;
    x->request_stopped = true;
    if (x->down->in.end == PIPE_OPEN && x->down->ops->stop_reading)
        x->down->ops->stop_reading(x->down);
}

/* The client broke off or broke the rules in the middle of its body. */
static void request_cut(struct exchange *x, enum err err)
{
    if (x->request_stopped)
        return; /* nobody waits for it any more */
    if (x->head_down || err_info(err)->status == 499) {
        exchange_cancel_handler(x);
        exchange_abort(x, err);
        return;
    }
    answer_error(x, err);
}

static bool request_too_large(struct exchange *x)
{
    if (!x->plan || x->plan->body_bytes_max <= 0 || x->tunnel || x->request_stopped)
        return false;
    if (x->down->in.total <= (uint64_t)x->plan->body_bytes_max)
        return false;
    answer_error(x, ERR_BODY_TOO_LARGE);
    return true;
}

/* A client's trailers come behind what policies have written into the head; a service may join the two. */
void flow_disclaim_trailers(struct exchange *x)
{
    struct fields *trailers = x->down->in.trailers;
    for (unsigned i = 0; trailers && i < exchange_policy_count(x); i++) {
        const struct plan_policy *p = &x->plan->policies[i];
        if (p->type->disclaim)
            p->type->disclaim(p->data, trailers);
    }
}

void flow_request(struct exchange *x)
{
    struct stream *down = x->down;
    struct pipe *in = &down->in;
    flow_disclaim_trailers(x);
    if (in->end == PIPE_ENDED && x->record.request_end_ns == 0)
        x->record.request_end_ns = x->worker->loop.now_ns;
    if (in->end == PIPE_CUT && !x->tunnel) {
        request_cut(x, in->err);
        return;
    }
    if (x->request_stopped && !x->handler_started)
        return;
    if (request_too_large(x))
        return;
    uint32_t before = in->bytes;
    struct pipe *body = run_body(x, DIR_REQUEST, in);
    if (x->ended)
        return;
    if (x->tunnel && body)
        body = tunnel_pass(x, DIR_REQUEST, body);
    if (body && x->handler_started && !x->handler_over && !x->ended && (body->bytes > 0 || body->end != PIPE_OPEN)) {
        x->acting = (uint8_t)exchange_policy_count(x);
        if (x->plan->handler->on_request_body)
            x->plan->handler->on_request_body(x, x->handler_state);
    }
    if (!x->ended && in->end == PIPE_OPEN && (in->bytes < before || x->body_taken))
        stream_read_more(down);
    x->body_taken = false;
}

/* ---- the response's ---- */

static void response_cut(struct exchange *x, enum err err)
{
    if (x->record.err == ERR_NONE)
        x->record.err = (uint8_t)err;
    x->source_cut = true;
}

void flow_response(struct exchange *x)
{
    if (!x->responded || !x->source)
        return;
    struct pipe *source = x->source;
    uint32_t before = source->bytes;
    struct pipe *body = run_body(x, DIR_RESPONSE, source);
    if (x->ended || x->source != source)
        return;
    if (x->tunnel && body)
        body = tunnel_pass(x, DIR_RESPONSE, body);
    if (body && x->head_down && !x->down->end_sent && !x->source_cut && (body->bytes > 0 || body->end != PIPE_OPEN)) {
        uint32_t waiting = body->bytes;
        enum sent sent = stream_send_body(x->down, body);
        x->record.bytes_out += waiting - body->bytes;
        if (body != source && body->bytes < waiting)
            x->events |= EVENT_RESPONSE_BODY; /* what stands between has room again, and no one else would tell them */
        if (sent == SENT && body->end == PIPE_CUT)
            response_cut(x, body->err);
        else if (x->grpc != GRPC_NONE && sent == SENT)
            grpc_note_status(x, source->trailers);
    }
    if (source->bytes < before && x->handler_started && !x->handler_over && source->end == PIPE_OPEN &&
        x->plan->handler->on_response_room && source != &x->local_body) {
        x->acting = (uint8_t)exchange_policy_count(x);
        x->plan->handler->on_response_room(x, x->handler_state);
    }
}
