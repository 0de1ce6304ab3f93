/*
 * Adaptive concurrency against a simulated service: so many servers, a time of work, and a queue before them. Clients
 * ask as often as the limit lets them.
 */
#include <math.h>

#include "balance/adaptive.h"
#include "sets.h"

enum { SERVERS_MAX = 256, IN_FLIGHT_MAX = 4096 };

struct service {
    unsigned servers;
    double work_us;   /* the mean */
    bool exponential; /* of exponential length; else all alike */
};

struct job {
    double started_us, ends_us;
};

struct run {
    struct service service;
    struct adaptive adaptive;
    struct adaptive_conf conf;
    struct rng rng;
    double now_us, free_us[SERVERS_MAX];
    struct job jobs[IN_FLIGHT_MAX];
    unsigned in_flight, offered_max; /* clients, 0: as many as like */
    double served;
};

static double draw(struct run *run)
{
    if (!run->service.exponential)
        return run->service.work_us;
    double uniform = ((double)(rng_next(&run->rng) >> 11) + 1) / 9007199254740994.0;
    return -log(uniform) * run->service.work_us;
}

/* To the server that is free first. */
static void begin(struct run *run)
{
    unsigned at = 0;
    for (unsigned i = 1; i < run->service.servers; i++)
        at = run->free_us[i] < run->free_us[at] ? i : at;
    double from = fmax(run->free_us[at], run->now_us);
    run->free_us[at] = from + draw(run);
    run->jobs[run->in_flight++] = (struct job){ run->now_us, run->free_us[at] };
}

static void end_first(struct run *run)
{
    unsigned at = 0;
    for (unsigned i = 1; i < run->in_flight; i++)
        at = run->jobs[i].ends_us < run->jobs[at].ends_us ? i : at;
    struct job job = run->jobs[at];
    run->now_us = job.ends_us;
    const struct outcome outcome = { .status = 200,
                                     .started_ns = (uint64_t)(job.started_us * 1000),
                                     .now_ns = (uint64_t)(job.ends_us * 1000) };
    (void)adaptive_judge(&run->adaptive, &run->conf, &outcome, run->in_flight);
    run->jobs[at] = run->jobs[--run->in_flight];
    run->served++;
}

/* The mean of the limit over the second half of so many answers. */
static double simulate(struct run *run, unsigned answers)
{
    double sum = 0;
    for (unsigned i = 0; i < answers; i++) {
        unsigned limit = MIN(adaptive_limit(&run->adaptive, &run->conf), (unsigned)IN_FLIGHT_MAX);
        if (run->offered_max)
            limit = MIN(limit, run->offered_max);
        while (run->in_flight < limit)
            begin(run);
        end_first(run);
        if (i >= answers / 2)
            sum += adaptive_limit(&run->adaptive, &run->conf);
    }
    return sum / (answers - answers / 2);
}

static struct run *run_new(unsigned servers, bool exponential)
{
    struct run *run = mem_must(sizeof *run);
    run->service = (struct service){ servers, 10000, exponential };
    run->conf = (struct adaptive_conf){ .min = 4, .max = 4000, .initial = 20 };
    rng_seed(&run->rng, 7);
    return run;
}

static void assert_between(double value, double low, double high)
{
    if (value < low || value > high)
        print_message("%g is not from %g to %g\n", value, low, high);
    assert_true(value >= low && value <= high);
}

static void it_settles_a_little_above_what_the_service_can_do_at_once(void **state)
{
    static const unsigned servers[] = { 2, 10, 50, 200 };
    for (unsigned i = 0; i < ARRAY_LEN(servers); i++)
        for (int exponential = 0; exponential < 2; exponential++) {
            struct run *run = run_new(servers[i], exponential);
            double c = servers[i];
            assert_between(simulate(run, 60000), 0.9 * c, c + 3 * sqrt(c) + 4);
            mem_free(run);
        }
}

static void it_takes_nearly_all_of_what_the_service_can_do(void **state)
{
    struct run *run = run_new(20, true);
    (void)simulate(run, 20000);
    double from_us = run->now_us, from = run->served;
    (void)simulate(run, 40000);
    double rate = (run->served - from) / (run->now_us - from_us), most = 20 / run->service.work_us;
    assert_between(rate / most, 0.93, 1.001);
    mem_free(run);
}

static void it_comes_down_from_far_above(void **state)
{
    struct run *run = run_new(10, true);
    run->conf.initial = 300;
    assert_between(simulate(run, 60000), 9, 24);
    mem_free(run);
}

static void constant_slowness_is_no_queue_and_does_not_make_it_collapse(void **state)
{
    struct run *run = run_new(30, true);
    (void)simulate(run, 30000);
    run->service.work_us *= 5;
    assert_between(simulate(run, 40000), 25, 52);
    mem_free(run);
}

static void after_a_slowdown_it_finds_its_place_again(void **state)
{
    struct run *run = run_new(40, true);
    (void)simulate(run, 30000);
    run->service.work_us *= 10;
    (void)simulate(run, 3000);
    run->service.work_us /= 10;
    assert_between(simulate(run, 30000), 34, 65);
    mem_free(run);
}

static void fewer_servers_make_it_fall_and_more_make_it_rise(void **state)
{
    struct run *run = run_new(60, true);
    (void)simulate(run, 30000);
    run->service.servers = 15;
    assert_between(simulate(run, 60000), 13, 32);
    run->service.servers = 60;
    assert_between(simulate(run, 60000), 52, 90);
    mem_free(run);
}

static void it_does_not_grow_while_it_is_not_used(void **state)
{
    struct run *run = run_new(200, true);
    run->offered_max = 8;
    assert_between(simulate(run, 30000), 4, 25);
    mem_free(run);
}

static void it_stays_within_its_bounds(void **state)
{
    struct run *run = run_new(100, false);
    run->conf = (struct adaptive_conf){ .min = 4, .max = 30, .initial = 20 };
    assert_between(simulate(run, 20000), 20, 30);
    run->service.servers = 1;
    run->conf = (struct adaptive_conf){ .min = 12, .max = 30, .initial = 20 };
    assert_between(simulate(run, 20000), 12, 18);
    mem_free(run);
}

static void errors_that_come_fast_do_not_raise_it(void **state)
{
    struct run *run = run_new(10, true);
    double before = simulate(run, 30000);
    const struct outcome refused = { .status = 503, .started_ns = 1, .now_ns = 2 };
    for (int i = 0; i < 10000; i++)
        assert_false(adaptive_judge(&run->adaptive, &run->conf, &refused, 1000));
    assert_between(adaptive_limit(&run->adaptive, &run->conf), before / 2, before * 2);
    mem_free(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_settles_a_little_above_what_the_service_can_do_at_once),
        cmocka_unit_test(it_takes_nearly_all_of_what_the_service_can_do),
        cmocka_unit_test(it_comes_down_from_far_above),
        cmocka_unit_test(constant_slowness_is_no_queue_and_does_not_make_it_collapse),
        cmocka_unit_test(after_a_slowdown_it_finds_its_place_again),
        cmocka_unit_test(fewer_servers_make_it_fall_and_more_make_it_rise),
        cmocka_unit_test(it_does_not_grow_while_it_is_not_used),
        cmocka_unit_test(it_stays_within_its_bounds),
        cmocka_unit_test(errors_that_come_fast_do_not_raise_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
