/*
 * Tunnels: a real exchange between a local stream and a handler of this test's own, which is the service.  Frames go
 * both ways in pieces of any size; at a moment of the seed's choosing the worker drains. What each side gets is then
 * what the other sent, up to the end of a frame, and a Close.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "http/local.h"
#include "http/websocket.h"

enum { BYTES_MAX = 200000, SEEDS = 300, STEPS_MAX = 20000 };

/* One direction: what its sender sends, and what its receiver has got. */
struct flow {
    char sent[BYTES_MAX], got[BYTES_MAX];
    size_t len, at, got_len;        /* of `sent`, how much of it has gone */
    struct websocket_frames frames; /* of `got` */
    bool answered;                  /* the receiver has sent its Close */
    bool ended;
};

struct bench {
    struct worker worker;
    struct plan plan;
    struct plan_local local;
    void *handler_locals[1];
    struct stream_host host;
    struct arena *arena;
    struct stream *client;
    struct exchange *x;
    struct rng rng;
    struct pipe out; /* of the client */
    struct pipe *source;
    struct flow up, down;
    const char *upgrade;
    bool reset, over;
};

static struct bench b;
static int64_t lifetime_ms; /* of the next one */

static void receive(struct flow *flow, struct pipe *pipe, size_t max)
{
    struct iovec iov[16];
    int count = pipe_peek(pipe, iov, (int)ARRAY_LEN(iov), max);
    size_t taken = 0;
    for (int i = 0; i < count; i++) {
        assert_true(flow->got_len + iov[i].iov_len <= BYTES_MAX);
        memcpy(flow->got + flow->got_len, iov[i].iov_base, iov[i].iov_len);
        flow->got_len += iov[i].iov_len;
        taken += iov[i].iov_len;
        websocket_follow(&flow->frames, iov[i].iov_base, iov[i].iov_len);
    }
    pipe_consume(pipe, taken);
    flow->ended = flow->ended || (pipe_drained(pipe) && pipe->end == PIPE_ENDED);
}

/* ---- the service ---- */

static void accept_upgrade(struct exchange *x, void *state, const void *data)
{
    const struct message head = {
        .version = HTTP_1_1, .status = 101, .body_length = BODY_NONE, .upgrade = slice_from(b.upgrade)
    };
    b.source = state;
    pipe_init(b.source, &x->worker->memory, 4096);
    exchange_respond(x, &head, b.source);
}

static void take_some(struct exchange *x)
{
    struct pipe *body = exchange_body(x);
    if (body->bytes == 0 && body->end == PIPE_OPEN)
        return;
    receive(&b.up, body, 1 + rng_below(&b.rng, 3000));
    if (b.up.ended)
        exchange_request_sent(x);
    exchange_body_taken(x);
}

static void on_request_body(struct exchange *x, void *state)
{
    if (x->down->tunnel)
        take_some(x);
}

static void on_done(struct exchange *x, void *state)
{
    pipe_done(state);
    b.source = NULL;
    b.over = true;
}

static const struct handler_type service = { .name = "service",
                                             .state_size = sizeof(struct pipe),
                                             .start = accept_upgrade,
                                             .on_request_body = on_request_body,
                                             .on_wake = on_request_body,
                                             .on_done = on_done };

/* ---- the bench ---- */

static void never_free(struct plan *plan)
{
    fail_msg("the plan is the test's");
}

static void on_request(struct stream_host *host, struct stream *stream, enum err err)
{
    assert_int_equal(exchange_begin(&b.worker, stream, &b.plan, err, &b.x), 0);
    b.x->host = host;
}

static void on_connection_end(struct stream_host *host)
{
}

static void on_nothing(struct stream *stream)
{
}

static void on_reset(struct stream *stream)
{
    b.reset = true;
}

static const struct stream_events events = {
    .on_head = on_nothing,
    .on_body = on_nothing,
    .on_room = on_nothing,
    .on_reset = on_reset,
};

static void turn(void)
{
    loop_turn(&b.worker.loop, 0);
}

static void open_tunnel(const char *upgrade, uint64_t seed)
{
    memset(&b, 0, sizeof(b));
    b.upgrade = upgrade;
    assert_int_equal(worker_init(&b.worker, 0, NULL, 0), 0);
    rng_seed(&b.rng, seed);
    b.plan = (struct plan){ .refs = 1,
                            .handler = &service,
                            .locals = &b.local,
                            .workers = 1,
                            .route = "test",
                            .tunnel_lifetime_ms = lifetime_ms,
                            .handler_per_worker = b.handler_locals,
                            .free = never_free };
    assert_int_equal(plan_attach(&b.plan, &b.worker), 0);
    b.host.on_request = on_request;
    b.host.on_connection_end = on_connection_end;
    b.arena = arena_new(&b.worker.memory, SIZE_MAX);
    pipe_init(&b.out, &b.worker.memory, UINT32_MAX);
    const struct message request = { .version = HTTP_1_1,
                                     .method = METHOD_GET,
                                     .method_name = SLICE("GET"),
                                     .scheme = SLICE("http"),
                                     .authority = SLICE("a.example"),
                                     .path = SLICE("/"),
                                     .upgrade = slice_from(upgrade),
                                     .body_length = BODY_NONE };
    assert_int_equal(local_open(&b.worker.loop, b.arena, &events, &b, &b.host, &b.client), 0);
    assert_int_equal(stream_send_head(b.client, &request, true), 0);
    for (int i = 0; i < 4; i++)
        turn();
    assert_true(b.client->tunnel);
}

static void close_bench(void)
{
    if (!b.reset)
        stream_reset(b.client, ERR_CANCELLED);
    b.client->ops->release(b.client);
    for (int i = 0; i < 3; i++)
        turn();
    assert_int_equal(b.worker.exchange_count, 0);
    assert_int_equal(b.worker.tunnel_count, 0);
    pipe_done(&b.out);
    arena_free(b.arena);
    plan_retire(&b.plan, &b.worker);
    worker_done(&b.worker);
}

/* ---- traffic ---- */

static void make_frames(struct flow *flow, bool masked)
{
    unsigned count = rng_below(&b.rng, 40);
    while (count-- > 0) {
        uint32_t len = rng_below(&b.rng, 4) ? rng_below(&b.rng, 200) : rng_below(&b.rng, 9000);
        size_t header = (len < 126 ? 2 : 4) + (masked ? 4 : 0);
        char *at = flow->sent + flow->len;
        at[0] = (char)0x82;
        at[1] = (char)((masked ? 0x80 : 0) | (len < 126 ? len : 126));
        if (len >= 126) {
            at[2] = (char)(len >> 8);
            at[3] = (char)(len & 0xff);
        }
        for (size_t i = len < 126 ? 2 : 4; i < header + len; i++)
            at[i] = (char)rng_next(&b.rng);
        flow->len += header + len;
    }
}

/* What a peer says to a Close. */
static void answer(struct flow *got, struct flow *said)
{
    if (got->answered || !got->frames.closed || !websocket_at_boundary(&got->frames))
        return;
    got->answered = true;
    size_t len = websocket_close_frame(WEBSOCKET_GOING_AWAY, SLICE_EMPTY, said == &b.up, said->sent + said->len);
    said->len += len;
}

static void send_up(void)
{
    size_t some = rng_below(&b.rng, 2000), len = MIN(b.up.len - b.up.at, some);
    if (b.client->end_sent)
        return;
    len = b.out.bytes > 4096 ? 0 : len;
    if (len > 0)
        assert_int_equal(pipe_append(&b.out, b.up.sent + b.up.at, len), 0);
    b.up.at += len;
    stream_send_body(b.client, &b.out);
}

static void send_down(void)
{
    if (!b.source || b.source->end != PIPE_OPEN)
        return;
    size_t some = rng_below(&b.rng, 2000), room = pipe_room(b.source);
    size_t len = MIN(MIN(b.down.len - b.down.at, some), room);
    if (len > 0)
        assert_int_equal(pipe_append(b.source, b.down.sent + b.down.at, len), 0);
    b.down.at += len;
    exchange_source_more(b.x);
}

static void step(void)
{
    switch (rng_below(&b.rng, 4)) {
    case 0:
        send_up();
        break;
    case 1:
        if (!b.over)
            send_down();
        break;
    case 2:
        receive(&b.down, &b.client->in, rng_below(&b.rng, 3000));
        if (!b.reset)
            stream_read_more(b.client);
        break;
    default:
        if (!b.over)
            exchange_wake(b.x);
        break;
    }
    answer(&b.down, &b.up);
    answer(&b.up, &b.down);
    turn();
}

/* The receiver got what was sent up to the end of a frame, and one Close. */
static void check(const struct flow *flow, size_t close_len)
{
    struct websocket_frames frames = { 0 };
    assert_true(flow->frames.closed && websocket_at_boundary(&flow->frames));
    assert_true(flow->got_len >= close_len);
    size_t prefix = flow->got_len - close_len;
    assert_true(prefix <= flow->len);
    assert_memory_equal(flow->got, flow->sent, prefix);
    websocket_follow(&frames, flow->got, prefix);
    assert_true(websocket_at_boundary(&frames) && !frames.closed);
}

/* ---- tests ---- */

static void whenever_it_drains_both_get_whole_frames_and_a_close(void **state)
{
    const size_t close_len = 2 + 2 + strlen("draining");
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        open_tunnel("websocket", seed);
        make_frames(&b.up, true);
        make_frames(&b.down, false);
        uint32_t drain_at = rng_below(&b.rng, 120);
        for (uint32_t i = 0; i < STEPS_MAX && !b.over; i++) {
            if (i == drain_at)
                exchanges_drain(&b.worker, NULL, 0);
            step();
        }
        if (!b.over || b.reset)
            fail_msg("seed %d: over %d, reset %d, up %zu of %zu, down %zu of %zu", (int)seed, b.over, b.reset,
                     b.up.got_len, b.up.len, b.down.got_len, b.down.len);
        while (b.client->in.bytes > 0)
            receive(&b.down, &b.client->in, SIZE_MAX);
        check(&b.down, close_len);
        check(&b.up, close_len + 4);
        close_bench();
    }
}

static void the_tunnels_of_another_host_are_left_alone(void **state)
{
    struct stream_host other = { .draining = true };
    open_tunnel("websocket", 1);
    exchanges_drain(&b.worker, &other, 0);
    for (int i = 0; i < 50; i++)
        step();
    assert_false(b.over || b.down.got_len > 0);
    close_bench();
}

static void a_tunnel_of_another_protocol_is_not_told(void **state)
{
    open_tunnel("raw", 1);
    exchanges_drain(&b.worker, &b.host, 0);
    for (int i = 0; i < 50; i++)
        step();
    assert_false(b.over || b.down.got_len > 0 || b.up.got_len > 0);
    close_bench();
}

static void bytes_that_are_no_frames_are_passed_on_and_never_told(void **state)
{
    const char impossible[] = "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff";
    open_tunnel("websocket", 1);
    memcpy(b.down.sent, impossible, sizeof(impossible) - 1);
    b.down.len = sizeof(impossible) - 1;
    while (b.down.got_len < b.down.len)
        step();
    exchanges_drain(&b.worker, NULL, 0);
    for (int i = 0; i < 50; i++)
        step();
    assert_false(b.over);
    assert_int_equal(b.down.got_len, b.down.len);
    assert_int_equal(b.up.got_len, 0);
    close_bench();
}

/* Nobody can be told, so it is cut: at once, whatever moves. */
static void a_lifetime_cuts_what_cannot_be_told(void **state)
{
    lifetime_ms = 1;
    open_tunnel("raw", 1);
    lifetime_ms = 0;
    make_frames(&b.down, false);
    while (!b.over)
        step();
    assert_true(b.reset);
    close_bench();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whenever_it_drains_both_get_whole_frames_and_a_close),
        cmocka_unit_test(the_tunnels_of_another_host_are_left_alone),
        cmocka_unit_test(a_tunnel_of_another_protocol_is_not_told),
        cmocka_unit_test(bytes_that_are_no_frames_are_passed_on_and_never_told),
        cmocka_unit_test(a_lifetime_cuts_what_cannot_be_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
