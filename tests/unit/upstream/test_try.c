/*
 * Tries: opening in every way that can fail, closing in every state, limits over workers.
 */
#include <pthread.h>

#include "base/sys_torture.h"
#include "service.h"

static struct bench_loop bench;
static struct service a, b;
static struct upstream_conf conf;
static struct upstream *upstream;

static struct upstream_stats stats(void)
{
    struct upstream_stats now;
    upstream_stats(upstream, &now);
    return now;
}

static struct target *target_of(unsigned index)
{
    return upstream_targets(upstream)->slots[index].target;
}

static int set_up(void **state)
{
    bench_loop_init(&bench);
    service_start(&a, &bench.loop, 'a');
    service_start(&b, &bench.loop, 'b');
    conf = usual_conf();
    return 0;
}

static int tear_down(void **state)
{
    service_stop(&a);
    service_stop(&b);
    bench_loop_done(&bench);
    return 0;
}

static void begin(unsigned workers, uint32_t services)
{
    upstream = upstream_new("test", &conf, NULL, workers);
    assert_non_null(upstream);
    if (services)
        upstream_set_targets(upstream, set_of_services("test", (struct service *[]){ &a, &b }, services));
    for (unsigned i = 0; i < workers; i++)
        assert_int_equal(upstream_attach(upstream, i, &bench.loop), 0);
}

static void end(unsigned workers)
{
    for (unsigned i = 0; i < workers; i++)
        upstream_detach(upstream, i);
    assert_int_equal(stats().idle + stats().busy, 0);
    for (uint32_t i = 0; i < upstream_targets(upstream)->count; i++) {
        assert_int_equal(atomic_load(&target_of(i)->connections), 0);
        assert_int_equal(atomic_load(&target_of(i)->in_flight), 0);
        assert_int_equal(atomic_load(&target_of(i)->refs), 1);
    }
    upstream_drop(upstream);
}

static void names_that_are_not_resolved_yet_are_told_apart_from_no_target(void **state)
{
    begin(1, 0);
    struct call call;
    assert_int_equal(call_open(&call, upstream, 0, &bench, false), -ERR_NAME_UNRESOLVED);
    call_close(&call, ERR_NAME_UNRESOLVED);
    end(1);
}

static void addresses_of_the_configuration_are_targets_at_once(void **state)
{
    struct target_conf targets[3] = {
        { .address = a.address, .weight = 2 },
        { .host = SLICE("users.internal"), .port = 80, .weight = 1 },
        { .address = b.address, .weight = 0 },
    };
    conf.targets = (struct conf_list){ targets, 3 };
    begin(1, 0);
    assert_int_equal(upstream_targets(upstream)->count, 2);
    assert_int_equal(upstream_targets(upstream)->slots[0].weight, 2);
    char text[ADDRESS_TEXT_MAX];
    (void)address_format(&a.address, true, text);
    assert_string_equal(target_of(0)->name, text);
    for (int i = 0; i < 3; i++)
        assert_int_equal(call_whole(upstream, 0, &bench), 'a');
    assert_string_equal(upstream_name(upstream), "test");
    assert_ptr_equal(upstream_settings(upstream), &conf);
    end(1);
}

static void a_refused_connection_is_told_and_counted(void **state)
{
    service_stop(&a);
    begin(1, 1);
    struct call call;
    int r = call_open(&call, upstream, 0, &bench, false);
    if (r == 0) {
        call_await(&call);
        assert_true(call.reset);
        assert_int_equal(call.try.stream->err, ERR_CONNECT_REFUSED);
        assert_true(call.try.stream->unsent);
    } else {
        assert_int_equal(r, -ERR_CONNECT_REFUSED);
    }
    assert_ptr_equal(call.try.target, target_of(0));
    call_close(&call, ERR_CONNECT_REFUSED);
    assert_int_equal(stats().connect_failures, 1);
    assert_int_equal(atomic_load(&target_of(0)->failures), 1);
    end(1);
    service_start(&a, &bench.loop, 'a');
}

static void a_tried_target_is_taken_again_only_when_there_is_no_other(void **state)
{
    begin(1, 2);
    struct tried tried = { .count = 0 };
    tried_add(&tried, target_of(0));
    for (int i = 0; i < 4; i++) {
        struct upstream_try try;
        struct arena *arena = arena_new(&bench.memory, ARENA_LIMIT_DEFAULT);
        struct call call = { .loop = &bench.loop };
        assert_int_equal(
            upstream_open(upstream, 0, &(struct upstream_wish){ .tried = &tried }, arena, &call_events, &call, &try),
            0);
        if (tried.count == 1)
            assert_ptr_equal(try.target, target_of(1));
        if (i == 1)
            tried_add(&tried, target_of(1));
        upstream_close(&try, ERR_CANCELLED);
        arena_free(arena);
    }
    end(1);
}

static void closing_an_unfinished_try_ends_its_connection(void **state)
{
    begin(1, 1);
    a.silent = true;
    struct call call;
    call_start(&call, upstream, 0, &bench);
    turn_until(&bench.loop, a.requests == 1);
    call_close(&call, ERR_CLIENT_CLOSED);
    assert_int_equal(stats().busy, 0);
    assert_int_equal(atomic_load(&target_of(0)->failures), 0);
    turn_until(&bench.loop, a.ended == 1);
    end(1);
}

static void closing_a_try_before_anything_was_sent_is_harmless(void **state)
{
    begin(1, 1);
    for (int turns = 0; turns < 3; turns++) {
        struct arena *arena = arena_new(&bench.memory, ARENA_LIMIT_DEFAULT);
        struct upstream_try try;
        struct call call = { .loop = &bench.loop };
        assert_int_equal(
            upstream_open(upstream, 0, &(struct upstream_wish){ .fresh = true }, arena, &call_events, &call, &try), 0);
        for (int i = 0; i < turns; i++)
            loop_turn(&bench.loop, 0);
        upstream_close(&try, ERR_CANCELLED);
        upstream_close(&try, ERR_CANCELLED);
        arena_free(arena);
        assert_int_equal(stats().busy, 0);
    }
    turn_until(&bench.loop, a.ended == a.accepted);
    end(1);
}

static void a_service_that_closes_without_an_answer_is_told(void **state)
{
    begin(1, 1);
    a.silent = true;
    struct call call;
    call_start(&call, upstream, 0, &bench);
    turn_until(&bench.loop, a.requests == 1);
    service_end_connections(&a);
    call_await(&call);
    assert_true(call.reset);
    assert_int_equal(call.try.stream->err, ERR_UPSTREAM_CLOSED);
    call_close(&call, ERR_UPSTREAM_CLOSED);
    assert_int_equal(stats().connect_failures, 0);
    assert_int_equal(atomic_load(&target_of(0)->failures), 1);
    end(1);
}

static void a_reused_connection_that_the_service_has_closed_costs_a_retry_at_most(void **state)
{
    begin(1, 1);
    (void)call_whole(upstream, 0, &bench);
    turn_until(&bench.loop, stats().idle == 1);
    service_end_connections(&a);
    struct call call;
    call_start(&call, upstream, 0, &bench);
    call_await(&call);
    if (call.reset) { /* the close was not seen before we wrote */
        assert_true(call.try.stream->reused);
        call_close(&call, (enum err)call.try.stream->err);
        assert_int_equal(call_open(&call, upstream, 0, &bench, true), 0);
        call_await(&call);
    }
    assert_true(call.ended);
    assert_false(call.try.stream->reused);
    call_close(&call, ERR_NONE);
    end(1);
}

static void requests_on_a_target_are_limited(void **state)
{
    conf.max_requests_per_target = 2;
    begin(2, 1);
    a.silent = true;
    struct call calls[3];
    call_start(&calls[0], upstream, 0, &bench);
    call_start(&calls[1], upstream, 1, &bench);
    assert_int_equal(call_open(&calls[2], upstream, 0, &bench, false), -ERR_UPSTREAM_FULL);
    assert_null(calls[2].try.target);
    call_close(&calls[2], ERR_UPSTREAM_FULL);
    call_close(&calls[0], ERR_CANCELLED);
    call_start(&calls[0], upstream, 1, &bench);
    call_close(&calls[0], ERR_CANCELLED);
    call_close(&calls[1], ERR_CANCELLED);
    end(2);
}

static void connections_to_a_target_are_limited_over_all_workers(void **state)
{
    conf.max_connections_per_target = 2;
    begin(2, 1);
    a.silent = true;
    struct call calls[3];
    call_start(&calls[0], upstream, 0, &bench);
    call_start(&calls[1], upstream, 1, &bench);
    assert_int_equal(call_open(&calls[2], upstream, 1, &bench, false), -ERR_UPSTREAM_FULL);
    call_close(&calls[2], ERR_UPSTREAM_FULL);
    assert_int_equal(atomic_load(&target_of(0)->connections), 2);
    call_close(&calls[0], ERR_CANCELLED);
    call_close(&calls[1], ERR_CANCELLED);
    end(2);
}

static void another_workers_idle_connections_make_us_pass_to_another_target(void **state)
{
    conf.max_connections_per_target = 2;
    begin(2, 2);
    for (int i = 0; i < 2; i++)
        (void)call_whole(upstream, 0, &bench); /* worker 0 has an idle one to each */
    turn_until(&bench.loop, stats().idle == 2);
    struct call calls[3];
    a.silent = b.silent = true;
    call_start(&calls[0], upstream, 1, &bench);
    call_start(&calls[1], upstream, 1, &bench);
    assert_ptr_not_equal(calls[0].try.target, calls[1].try.target);
    assert_int_equal(call_open(&calls[2], upstream, 1, &bench, false), -ERR_UPSTREAM_FULL);
    assert_null(calls[2].try.target);
    call_close(&calls[2], ERR_UPSTREAM_FULL);

    struct target *free_again = calls[1].try.target;
    call_close(&calls[1], ERR_CANCELLED);
    for (int i = 0; i < 2; i++) { /* whichever of the two it comes to first */
        call_start(&calls[1], upstream, 1, &bench);
        assert_ptr_equal(calls[1].try.target, free_again);
        call_close(&calls[1], ERR_CANCELLED);
    }
    call_start(&calls[1], upstream, 1, &bench);

    call_start(&calls[2], upstream, 0, &bench); /* its own it may use */
    assert_true(calls[2].try.stream->reused);
    for (unsigned i = 0; i < 3; i++)
        call_close(&calls[i], ERR_CANCELLED);
    end(2);
}

static int open_untried(struct call *call, const struct tried *tried, struct arena *arena)
{
    const struct upstream_wish wish = { .tried = tried, .untried = true };
    *call = (struct call){ .loop = &bench.loop };
    return upstream_open(upstream, 1, &wish, arena, &call_events, call, &call->try);
}

/* A hedge: better none than one on a target that has the request already. */
static void who_wants_an_untried_target_gets_no_other_when_that_one_is_full(void **state)
{
    conf.max_connections_per_target = 2;
    begin(2, 2);
    for (int i = 0; i < 2; i++)
        (void)call_whole(upstream, 0, &bench); /* worker 0 keeps an idle one to each */
    turn_until(&bench.loop, stats().idle == 2);
    a.silent = b.silent = true;
    const struct tried tried = { .v = { target_of(0) }, .count = 1 };
    struct arena *arena = arena_new(&bench.memory, ARENA_LIMIT_DEFAULT);
    struct call calls[2];
    assert_int_equal(open_untried(&calls[0], &tried, arena), 0);
    assert_ptr_equal(calls[0].try.target, target_of(1));
    assert_int_equal(open_untried(&calls[1], &tried, arena), -ERR_UPSTREAM_FULL);
    assert_null(calls[1].try.target);
    upstream_close(&calls[0].try, ERR_CANCELLED);
    arena_free(arena);
    end(2);
}

static void the_last_permit_is_not_kept_by_an_idle_connection(void **state)
{
    conf.max_connections_per_target = 2;
    begin(2, 1);
    struct call calls[2];
    for (unsigned i = 0; i < 2; i++)
        call_start(&calls[i], upstream, i, &bench);
    for (unsigned i = 0; i < 2; i++)
        call_await(&calls[i]);
    for (unsigned i = 0; i < 2; i++)
        call_close(&calls[i], ERR_NONE);
    turn_until(&bench.loop, a.ended == 1);
    assert_int_equal(stats().idle, 1);
    end(2);
}

/* ---- want of memory and failing calls ---- */

static void one_call_under_torture(void)
{
    upstream = upstream_new("test", &conf, NULL, 1);
    if (!upstream)
        return;
    struct target_set *set = NULL;
    struct target_slot slot = { .target = target_get("test", &a.address, "a"), .weight = 1 };
    if (slot.target)
        set = target_set_new(&slot, 1);
    if (slot.target && !set)
        target_drop(slot.target);
    if (set && upstream_attach(upstream, 0, &bench.loop) == 0) {
        upstream_worker_update(upstream, 0, set);
        for (int i = 0; i < 2; i++) {
            struct call call;
            int r = call_open(&call, upstream, 0, &bench, false);
            assert_true(r <= 0);
            if (r == 0)
                call_await(&call);
            bool good = r == 0 && call.ended;
            if (good)
                assert_int_equal(call.body[0], 'a');
            call_close(&call, good ? ERR_NONE : ERR_CANCELLED);
        }
        upstream_detach(upstream, 0);
        assert_int_equal(stats().idle + stats().busy, 0);
    }
    if (set) {
        assert_int_equal(atomic_load(&slot.target->connections), 0);
        assert_int_equal(atomic_load(&slot.target->in_flight), 0);
    }
    target_set_drop(set);
    upstream_drop(upstream);
    loop_turn(&bench.loop, 0);
}

static void whichever_call_fails_nothing_is_left_behind(void **state)
{
    uint64_t n = 1;
    for (bool reached = true; reached; n++) {
        sys_torture_arm(n);
        one_call_under_torture();
        reached = sys_torture_calls() >= n;
        sys_torture_disarm(); /* the service ends what it has undisturbed */
        turn_until(&bench.loop, a.ended == a.accepted);
        assert_int_equal(bench.memory.held_bytes, 0);
    }
    assert_true(n > 20);
}

static void a_set_that_there_was_no_memory_for_is_taken_at_the_next_open(void **state)
{
    begin(1, 1);
    struct target_set *only_b = set_of_services("test", (struct service *[]){ &b }, 1);
    sys_torture_arm(1);
    upstream_worker_update(upstream, 0, only_b);
    assert_int_equal(sys_torture_calls(), 1);
    sys_torture_disarm();
    assert_int_equal(call_whole(upstream, 0, &bench), 'b');
    target_set_drop(only_b);
    end(1);
}

/* ---- several workers ---- */

enum { WORKERS = 3, CALLS_EACH = 200 };

struct worker_thread {
    pthread_t thread;
    unsigned worker;
    unsigned answered;
    struct bench_loop bench;
};

static void *work(void *arg)
{
    struct worker_thread *t = arg;
    bench_loop_init(&t->bench);
    assert_int_equal(upstream_attach(upstream, t->worker, &t->bench.loop), 0);
    for (unsigned i = 0; i < CALLS_EACH; i++) {
        char name = call_whole(upstream, t->worker, &t->bench);
        t->answered += name == 'a' || name == 'b';
        upstream_request_begin(upstream);
        if (upstream_retry_begin(upstream))
            upstream_retry_end(upstream);
        upstream_request_end(upstream);
    }
    upstream_detach(upstream, t->worker);
    bench_loop_done(&t->bench);
    return NULL;
}

static void workers_share_an_upstream_without_a_lock(void **state)
{
    static struct worker_thread threads[WORKERS];
    begin(WORKERS, 2);
    for (unsigned i = 0; i < WORKERS; i++)
        upstream_detach(upstream, i); /* each attaches itself */
    for (unsigned i = 0; i < WORKERS; i++) {
        threads[i] = (struct worker_thread){ .worker = i };
        assert_int_equal(pthread_create(&threads[i].thread, NULL, work, &threads[i]), 0);
    }
    turn_until(&bench.loop, a.requests + b.requests == WORKERS * CALLS_EACH);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i].thread, NULL);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(threads[i].answered, CALLS_EACH);
    assert_int_equal(a.requests, b.requests);
    assert_int_equal(stats().connects, 2 * WORKERS);
    assert_int_equal(stats().reused, WORKERS * CALLS_EACH - 2 * WORKERS);
    for (unsigned i = 0; i < WORKERS; i++)
        assert_int_equal(upstream_attach(upstream, i, &bench.loop), 0);
    end(WORKERS);
}

int main(void)
{
#define TRY_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TRY_TEST(names_that_are_not_resolved_yet_are_told_apart_from_no_target),
        TRY_TEST(addresses_of_the_configuration_are_targets_at_once),
        TRY_TEST(a_refused_connection_is_told_and_counted),
        TRY_TEST(a_tried_target_is_taken_again_only_when_there_is_no_other),
        TRY_TEST(closing_an_unfinished_try_ends_its_connection),
        TRY_TEST(closing_a_try_before_anything_was_sent_is_harmless),
        TRY_TEST(a_service_that_closes_without_an_answer_is_told),
        TRY_TEST(a_reused_connection_that_the_service_has_closed_costs_a_retry_at_most),
        TRY_TEST(requests_on_a_target_are_limited),
        TRY_TEST(connections_to_a_target_are_limited_over_all_workers),
        TRY_TEST(another_workers_idle_connections_make_us_pass_to_another_target),
        TRY_TEST(who_wants_an_untried_target_gets_no_other_when_that_one_is_full),
        TRY_TEST(the_last_permit_is_not_kept_by_an_idle_connection),
        TRY_TEST(whichever_call_fails_nothing_is_left_behind),
        TRY_TEST(a_set_that_there_was_no_memory_for_is_taken_at_the_next_open),
        TRY_TEST(workers_share_an_upstream_without_a_lock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
