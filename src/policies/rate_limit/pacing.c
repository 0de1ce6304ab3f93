/*
 * Waiting: of a request for its turn, by the op of its cursor, and of bodies for their share of the bandwidth.
 *
 * A body waits on a timer of its own, not on the cursor's op, which another policy may be using for its head
 * meanwhile.  Nothing is held back but by leaving it in `in`: that fills, and its codec stops reading.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/pipe.h"
#include "exchange/worker.h"
#include "policies/rate_limit/rate_limit.h"
#include "stores/counters.h"

enum { NS_PER_MS = 1000000 };

static uint64_t due_ms(const struct exchange *x, uint64_t wait_ns)
{
    return x->worker->loop.now_ms + (wait_ns + NS_PER_MS - 1) / NS_PER_MS;
}

/* ---- a request's turn ---- */

static void on_turn(struct timer *timer)
{
    struct rate_limit_state *state = container_of(timer, struct rate_limit_state, turn);
    op_complete(&state->x->cursor[DIR_REQUEST].op);
}

static void cancel_turn(struct op *op)
{
    struct rate_limit_state *state = op->provider;
    timer_clear(&state->x->worker->loop, &state->turn);
}

void pacing_wait(struct exchange *x, struct rate_limit_state *state, uint64_t wait_ns)
{
    state->x = x;
    timer_init(&state->turn, on_turn);
    op_start(exchange_op(x, DIR_REQUEST), cancel_turn, state);
    timer_set(&x->worker->loop, &state->turn, due_ms(x, wait_ns));
}

/* ---- bodies ---- */

static void on_share(struct timer *timer)
{
    struct paced *paced = container_of(timer, struct paced, timer);
    exchange_body_again(paced->x, paced->direction);
}

int pacing_begin(struct exchange *x, struct rate_limit_state *state, enum direction direction)
{
    struct paced *paced = state->paced[direction];
    if (!paced) {
        paced = arena_zalloc(x->arena, sizeof(*paced));
        if (!paced)
            return -ERR_MEMORY;
        *paced = (struct paced){ .x = x, .direction = direction };
        timer_init(&paced->timer, on_share);
        state->paced[direction] = paced;
    }
    exchange_want_body(x, direction, BODY_STREAM, 0);
    return 0;
}

struct share {
    const struct bandwidth *bandwidth;
    uint64_t now_ns, wanted, granted, wait_ns;
};

static void take_share(uint64_t *words, void *ctx)
{
    struct share *s = ctx;
    s->granted = bandwidth_take(s->bandwidth, words, s->now_ns, s->wanted, &s->wait_ns);
}

/* Requests and answers of one key do not share. */
static uint64_t key_of(const struct held *held, enum direction direction)
{
    return direction == DIR_RESPONSE ? held->key : hash_mix(held->key);
}

void pacing_body(const struct rate_limit *policy, struct rate_limit_state *state, enum direction direction,
                 struct pipe *in, struct pipe *out)
{
    struct paced *paced = state->paced[direction];
    const struct limit *limit = policy->paced;
    const struct held *held = &state->held[limit - policy->limits];
    struct loop *loop = &paced->x->worker->loop;
    struct share share = {
        .bandwidth = &limit->bandwidth[direction],
        .now_ns = loop->now_ns,
        .wanted = MIN(in->bytes, pipe_room(out)),
    };
    uint64_t moved = 0;
    if (share.wanted > 0) {
        (void)counters_update(limit->counters, key_of(held, direction), share.now_ns, true, take_share, &share);
        moved = pipe_move(in, out, share.granted);
    }
    if (pipe_drained(in) && in->end == PIPE_ENDED)
        pipe_finish(out, in->trailers);
    else if (moved < share.wanted && !timer_armed(&paced->timer)) /* without memory too: in a while there may be */
        timer_set(loop, &paced->timer, due_ms(paced->x, MAX(share.wait_ns, (uint64_t)NS_PER_MS)));
}

void pacing_end(struct exchange *x, struct rate_limit_state *state)
{
    for (enum direction d = DIR_REQUEST; d < DIR_COUNT; d++)
        if (state->paced[d])
            timer_clear(&x->worker->loop, &state->paced[d]->timer);
}
