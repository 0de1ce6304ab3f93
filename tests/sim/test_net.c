/*
 * The simulated network under a small server on the real loop and transport: whatever the weather, an echo gives back
 * every byte, and nothing is left.  And the simulation's own promises: repeatable, idle when nothing can happen, leaks
 * told, rules obeyed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/pipe.h"
#include "base/rng.h"
#include "base/sys.h"
#include "net/listen.h"
#include "net/transport.h"
#include "sim/net.h"

enum { HOLD_BYTES = 700, CLIENTS = 5 };

/* ---- the program under test: an echo server ---- */

struct echo {
    struct transport transport;
    struct task reclaim;
    char hold[HOLD_BYTES];
    size_t held;
    bool ended;
};

static struct loop loop;
static struct memory memory;
static struct io listener;
static int echoes;

static void echo_free(struct task *task)
{
    echoes--;
    mem_free(container_of(task, struct echo, reclaim));
}

static void echo_close(struct echo *echo)
{
    transport_tcp.close(&echo->transport);
    loop_defer(&loop, &echo->reclaim, PHASE_RECLAIM);
}

/* False when it was closed. */
static bool echo_read(struct echo *echo)
{
    while (!echo->ended && echo->held < HOLD_BYTES && echo->transport.io.ready & IO_READABLE) {
        ssize_t got = transport_recv(&echo->transport, echo->hold + echo->held, HOLD_BYTES - echo->held);
        if (got > 0) {
            echo->held += (size_t)got;
        } else if (got == 0) {
            echo->ended = true;
        } else if (got != -EAGAIN) {
            echo_close(echo);
            return false;
        }
    }
    return true;
}

static bool echo_write(struct echo *echo)
{
    while (echo->held > 0 && echo->transport.io.ready & IO_WRITABLE) {
        struct iovec iov[2] = { { echo->hold, echo->held / 2 },
                                { echo->hold + echo->held / 2, echo->held - echo->held / 2 } };
        ssize_t sent = transport_sendv(&echo->transport, iov, 2, false);
        if (sent > 0) {
            echo->held -= (size_t)sent;
            memmove(echo->hold, echo->hold + sent, echo->held);
        } else if (sent != -EAGAIN) {
            echo_close(echo);
            return false;
        }
    }
    if (echo->ended && echo->held == 0) {
        echo_close(echo);
        return false;
    }
    return true;
}

static bool echo_can_go_on(const struct echo *echo)
{
    uint8_t ready = echo->transport.io.ready;

    return (echo->held > 0 && ready & IO_WRITABLE) || (!echo->ended && echo->held < HOLD_BYTES && ready & IO_READABLE);
}

static void echo_ready(struct io *io)
{
    struct echo *echo = container_of(io, struct echo, transport.io);

    do {
        if (!echo_read(echo) || !echo_write(echo))
            return;
    } while (echo_can_go_on(echo));
}

static void accept_ready(struct io *io)
{
    int fd = sys->accept(io->fd, NULL, NULL);
    struct echo *echo;

    if (fd < 0)
        return;
    echo = mem_zalloc(sizeof(*echo));
    if (!echo) {
        sys->close(fd);
        return;
    }
    echoes++;
    task_init(&echo->reclaim, echo_free);
    if (transport_accept(&echo->transport, &loop, fd, echo_ready) < 0)
        loop_defer(&loop, &echo->reclaim, PHASE_RECLAIM);
}

static int start(void)
{
    struct address at = sim_address("10.0.0.1:80");
    struct listen_options options = { .backlog = 3 };
    int fd;

    echoes = 0;
    if (loop_init(&loop, &memory) < 0)
        return -1;
    if (listen_open(&at, &options, &fd) < 0) {
        loop_done(&loop);
        return -1;
    }
    io_init(&listener, fd, accept_ready);
    if (loop_watch(&loop, &listener, IO_LEVEL_READ) < 0) {
        loop_close(&loop, &listener);
        loop_done(&loop);
        return -1;
    }
    return 0;
}

static void stop(void)
{
    loop_close(&loop, &listener);
    assert_int_equal(echoes, 0);
    assert_int_equal(loop.watched, 1);
    assert_int_equal(loop.timers_armed, 0);
    loop_done(&loop);
}

/* ---- the script: clients that send a pattern and check what comes back ---- */

struct client {
    struct sim_peer *peer;
    uint32_t to_send, seen;
    bool over, failed;
};

struct scenario {
    struct client clients[CLIENTS];
};

static char pattern_at(uint64_t at)
{
    return (char)(at * 31 + at / 251);
}

static void client_open(struct sim_peer *peer)
{
    struct client *client = peer->user;
    char data[1000];

    for (uint32_t at = 0; at < client->to_send;) {
        uint32_t len = MIN(client->to_send - at, (uint32_t)sizeof(data));
        for (uint32_t i = 0; i < len; i++)
            data[i] = pattern_at(at + i);
        sim_peer_send(peer, data, len);
        at += len;
    }
    sim_peer_finish(peer);
}

static void client_resume(void *peer)
{
    sim_peer_resume(peer);
}

static void client_data(struct sim_peer *peer, const char *data, size_t len)
{
    struct client *client = peer->user;

    for (size_t i = 0; i < len; i++)
        assert_int_equal(data[i], pattern_at(client->seen++));
    if (sim_pick(100) == 1) {
        sim_peer_pause(peer);
        sim_after(sim_pick(5000000), client_resume, peer);
    }
}

static void client_end(struct sim_peer *peer)
{
    ((struct client *)peer->user)->over = true;
    sim_peer_close(peer);
}

static void client_reset(struct sim_peer *peer, int error)
{
    struct client *client = peer->user;

    client->over = client->failed = true;
}

static const struct sim_peer_events client_events = {
    .on_open = client_open,
    .on_data = client_data,
    .on_end = client_end,
    .on_reset = client_reset,
};

static bool scenario_over(void *arg)
{
    struct scenario *scenario = arg;

    for (int i = 0; i < CLIENTS; i++)
        if (!scenario->clients[i].over)
            return false;
    return echoes == 0;
}

static void begin(struct scenario *scenario)
{
    struct address at = sim_address("10.0.0.1:80");

    *scenario = (struct scenario){ 0 };
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &scenario->clients[i];
        client->to_send = sim_pick(20000);
        client->peer = sim_connect(&at, &client_events, client);
    }
}

/* Returns how many clients were cut off. */
static int play(uint64_t seed, const struct sim_options *options, uint64_t *ret_digest)
{
    struct scenario scenario;
    int failed = 0;

    sim_net_init(seed, options);
    assert_int_equal(start(), 0);
    begin(&scenario);
    if (!sim_run(&loop, scenario_over, &scenario, 36000000))
        fail_msg("seed %llu: not over after an hour", (unsigned long long)seed);
    for (int i = 0; i < CLIENTS; i++) {
        failed += scenario.clients[i].failed;
        if (!scenario.clients[i].failed)
            assert_int_equal(scenario.clients[i].seen, scenario.clients[i].to_send);
    }
    stop();
    assert_int_equal(sim_memory_bytes(), 0);
    if (ret_digest)
        *ret_digest = sim_digest();
    assert_int_equal(sim_net_done(stderr), 0);
    return failed;
}

static void every_byte_comes_back_in_rough_weather(void **state)
{
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct sim_options options = sim_rough(seed);
        assert_int_equal(play(seed, &options, NULL), 0);
    }
}

static void storms_cut_connections_and_leave_nothing_behind(void **state)
{
    int failed = 0;

    for (uint64_t seed = 1; seed <= 400; seed++)
        failed += play(seed, NULL, NULL);
    assert_true(failed > 100 && failed < 400 * CLIENTS / 2);
}

static void the_same_seed_gives_the_same_history(void **state)
{
    uint64_t first, second, other;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        play(seed, NULL, &first);
        play(seed, NULL, &second);
        play(seed + 1, NULL, &other);
        assert_true(first == second);
        assert_true(first != other);
    }
}

static void any_call_may_fail_and_nothing_leaks(void **state)
{
    struct sim_options calm = sim_calm();
    uint64_t n = 0, calls;

    do {
        struct scenario scenario;
        sim_net_init(7, &calm);
        sim_fail_at(++n);
        if (start() == 0) {
            begin(&scenario);
            /* a listener that failed to accept tries again when the next event comes; a lost client would wait for ever
             */
            sim_run(&loop, scenario_over, &scenario, 1000);
            for (int i = 0; i < CLIENTS; i++)
                sim_peer_close(scenario.clients[i].peer);
            sim_run(&loop, NULL, NULL, 1000);
            stop();
        }
        calls = sim_fallible_calls();
        assert_int_equal(sim_memory_bytes(), 0);
        assert_int_equal(sim_net_done(stderr), 0);
    } while (calls >= n); /* until no call was left to fail */
    assert_true(n > 60);
}

/* ---- the simulation's own promises ---- */

static void nothing_to_wait_for_is_idleness_and_not_a_hang(void **state)
{
    struct sim_options calm = sim_calm();

    sim_net_init(1, &calm);
    assert_int_equal(start(), 0);
    loop_turn(&loop, -1);
    assert_true(sim_idle());
    stop();
    assert_int_equal(sim_net_done(stderr), 0);
}

static void idle_never(struct timer *timer)
{
}

static void timers_take_no_real_time(void **state)
{
    struct sim_options calm = sim_calm();
    struct timer timer;
    uint64_t start_ms;

    sim_net_init(1, &calm);
    assert_int_equal(start(), 0);
    start_ms = loop.now_ms;
    timer_init(&timer, idle_never);
    timer_set(&loop, &timer, start_ms + 86400000);
    while (loop.timers_armed > 0)
        loop_turn(&loop, -1);
    assert_true(loop.now_ms >= start_ms + 86400000 && loop.now_ms < start_ms + 86400010);
    stop();
    assert_int_equal(sim_net_done(stderr), 0);
}

static void what_is_left_open_is_counted(void **state)
{
    struct sim_options calm = sim_calm();
    int fds[2];

    sim_net_init(1, &calm);
    assert_int_equal(sys->pipe(fds), 0);
    assert_true(sys->socket(AF_INET, SOCK_STREAM, 0) >= 0);
    assert_int_equal(sys->close(fds[0]), 0);
    assert_int_equal(sim_open_descriptors(), 2);
    assert_int_equal(sim_net_done(NULL), 2);
}

struct outcome {
    int opened, error;
    uint64_t at_us;
};

static void outcome_open(struct sim_peer *peer)
{
    ((struct outcome *)peer->user)->opened++;
}

static void outcome_reset(struct sim_peer *peer, int error)
{
    struct outcome *outcome = peer->user;

    outcome->error = error;
    outcome->at_us = sim_now_us();
}

static const struct sim_peer_events outcome_events = { .on_open = outcome_open, .on_reset = outcome_reset };

static struct outcome connect_under(enum sim_rule rule, uint64_t *ret_took_us)
{
    struct address at = sim_address("10.0.0.1:80");
    struct sim_options calm = sim_calm();
    struct outcome outcome = { 0 };
    uint64_t start_us;

    sim_net_init(1, &calm);
    assert_int_equal(start(), 0);
    sim_set_rule(&at, rule);
    start_us = sim_now_us();
    struct sim_peer *peer = sim_connect(&at, &outcome_events, &outcome);
    sim_run(&loop, NULL, NULL, 1000000);
    sim_peer_close(peer);
    sim_run(&loop, NULL, NULL, 1000);
    *ret_took_us = outcome.at_us - start_us;
    stop();
    assert_int_equal(sim_net_done(stderr), 0);
    return outcome;
}

static void rules_decide_how_connecting_ends(void **state)
{
    uint64_t took_us;

    assert_int_equal(connect_under(SIM_ANSWER, &took_us).opened, 1);
    assert_int_equal(connect_under(SIM_REFUSE, &took_us).error, ECONNREFUSED);
    assert_int_equal(connect_under(SIM_UNREACHABLE, &took_us).error, EHOSTUNREACH);
    assert_int_equal(connect_under(SIM_IGNORE, &took_us).error, ETIMEDOUT);
    assert_true(took_us >= 127000000 && took_us < 128000000);
}

static void note_nothing(struct io *io)
{
}

static void paused_origin(struct sim_peer *peer)
{
    sim_peer_pause(peer);
    *(struct sim_peer **)peer->user = peer;
}

static void a_peer_that_does_not_read_fills_the_link_and_then_an_edge_follows(void **state)
{
    static const struct sim_peer_events events = { .on_open = paused_origin };
    struct sim_options options = { .buffer_bytes_min = 5000, .buffer_bytes_max = 5000 };
    struct address at = sim_address("10.0.0.9:80");
    struct sim_peer *origin = NULL;
    struct transport transport;
    char data[4000] = "";
    struct iovec iov = { data, sizeof(data) };

    sim_net_init(3, &options);
    assert_int_equal(start(), 0);
    sim_listen(&at, &events, &origin);
    const struct dial dial = { .to = &at };
    assert_int_equal(transport_connect(&transport, &loop, &dial, note_nothing), 0);
    while (transport_establish(&transport) == 1)
        loop_turn(&loop, 1000);
    sim_run(&loop, NULL, NULL, 10);
    assert_non_null(origin);
    assert_int_equal(transport_sendv(&transport, &iov, 1, false), 4000);
    assert_int_equal(transport_sendv(&transport, &iov, 1, false), 1000);
    assert_int_equal(transport_sendv(&transport, &iov, 1, false), -EAGAIN);
    assert_false(transport.io.ready & IO_WRITABLE);
    sim_run(&loop, NULL, NULL, 1000);
    assert_false(transport.io.ready & IO_WRITABLE);
    sim_peer_resume(origin);
    sim_run(&loop, NULL, NULL, 10);
    assert_true(transport.io.ready & IO_WRITABLE);
    assert_int_equal(origin->received, 5000);
    transport_tcp.close(&transport);
    sim_run(&loop, NULL, NULL, 10);
    assert_true(origin->end_received);
    sim_peer_close(origin);
    stop();
    assert_int_equal(sim_net_done(stderr), 0);
}

static void a_kernel_pipe_runs_out_of_slots_before_it_runs_out_of_bytes(void **state)
{
    struct sim_options options = { .segment_bytes_max = 1 };
    struct address at = sim_address("10.0.0.9:80");
    struct outcome outcome = { 0 };
    struct transport transport;
    struct pipe pipe;
    char text[40];

    sim_net_init(3, &options);
    assert_int_equal(start(), 0);
    assert_int_equal(memory_init(&memory, NULL, 0), 0);
    struct listen_options listen_options = { .backlog = 3 };
    int fd, accepted;
    assert_int_equal(listen_open(&at, &listen_options, &fd), 0);
    struct sim_peer *peer = sim_connect(&at, &outcome_events, &outcome);
    sim_peer_send(peer, "0123456789012345678901234567890123456789", 40);
    sim_run(&loop, NULL, NULL, 10);
    accepted = sys->accept(fd, NULL, NULL);
    assert_true(accepted >= 0);
    assert_int_equal(transport_accept(&transport, &loop, accepted, note_nothing), 0);
    pipe_init(&pipe, &memory, PIPE_ROOM_DEFAULT);
    assert_true(pipe_splice_begin(&pipe));
    assert_int_equal(transport_splice_in(&transport, &pipe, 100), 16);
    assert_int_equal(transport_splice_in(&transport, &pipe, 100), -EAGAIN);
    assert_int_equal(transport_recv(&transport, text, sizeof(text)), 24);
    pipe_done(&pipe);
    transport_tcp.close(&transport);
    sys->close(fd);
    memory_done(&memory);
    sim_peer_close(peer);
    stop();
    assert_int_equal(sim_net_done(stderr), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_comes_back_in_rough_weather),
        cmocka_unit_test(storms_cut_connections_and_leave_nothing_behind),
        cmocka_unit_test(the_same_seed_gives_the_same_history),
        cmocka_unit_test(any_call_may_fail_and_nothing_leaks),
        cmocka_unit_test(nothing_to_wait_for_is_idleness_and_not_a_hang),
        cmocka_unit_test(timers_take_no_real_time),
        cmocka_unit_test(what_is_left_open_is_counted),
        cmocka_unit_test(rules_decide_how_connecting_ends),
        cmocka_unit_test(a_peer_that_does_not_read_fills_the_link_and_then_an_edge_follows),
        cmocka_unit_test(a_kernel_pipe_runs_out_of_slots_before_it_runs_out_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
