/*
 * Pools over real sockets: which connection serves, which are kept, and when they go.
 */
#include "service.h"

static struct bench_loop bench;
static struct service a;
static struct upstream_conf conf;
static struct upstream *upstream;

static struct upstream_stats stats(void)
{
    struct upstream_stats now;
    upstream_stats(upstream, &now);
    return now;
}

static unsigned connections(void)
{
    return atomic_load(&upstream_targets(upstream)->slots[0].target->connections);
}

static int set_up(void **state)
{
    bench_loop_init(&bench);
    service_start(&a, &bench.loop, 'a');
    conf = usual_conf();
    return 0;
}

/* After the test has set what it wants in `conf`. */
static void begin(unsigned workers)
{
    upstream = upstream_new("test", &conf, NULL, workers);
    assert_non_null(upstream);
    upstream_set_targets(upstream, set_of_services("test", (struct service *[]){ &a }, 1));
    for (unsigned i = 0; i < workers; i++)
        assert_int_equal(upstream_attach(upstream, i, &bench.loop), 0);
}

static void end(unsigned workers)
{
    struct target *target = target_hold(upstream_targets(upstream)->slots[0].target);
    for (unsigned i = 0; i < workers; i++)
        upstream_detach(upstream, i);
    assert_int_equal(stats().idle, 0);
    assert_int_equal(stats().busy, 0);
    assert_int_equal(atomic_load(&target->connections), 0);
    assert_int_equal(atomic_load(&target->in_flight), 0);
    upstream_drop(upstream);
    assert_int_equal(atomic_load(&target->refs), 1);
    target_drop(target);
}

static int tear_down(void **state)
{
    service_stop(&a);
    bench_loop_done(&bench);
    return 0;
}

static void one_connection_serves_one_request_after_the_other(void **state)
{
    begin(1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(call_whole(upstream, 0, &bench), 'a');
    assert_int_equal(a.accepted, 1);
    assert_int_equal(a.requests, 5);
    assert_int_equal(stats().connects, 1);
    assert_int_equal(stats().reused, 4);
    assert_int_equal(stats().idle, 1);
    assert_int_equal(stats().busy, 0);
    assert_int_equal(connections(), 1);
    end(1);
}

static void a_stream_says_whether_its_connection_had_served_before(void **state)
{
    begin(1);
    struct call call;
    call_start(&call, upstream, 0, &bench);
    assert_false(call.try.stream->reused);
    assert_int_equal(stats().busy, 1);
    call_await(&call);
    call_close(&call, ERR_NONE);
    call_start(&call, upstream, 0, &bench);
    assert_true(call.try.stream->reused);
    call_await(&call);
    call_close(&call, ERR_NONE);
    end(1);
}

static void a_fresh_connection_can_be_insisted_on(void **state)
{
    begin(1);
    (void)call_whole(upstream, 0, &bench);
    struct call call;
    assert_int_equal(call_open(&call, upstream, 0, &bench, true), 0);
    assert_false(call.try.stream->reused);
    call_await(&call);
    call_close(&call, ERR_NONE);
    assert_int_equal(a.accepted, 2);
    assert_int_equal(stats().idle, 2);
    end(1);
}

static void the_connection_used_last_is_used_next(void **state)
{
    begin(1);
    struct call first, second;
    call_start(&first, upstream, 0, &bench);
    call_await(&first);
    struct service_connection *of_first = a.last;
    call_start(&second, upstream, 0, &bench);
    call_await(&second);
    struct service_connection *of_second = a.last;
    assert_ptr_not_equal(of_first, of_second);
    call_close(&second, ERR_NONE);
    turn_until(&bench.loop, stats().idle == 1);
    call_close(&first, ERR_NONE);
    turn_until(&bench.loop, stats().idle == 2);
    (void)call_whole(upstream, 0, &bench);
    assert_ptr_equal(a.last, of_first);
    end(1);
}

static void a_connection_that_the_service_closed_is_dropped(void **state)
{
    begin(1);
    (void)call_whole(upstream, 0, &bench);
    turn_until(&bench.loop, stats().idle == 1);
    service_end_connections(&a);
    turn_until(&bench.loop, connections() == 0);
    assert_int_equal(stats().idle, 0);
    assert_int_equal(call_whole(upstream, 0, &bench), 'a');
    assert_int_equal(stats().connects, 2);
    end(1);
}

static void an_answer_that_ends_the_connection_leaves_none_idle(void **state)
{
    begin(1);
    a.closes = true;
    assert_int_equal(call_whole(upstream, 0, &bench), 'a');
    turn_until(&bench.loop, connections() == 0);
    assert_int_equal(call_whole(upstream, 0, &bench), 'a');
    assert_int_equal(stats().reused, 0);
    end(1);
}

static void idle_connections_are_kept_up_to_the_cap(void **state)
{
    conf.keep_alive_connections = 2;
    begin(1);
    struct call calls[4];
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_start(&calls[i], upstream, 0, &bench);
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_await(&calls[i]);
    assert_int_equal(a.accepted, 4);
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_close(&calls[i], ERR_NONE);
    turn_until(&bench.loop, a.ended == 2);
    assert_int_equal(stats().idle, 2);
    assert_int_equal(connections(), 2);
    end(1);
}

static void the_cap_is_shared_by_the_workers(void **state)
{
    conf.keep_alive_connections = 2;
    begin(2);
    struct call calls[4];
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_start(&calls[i], upstream, i % 2, &bench);
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_await(&calls[i]);
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_close(&calls[i], ERR_NONE);
    turn_until(&bench.loop, a.ended == 2);
    assert_int_equal(stats().idle, 2);
    end(2);
}

static void workers_that_are_not_attached_have_no_share(void **state)
{
    conf.keep_alive_connections = 3;
    begin(2);
    upstream_detach(upstream, 1);
    struct call calls[3];
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_start(&calls[i], upstream, 0, &bench);
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_await(&calls[i]);
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_close(&calls[i], ERR_NONE);
    assert_int_equal(stats().idle, 3);
    assert_int_equal(upstream_attach(upstream, 1, &bench.loop), 0); /* now two are its share */
    (void)call_whole(upstream, 0, &bench);
    turn_until(&bench.loop, a.ended == 1);
    assert_int_equal(stats().idle, 2);
    end(2);
}

static void without_keep_alive_none_is_kept(void **state)
{
    conf.keep_alive_connections = 0;
    begin(1);
    (void)call_whole(upstream, 0, &bench);
    turn_until(&bench.loop, a.ended == 1);
    assert_int_equal(stats().idle, 0);
    end(1);
}

static void a_connection_ends_after_so_many_requests(void **state)
{
    conf.max_requests_per_connection = 2;
    begin(1);
    for (int i = 0; i < 6; i++)
        (void)call_whole(upstream, 0, &bench);
    turn_until(&bench.loop, a.ended == 3);
    assert_int_equal(a.accepted, 3);
    end(1);
}

static void idle_connections_are_closed_when_their_time_is_over(void **state)
{
    conf.timeouts.idle_timeout_ms = 20;
    begin(1);
    struct call calls[3];
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_start(&calls[i], upstream, 0, &bench);
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_await(&calls[i]);
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
        call_close(&calls[i], ERR_NONE);
    turn_until(&bench.loop, a.ended == 3);
    assert_int_equal(connections(), 0);
    assert_int_equal(bench.loop.timers_armed, 0);
    (void)call_whole(upstream, 0, &bench);
    turn_until(&bench.loop, a.ended == 4);
    end(1);
}

static void a_connection_in_use_does_not_age(void **state)
{
    conf.timeouts.idle_timeout_ms = 20;
    begin(1);
    (void)call_whole(upstream, 0, &bench);
    turn_until(&bench.loop, stats().idle == 1);
    a.silent = true;
    struct call call;
    call_start(&call, upstream, 0, &bench);
    turn_until(&bench.loop, a.requests == 2);
    uint64_t long_after_ms = bench.loop.now_ms + 60;
    turn_until(&bench.loop, bench.loop.now_ms >= long_after_ms);
    assert_int_equal(a.ended, 0);
    service_answer(a.last);
    call_await(&call);
    assert_true(call.ended);
    call_close(&call, ERR_NONE);
    turn_until(&bench.loop, a.ended == 1);
    end(1);
}

static void an_unhealthy_target_keeps_no_idle_connection(void **state)
{
    begin(1);
    struct call call;
    call_start(&call, upstream, 0, &bench);
    call_await(&call);
    (void)target_bar(upstream_targets(upstream)->slots[0].target, BAR_UNHEALTHY, 1);
    call_close(&call, ERR_NONE);
    turn_until(&bench.loop, a.ended == 1);
    assert_int_equal(call_open(&call, upstream, 0, &bench, false), -ERR_NO_TARGET);
    call_close(&call, ERR_NONE);
    end(1);
}

static void a_detach_closes_idle_connections_at_once_and_busy_ones_when_they_finish(void **state)
{
    begin(1);
    struct call idle, busy;
    a.silent = true;
    call_start(&busy, upstream, 0, &bench);
    turn_until(&bench.loop, a.requests == 1);
    struct service_connection *of_busy = a.last;
    a.silent = false;
    call_start(&idle, upstream, 0, &bench);
    call_await(&idle);
    call_close(&idle, ERR_NONE);
    turn_until(&bench.loop, stats().idle == 1);

    struct target *target = target_hold(upstream_targets(upstream)->slots[0].target);
    upstream_detach(upstream, 0);
    assert_int_equal(stats().idle, 0);
    assert_int_equal(stats().busy, 1);
    upstream_drop(upstream);
    turn_until(&bench.loop, a.ended == 1);
    service_answer(of_busy);
    call_await(&busy);
    assert_true(busy.ended);
    call_close(&busy, ERR_NONE);
    turn_until(&bench.loop, a.ended == 2);
    assert_int_equal(atomic_load(&target->connections), 0);
    assert_int_equal(atomic_load(&target->refs), 1);
    target_drop(target);
}

static void attaches_are_counted(void **state)
{
    begin(1);
    assert_int_equal(upstream_attach(upstream, 0, &bench.loop), 0);
    (void)call_whole(upstream, 0, &bench);
    turn_until(&bench.loop, stats().idle == 1);
    upstream_detach(upstream, 0);
    assert_int_equal(stats().idle, 1);
    end(1);
}

static void a_target_that_left_the_set_loses_its_idle_connections_and_then_its_busy_ones(void **state)
{
    struct service b;
    service_start(&b, &bench.loop, 'b');
    begin(1);
    struct target *gone = target_hold(upstream_targets(upstream)->slots[0].target);
    struct call idle, busy;
    call_start(&idle, upstream, 0, &bench);
    call_start(&busy, upstream, 0, &bench);
    call_await(&idle);
    call_await(&busy);
    call_close(&idle, ERR_NONE);
    turn_until(&bench.loop, stats().idle == 1);

    upstream_set_targets(upstream, set_of_services("test", (struct service *[]){ &b }, 1));
    upstream_worker_update(upstream, 0, upstream_targets(upstream));
    assert_int_equal(stats().idle, 0);
    assert_int_equal(call_whole(upstream, 0, &bench), 'b');
    assert_int_equal(atomic_load(&gone->connections), 1);
    call_close(&busy, ERR_NONE);
    turn_until(&bench.loop, a.ended == 2);
    assert_int_equal(atomic_load(&gone->connections), 0);
    assert_int_equal(atomic_load(&gone->refs), 1);
    target_drop(gone);
    end(1);
    service_stop(&b);
}

static void a_target_that_comes_back_finds_its_pool(void **state)
{
    struct service b;
    service_start(&b, &bench.loop, 'b');
    begin(1);
    struct call busy;
    call_start(&busy, upstream, 0, &bench);
    call_await(&busy);
    struct target_set *both = set_of_services("test", (struct service *[]){ &a, &b }, 2);
    struct target_set *only_b = set_of_services("test", (struct service *[]){ &b }, 1);
    upstream_worker_update(upstream, 0, only_b);
    upstream_worker_update(upstream, 0, both);
    call_close(&busy, ERR_NONE);
    turn_until(&bench.loop, stats().idle == 1);
    assert_int_equal(connections(), 1);
    target_set_drop(both);
    target_set_drop(only_b);
    end(1);
    service_stop(&b);
}

static void many_targets_each_have_a_pool(void **state)
{
    static struct service services[8];
    struct service *pointers[8];
    begin(1);
    for (unsigned i = 0; i < 8; i++) {
        service_start(&services[i], &bench.loop, (char)('b' + i));
        pointers[i] = &services[i];
    }
    /* Two rounds of other targets, so that pools come and go while others stay. */
    for (unsigned from = 0; from < 8; from += 4) {
        struct target_set *set = set_of_services("test", pointers + from / 2, 6);
        upstream_worker_update(upstream, 0, set);
        for (int i = 0; i < 12; i++)
            (void)call_whole(upstream, 0, &bench);
        turn_until(&bench.loop, stats().idle == 6);
        for (unsigned i = 0; i < 6; i++)
            assert_int_equal(atomic_load(&set->slots[i].target->connections), 1);
        target_set_drop(set);
    }
    assert_int_equal(stats().connects, 8);
    end(1);
    for (unsigned i = 0; i < 8; i++)
        service_stop(&services[i]);
}

int main(void)
{
#define POOL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        POOL_TEST(one_connection_serves_one_request_after_the_other),
        POOL_TEST(a_stream_says_whether_its_connection_had_served_before),
        POOL_TEST(a_fresh_connection_can_be_insisted_on),
        POOL_TEST(the_connection_used_last_is_used_next),
        POOL_TEST(a_connection_that_the_service_closed_is_dropped),
        POOL_TEST(an_answer_that_ends_the_connection_leaves_none_idle),
        POOL_TEST(idle_connections_are_kept_up_to_the_cap),
        POOL_TEST(the_cap_is_shared_by_the_workers),
        POOL_TEST(workers_that_are_not_attached_have_no_share),
        POOL_TEST(without_keep_alive_none_is_kept),
        POOL_TEST(a_connection_ends_after_so_many_requests),
        POOL_TEST(idle_connections_are_closed_when_their_time_is_over),
        POOL_TEST(a_connection_in_use_does_not_age),
        POOL_TEST(an_unhealthy_target_keeps_no_idle_connection),
        POOL_TEST(a_detach_closes_idle_connections_at_once_and_busy_ones_when_they_finish),
        POOL_TEST(attaches_are_counted),
        POOL_TEST(a_target_that_left_the_set_loses_its_idle_connections_and_then_its_busy_ones),
        POOL_TEST(a_target_that_comes_back_finds_its_pool),
        POOL_TEST(many_targets_each_have_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
