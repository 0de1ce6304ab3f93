/*
 * The two cursors.  A request's heads run in the plan's order and end in the handler; a response's heads run in
 * reverse, from in front of whoever answered, and end in the head going down.  Resuming is running the loop again: the
 * same hook is called, its state says why.
 */
#include "exchange/spine.h"

#include "base/memory.h"

static void *policy_state(struct exchange *x, unsigned index)
{
    const struct policy_type *type = x->plan->policies[index].type;
    if (!x->states[index] && type->state_size)
        x->states[index] = arena_zalloc(x->arena, type->state_size);
    return x->states[index];
}

static enum verdict call_head(struct exchange *x, enum direction direction, unsigned index)
{
    const struct plan_policy *p = &x->plan->policies[index];
    x->acting = (uint8_t)index;
    x->want = BODY_PASS;
    x->want_max = 0;
    if (!p->type->on_head[direction])
        return NEXT;
    void *state = policy_state(x, index);
    if (p->type->state_size && !state) {
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
        return REPLIED;
    }
    return p->type->on_head[direction](x, state, p->data);
}

void exchange_want_body(struct exchange *x, enum direction direction, enum body_need need, uint64_t bytes_max)
{
    ENSURE(x->acting < exchange_policy_count(x));
    ENSURE(need <= x->plan->policies[x->acting].type->need[direction]);
    x->want = (uint8_t)need;
    x->want_max = bytes_max;
}

static bool has_body(const struct exchange *x, enum direction direction)
{
    const struct message *m = direction == DIR_REQUEST ? x->request : &x->response;
    return m->body_length != BODY_NONE;
}

/* What the hook asked for. Returns false when the cursor must stop for a body that is read whole. */
static bool settle_want(struct exchange *x, enum direction direction, unsigned index)
{
    if (x->want == BODY_PASS || !has_body(x, direction) || x->tunnel)
        return true;
    if (flow_add_stage(x, direction, index) < 0) {
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
        return true;
    }
    if (x->want != BODY_WHOLE)
        return true;
    x->cursor[direction].phase = CURSOR_WHOLE;
    return false;
}

static void start_handler(struct exchange *x)
{
    const struct handler_type *handler = x->plan->handler;
    x->cursor[DIR_REQUEST].phase = CURSOR_DONE;
    x->acting = (uint8_t)x->plan->policy_count;
    if (handler->state_size) {
        x->handler_state = arena_zalloc(x->arena, handler->state_size);
        if (!x->handler_state) {
            exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
            return;
        }
    }
    x->handler_started = true;
    flow_disclaim_trailers(x);
    handler->start(x, x->handler_state, x->plan->handler_data);
    if (!handler->on_request_body && !x->ended)
        exchange_stop_request(x); /* or its body would stand in the client's way until the answer is out */
}

void heads_request(struct exchange *x)
{
    struct cursor *c = &x->cursor[DIR_REQUEST];
    while (!x->ended && c->phase == CURSOR_HEADS && !c->waiting) {
        if (c->next == x->plan->policy_count) {
            start_handler(x);
            return;
        }
        unsigned index = c->next;
        x->started = MAX(x->started, (uint8_t)(index + 1));
        switch (call_head(x, DIR_REQUEST, index)) {
        case WAIT:
            c->waiting = true;
            return;
        case REPLIED:
            ENSURE(x->responded || x->ended);
            return;
        case NEXT:
            break;
        }
        ENSURE(!c->op.pending);
        c->next++;
        if (!settle_want(x, DIR_REQUEST, index))
            return;
    }
}

void heads_response(struct exchange *x)
{
    struct cursor *c = &x->cursor[DIR_RESPONSE];
    while (!x->ended && c->phase == CURSOR_HEADS && !c->waiting) {
        if (c->next == 0) {
            c->phase = CURSOR_DONE;
            answer_send_head(x);
            return;
        }
        unsigned index = c->next - 1u;
        switch (call_head(x, DIR_RESPONSE, index)) {
        case WAIT:
            c->waiting = true;
            return;
        case REPLIED:
            continue; /* answer_begin has set the cursor in front of this policy */
        case NEXT:
            break;
        }
        ENSURE(!c->op.pending);
        c->next--;
        if (!settle_want(x, DIR_RESPONSE, index))
            return;
    }
}
