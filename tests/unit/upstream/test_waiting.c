/*
 * Tries that wait for a permit: called, too late, given up; and idle connections of another worker.
 */
#include "service.h"
#include "upstream/waiting.h"

static struct bench_loop bench;
static struct service a;
static struct upstream_conf conf;
static struct queue_conf queue_conf;
static struct upstream *upstream;

struct asking {
    struct upstream_wait wait;
    struct upstream_try try;
    struct arena *arena;
    struct call call; /* the stream's user */
    unsigned turns;
};

static void on_turn(struct upstream_wait *wait)
{
    container_of(wait, struct asking, wait)->turns++;
}

static int ask(struct asking *asking, unsigned worker)
{
    asking->wait.on_turn = on_turn;
    const struct upstream_wish wish = { .wait = &asking->wait };
    return upstream_open(upstream, worker, &wish, asking->arena, &call_events, &asking->call, &asking->try);
}

static void asking_init(struct asking *asking)
{
    *asking = (struct asking){ .arena = arena_new(&bench.memory, ARENA_LIMIT_DEFAULT) };
    assert_non_null(asking->arena);
}

static void asking_done(struct asking *asking)
{
    upstream_wait_leave(&asking->wait);
    upstream_close(&asking->try, ERR_CANCELLED);
    arena_free(asking->arena);
}

static int set_up(void **state)
{
    bench_loop_init(&bench);
    service_start(&a, &bench.loop, 'a');
    conf = usual_conf();
    queue_conf = (struct queue_conf){ .on = true, .size = 2, .timeout_ms = 60000 };
    conf.queue = &queue_conf;
    return 0;
}

static void begin(void)
{
    upstream = upstream_new("test", &conf, NULL, 2);
    assert_non_null(upstream);
    upstream_set_targets(upstream, set_of_services("test", (struct service *[]){ &a }, 1));
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(upstream_attach(upstream, i, &bench.loop), 0);
}

static int tear_down(void **state)
{
    for (unsigned i = 0; i < 2; i++)
        upstream_detach(upstream, i);
    assert_int_equal(atomic_load(&upstream_cluster(upstream)->queue.waiting), 0);
    assert_int_equal(atomic_load(&upstream_cluster(upstream)->permits.requests), 0);
    assert_int_equal(atomic_load(&upstream_cluster(upstream)->permits.connections), 0);
    loop_turn(&bench.loop, 0); /* letters that are under way hold it */
    upstream_drop(upstream);
    service_stop(&a);
    bench_loop_done(&bench);
    return 0;
}

static void a_try_that_waits_is_called_and_opens_then(void **state)
{
    conf.max_requests = 1;
    begin();
    struct asking first, second;
    asking_init(&first);
    asking_init(&second);
    assert_int_equal(ask(&first, 0), 0);
    assert_int_equal(ask(&second, 1), UPSTREAM_WAITS);
    assert_null(second.try.target);
    upstream_close(&first.try, ERR_CANCELLED);
    turn_until(&bench.loop, second.turns == 1);
    assert_int_equal(ask(&second, 1), 0);
    assert_null(second.wait.place);
    asking_done(&first);
    asking_done(&second);
}

static void a_wait_ends_with_its_time(void **state)
{
    conf.max_requests = 1;
    queue_conf.timeout_ms = 5;
    begin();
    struct asking first, second;
    asking_init(&first);
    asking_init(&second);
    assert_int_equal(ask(&first, 0), 0);
    assert_int_equal(ask(&second, 1), UPSTREAM_WAITS);
    turn_until(&bench.loop, second.turns == 1);
    assert_int_equal(ask(&second, 1), -ERR_QUEUE_TIMEOUT);
    assert_int_equal(second.try.lacked, LIMIT_REQUESTS);
    assert_true(second.wait.waited_ns >= 4000000);
    asking_done(&first);
    asking_done(&second);
}

static void who_gives_up_makes_room_in_the_queue(void **state)
{
    conf.max_requests = 1;
    begin();
    struct asking askings[4];
    for (unsigned i = 0; i < 4; i++)
        asking_init(&askings[i]);
    assert_int_equal(ask(&askings[0], 0), 0);
    assert_int_equal(ask(&askings[1], 0), UPSTREAM_WAITS);
    assert_int_equal(ask(&askings[2], 1), UPSTREAM_WAITS);
    assert_int_equal(ask(&askings[3], 1), -ERR_QUEUE_FULL);
    upstream_wait_leave(&askings[1].wait);
    assert_int_equal(ask(&askings[3], 1), UPSTREAM_WAITS);
    for (unsigned i = 0; i < 4; i++)
        asking_done(&askings[i]);
}

static void nobody_waits_behind_others_for_an_open_circuit(void **state)
{
    static const struct breaker_conf breaker = {
        .on = true, .consecutive_failures = 1, .open_ms = 60000, .open_max_ms = 60000, .probes = 1
    };
    conf.max_requests = 1;
    conf.balance.circuit_breaker = &breaker;
    begin();
    struct asking askings[3];
    for (unsigned i = 0; i < 3; i++)
        asking_init(&askings[i]);
    assert_int_equal(ask(&askings[0], 0), 0);
    assert_int_equal(ask(&askings[1], 0), UPSTREAM_WAITS);
    upstream_close(&askings[0].try, ERR_UPSTREAM_RESET);
    assert_int_equal(ask(&askings[2], 1), -ERR_BREAKER_OPEN);
    for (unsigned i = 0; i < 3; i++)
        asking_done(&askings[i]);
}

static void a_try_that_may_not_wait_hears_so_at_once(void **state)
{
    conf.max_requests = 1;
    begin();
    struct asking first;
    struct call second;
    asking_init(&first);
    assert_int_equal(ask(&first, 0), 0);
    assert_int_equal(call_open(&second, upstream, 1, &bench, false), -ERR_UPSTREAM_FULL);
    call_close(&second, ERR_UPSTREAM_FULL);
    asking_done(&first);
}

static void another_workers_idle_connection_gives_way_to_who_waits(void **state)
{
    conf.max_connections = 2;
    begin();
    assert_int_equal(call_whole(upstream, 0, &bench), 'a');
    struct upstream_stats stats;
    upstream_stats(upstream, &stats);
    assert_int_equal(stats.idle, 1);
    struct asking first, second;
    asking_init(&first);
    asking_init(&second);
    assert_int_equal(ask(&first, 1), 0);
    assert_int_equal(ask(&second, 1), UPSTREAM_WAITS); /* of two connections, worker 0 has an idle one */
    turn_until(&bench.loop, second.turns > 0);
    assert_int_equal(ask(&second, 1), 0);
    asking_done(&first);
    asking_done(&second);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(a_try_that_waits_is_called_and_opens_then), test(a_wait_ends_with_its_time),
        test(who_gives_up_makes_room_in_the_queue),      test(nobody_waits_behind_others_for_an_open_circuit),
        test(a_try_that_may_not_wait_hears_so_at_once),  test(another_workers_idle_connection_gives_way_to_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
