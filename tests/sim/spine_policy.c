/*
 * Policies of the test: by seed they pass, stream or read whole, in either direction; wait on a timer or on something
 * that completes at once; answer themselves at a head or in the middle of a body; and change every byte that goes
 * through them.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "sim/spine.h"

struct visit {
    struct timer timer;
    struct op *op;
    bool started, done, waited[DIR_COUNT];
};

static void on_timer(struct timer *timer)
{
    struct visit *visit = container_of(timer, struct visit, timer);
    struct op *op = visit->op;
    visit->op = NULL;
    op_complete(op);
}

static void cancel(struct op *op)
{
    struct visit *visit = op->provider;
    timer_clear(&world.worker.loop, &visit->timer);
    visit->op = NULL;
}

static enum verdict wait_a_while(struct exchange *x, struct visit *visit, const struct test_policy *policy,
                                 enum direction direction)
{
    struct op *op = exchange_op(x, direction);
    op_start(op, cancel, visit);
    if (sim_chance(policy->inline_permille)) {
        op_complete(op);
        return WAIT;
    }
    visit->op = op;
    timer_set(&world.worker.loop, &visit->timer, world.worker.loop.now_ms + sim_pick(40));
    return WAIT;
}

static enum verdict answer(struct exchange *x)
{
    if (sim_chance(500)) {
        exchange_fail(x, ERR_FORBIDDEN, SLICE_EMPTY);
        return REPLIED;
    }
    if (exchange_reply(x, 403, SLICE("text/plain"), SLICE("no\n")) < 0)
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
    return REPLIED;
}

static enum verdict on_head(struct exchange *x, struct visit *visit, const struct test_policy *policy,
                            enum direction direction)
{
    if (!visit->started) {
        visit->started = true;
        timer_init(&visit->timer, on_timer);
        world.policies_started++;
    }
    if (visit->done)
        world_fail("a hook after on_done", 0);
    if (!visit->waited[direction] && sim_chance(policy->wait_permille)) {
        visit->waited[direction] = true;
        return wait_a_while(x, visit, policy, direction);
    }
    visit->waited[direction] = false;
    if (sim_chance(policy->reply_permille))
        return answer(x);
    if (policy->need[direction] != BODY_PASS)
        exchange_want_body(x, direction, policy->need[direction], WHOLE_BYTES_MAX);
    return NEXT;
}

static enum verdict request_head(struct exchange *x, void *state, const void *data)
{
    return on_head(x, state, data, DIR_REQUEST);
}

static enum verdict response_head(struct exchange *x, void *state, const void *data)
{
    return on_head(x, state, data, DIR_RESPONSE);
}

/* Moves what there is room for, changed. */
static bool move_changed(struct pipe *in, struct pipe *out, uint8_t key)
{
    struct iovec iov;
    while (pipe_room(out) > 0 && pipe_peek(in, &iov, 1, pipe_room(out)) == 1) {
        char *at;
        size_t room;
        if (pipe_reserve(out, &at, &room) < 0)
            return false;
        size_t len = MIN(room, iov.iov_len);
        for (size_t i = 0; i < len; i++)
            at[i] = (char)(((const char *)iov.iov_base)[i] ^ key);
        pipe_commit(out, len);
        pipe_consume(in, len);
    }
    return true;
}

static enum verdict on_body(struct exchange *x, struct visit *visit, const struct test_policy *policy,
                            enum direction direction, struct pipe *in, struct pipe *out)
{
    if (visit->done)
        world_fail("a body hook after on_done", 0);
    if (!visit->waited[direction] && !x->cursor[direction].op.pending && sim_chance(policy->wait_permille / 2)) {
        visit->waited[direction] = true;
        return wait_a_while(x, visit, policy, direction);
    }
    visit->waited[direction] = false;
    if (!x->head_down && sim_chance(policy->reply_permille / 4))
        return answer(x);
    if (!move_changed(in, out, policy->key[direction])) {
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
        return REPLIED;
    }
    if (pipe_drained(in) && in->end == PIPE_ENDED)
        pipe_finish(out, in->trailers);
    return NEXT;
}

static enum verdict request_body(struct exchange *x, void *state, const void *data, struct pipe *in, struct pipe *out)
{
    return on_body(x, state, data, DIR_REQUEST, in, out);
}

static enum verdict response_body(struct exchange *x, void *state, const void *data, struct pipe *in, struct pipe *out)
{
    return on_body(x, state, data, DIR_RESPONSE, in, out);
}

static void on_done(struct exchange *x, void *state, const void *data)
{
    struct visit *visit = state;
    if (!visit || !visit->started)
        return; /* there was no memory for its state: its hooks never ran */
    if (visit->done)
        world_fail("on_done twice", 0);
    if (visit->op)
        world_fail("an op outlived its exchange", 0);
    visit->done = true;
    world.policies_done++;
}

const struct policy_type spine_policy = {
    .name = "spine",
    .state_size = sizeof(struct visit),
    .need = { BODY_WHOLE, BODY_WHOLE },
    .on_head = { request_head, response_head },
    .on_body = { request_body, response_body },
    .on_done = on_done,
};

void policies_draw(void)
{
    world.policy_count = world.without_policies ? 0 : sim_pick(POLICIES_USED_MAX + 1) - 1;
    for (unsigned i = 0; i < world.policy_count; i++) {
        struct test_policy *p = &world.policies[i];
        for (int d = 0; d < DIR_COUNT; d++) {
            p->need[d] = sim_chance(600) ? BODY_PASS : sim_chance(600) ? BODY_STREAM : BODY_WHOLE;
            p->key[d] = p->need[d] == BODY_PASS ? 0 : (uint8_t)sim_pick(255);
        }
        p->wait_permille = sim_chance(500) ? 0 : sim_pick(400);
        p->inline_permille = sim_chance(500) ? 0 : 500;
        p->reply_permille = sim_chance(700) ? 0 : sim_pick(150);
    }
}
