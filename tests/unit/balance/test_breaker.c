/*
 * The circuit breaker's state machine on a clock of its own: every transition, thresholds at their border, the window,
 * growth, probes that hang or are cancelled, the ramp, and several threads at once.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balance/balance.h"
#include "balance/breaker.h"
#include "balance/status_range.h"
#include "base/assert.h"

enum { BEGIN_MS = 1000000 };

/* By share alone: half of at least 10 in 10 s, open for 1 s, two probes, a ramp of 1 s. */
static const struct breaker_conf by_ratio = {
    .window_ms = 10000, .failure_percent = 50, .min_requests = 10, .open_ms = 1000, .probes = 2, .ramp_ms = 1000
};

struct world {
    struct breaker breaker;
    const struct breaker_conf *conf;
    uint64_t now_ms;
    struct breaker_news news;
};

static struct world world_of(const struct breaker_conf *conf)
{
    return (struct world){ .conf = conf, .now_ms = BEGIN_MS };
}

static bool admits(struct world *w)
{
    return breaker_admits(&w->breaker, w->conf, w->now_ms * 1000000, &w->news);
}

static void judge_after(struct world *w, enum err err, unsigned status, uint64_t took_ms)
{
    const struct outcome outcome = { .err = err,
                                     .status = (uint16_t)status,
                                     .started_ns = (w->now_ms - took_ms) * 1000000,
                                     .now_ns = w->now_ms * 1000000 };
    breaker_judge(&w->breaker, w->conf, &outcome, &w->news);
}

static void let_succeed(struct world *w, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        judge_after(w, ERR_NONE, 200, 0);
}

static void let_fail(struct world *w, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        judge_after(w, ERR_UPSTREAM_RESET, 0, 0);
}

static enum breaker_state state_of(const struct world *w)
{
    return breaker_state(&w->breaker);
}

static struct world opened(const struct breaker_conf *conf)
{
    struct world w = world_of(conf);
    let_succeed(&w, 5);
    let_fail(&w, 5);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    return w;
}

static struct world half_open(const struct breaker_conf *conf)
{
    struct world w = opened(conf);
    w.now_ms += 1000;
    assert_true(admits(&w));
    assert_int_equal(state_of(&w), BREAKER_HALF_OPEN);
    return w;
}

static void it_opens_at_the_share_and_not_below(void **state)
{
    struct world w = world_of(&by_ratio);
    let_succeed(&w, 6);
    let_fail(&w, 5); /* 5 of 11 */
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    let_fail(&w, 1); /* 6 of 12 */
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_true(w.news.changed);
    assert_int_equal(w.news.cause, BREAKER_RATIO);
    assert_int_equal(w.news.sum.bad, 6);
    assert_int_equal(w.news.sum.all, 12);
    assert_int_equal(w.news.open_ms, 1000);
    assert_int_equal(atomic_load(&w.breaker.opened), 1);
}

static void few_tries_say_nothing(void **state)
{
    struct world w = world_of(&by_ratio);
    let_fail(&w, 9);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    assert_true(admits(&w));
    let_fail(&w, 1);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
}

static void what_lies_behind_the_window_does_not_count(void **state)
{
    struct world w = world_of(&by_ratio);
    let_fail(&w, 9);
    w.now_ms += 9999 - BEGIN_MS % 1000; /* the last moment at which its tenth still counts */
    let_succeed(&w, 1);
    struct window_sum sum = window_sum(&w.breaker.failures, 1000, w.now_ms);
    assert_int_equal(sum.all, 10);
    assert_int_equal(sum.bad, 9);
    w.now_ms += 1;
    let_fail(&w, 1);
    sum = window_sum(&w.breaker.failures, 1000, w.now_ms);
    assert_int_equal(sum.all, 2);
    assert_int_equal(sum.bad, 1);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
}

static void a_window_rolls_on_tenth_by_tenth(void **state)
{
    struct window window = { 0 };
    for (uint64_t tenth = 0; tenth < 35; tenth++) {
        for (unsigned i = 0; i <= tenth % 3; i++)
            window_add(&window, 100, tenth * 100 + 99, true, i == 0);
        uint32_t all = 0, bad = 0;
        for (uint64_t back = 0; back < WINDOW_TENTHS && back <= tenth; back++) {
            all += 1 + (uint32_t)((tenth - back) % 3);
            bad++;
        }
        struct window_sum sum = window_sum(&window, 100, tenth * 100 + 99);
        assert_int_equal(sum.all, all);
        assert_int_equal(sum.bad, bad);
    }
    assert_int_equal(window_sum(&window, 100, 1000000).all, 0);
}

static void failures_in_a_row_open_it_and_a_success_begins_anew(void **state)
{
    const struct breaker_conf conf = {
        .window_ms = 10000, .consecutive_failures = 3, .min_requests = 1, .open_ms = 1000, .probes = 1
    };
    struct world w = world_of(&conf);
    let_fail(&w, 2);
    let_succeed(&w, 1);
    let_fail(&w, 2);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    let_fail(&w, 1);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(w.news.cause, BREAKER_STREAK);
    assert_int_equal(w.news.sum.bad, 3);
}

static void slow_answers_open_it(void **state)
{
    const struct breaker_conf conf = { .window_ms = 10000,
                                       .latency = { .above_ms = 2000, .percent = 25 },
                                       .min_requests = 8,
                                       .open_ms = 1000,
                                       .probes = 1 };
    struct world w = world_of(&conf);
    for (int i = 0; i < 7; i++)
        judge_after(&w, ERR_NONE, 200, 2000); /* not above it */
    judge_after(&w, ERR_NONE, 200, 2001);
    assert_int_equal(state_of(&w), BREAKER_CLOSED); /* 1 of 8 */
    judge_after(&w, ERR_NONE, 200, 1);
    judge_after(&w, ERR_RESPONSE_TIMEOUT, 0, 5000);
    assert_int_equal(state_of(&w), BREAKER_CLOSED); /* 2 of 10 */
    judge_after(&w, ERR_NONE, 404, 9000);
    assert_int_equal(state_of(&w), BREAKER_OPEN); /* 3 of 11 */
    assert_int_equal(w.news.cause, BREAKER_SLOW);
    assert_int_equal(w.news.sum.bad, 3);
    assert_int_equal(w.news.sum.all, 11);
}

static void statuses_are_failures_as_the_settings_say(void **state)
{
    struct status_range ranges[] = { { 429, 429 }, { 502, 504 } };
    struct breaker_conf conf = {
        .window_ms = 1000, .consecutive_failures = 1, .min_requests = 1, .open_ms = 1000, .probes = 1
    };
    static const unsigned by_default[] = { 500, 501, 503, 599 }, not_by_default[] = { 200, 304, 404, 429, 499 };
    for (size_t i = 0; i < ARRAY_LEN(by_default); i++)
        assert_true(breaker_conf_fails(&conf, by_default[i]));
    for (size_t i = 0; i < ARRAY_LEN(not_by_default); i++)
        assert_false(breaker_conf_fails(&conf, not_by_default[i]));
    conf.statuses = (struct conf_list){ ranges, 2 };
    struct world w = world_of(&conf);
    judge_after(&w, ERR_NONE, 500, 0);
    judge_after(&w, ERR_NONE, 505, 0);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    judge_after(&w, ERR_NONE, 429, 0);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
}

static void what_a_client_can_bring_about_says_nothing(void **state)
{
    static const enum err says_nothing[] = { ERR_DEADLINE_EXCEEDED, ERR_EXCHANGE_TIMEOUT, ERR_CANCELLED,
                                             ERR_CLIENT_RESET,      ERR_MEMORY,           ERR_UPSTREAM_BODY_TOO_LARGE };
    struct world w = world_of(&by_ratio);
    for (size_t i = 0; i < ARRAY_LEN(says_nothing); i++)
        for (int times = 0; times < 20; times++)
            judge_after(&w, says_nothing[i], 0, 0);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    assert_int_equal(window_sum(&w.breaker.failures, 1000, w.now_ms).all, 0);
}

static void a_body_that_breaks_makes_its_try_a_failure_and_no_second_one(void **state)
{
    struct world w = world_of(&by_ratio);
    for (int i = 0; i < 9; i++) {
        const struct outcome broke = { .err = ERR_UPSTREAM_CUT, .now_ns = w.now_ms * 1000000, .again = true };
        let_succeed(&w, 1);
        breaker_judge(&w.breaker, w.conf, &broke, &w.news);
    }
    struct window_sum sum = window_sum(&w.breaker.failures, 1000, w.now_ms);
    assert_int_equal(sum.all, 9);
    assert_int_equal(sum.bad, 9);
}

/* Heads that were fine begin the row of failures anew, not that of answers that broke off. */
static void a_row_of_bodies_that_break_opens_it_and_an_answer_that_came_whole_ends_the_row(void **state)
{
    static const struct breaker_conf by_row = {
        .window_ms = 10000, .consecutive_failures = 3, .open_ms = 1000, .probes = 1
    };
    struct world w = world_of(&by_row);
    for (int i = 0; i < 6; i++) {
        const struct outcome broke = { .err = ERR_UPSTREAM_CUT, .now_ns = w.now_ms * 1000000, .again = true };
        assert_int_equal(state_of(&w), BREAKER_CLOSED);
        let_succeed(&w, 1);
        if (i == 2)
            breaker_whole(&w.breaker);
        else
            breaker_judge(&w.breaker, w.conf, &broke, &w.news);
    }
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(w.news.cause, BREAKER_STREAK);
    assert_int_equal(w.news.sum.bad, 3);
    w.now_ms += 1000;
    assert_true(admits(&w));
    let_succeed(&w, 1);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    const struct outcome broke = { .err = ERR_UPSTREAM_CUT, .now_ns = w.now_ms * 1000000, .again = true };
    breaker_judge(&w.breaker, w.conf, &broke, &w.news);
    assert_int_equal(state_of(&w), BREAKER_CLOSED); /* the row begins anew */
}

static void open_lets_nothing_through_until_its_time_is_over(void **state)
{
    struct world w = opened(&by_ratio);
    assert_int_equal(breaker_wait_ms(&w.breaker, w.conf, w.now_ms * 1000000), 1000);
    w.now_ms += 999;
    assert_false(admits(&w));
    assert_int_equal(breaker_wait_ms(&w.breaker, w.conf, w.now_ms * 1000000), 1);
    assert_int_equal(breaker_state_at(&w.breaker, w.conf, w.now_ms * 1000000), BREAKER_OPEN);
    w.now_ms += 1;
    assert_int_equal(breaker_state_at(&w.breaker, w.conf, w.now_ms * 1000000), BREAKER_HALF_OPEN);
    assert_true(admits(&w));
    assert_true(w.news.changed);
    assert_int_equal(w.news.now, BREAKER_HALF_OPEN);
}

static void tries_from_before_change_nothing_while_it_is_open_or_half_open(void **state)
{
    struct world w = opened(&by_ratio);
    let_fail(&w, 3);
    let_succeed(&w, 3);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    w.now_ms += 1000;
    assert_true(admits(&w));
    judge_after(&w, ERR_UPSTREAM_RESET, 0, 1500);
    judge_after(&w, ERR_NONE, 200, 1500);
    judge_after(&w, ERR_NONE, 200, 1500);
    assert_int_equal(state_of(&w), BREAKER_HALF_OPEN);
}

static void half_open_lets_so_many_probes_through_and_no_more(void **state)
{
    struct world w = half_open(&by_ratio);
    assert_true(admits(&w));
    assert_false(admits(&w));
    let_succeed(&w, 1);
    assert_false(admits(&w)); /* its success keeps its place */
    assert_int_equal(state_of(&w), BREAKER_HALF_OPEN);
    let_succeed(&w, 1);
    assert_int_equal(state_of(&w), BREAKER_RAMPING);
    assert_true(w.news.changed);
}

static void one_probe_that_fails_opens_it_again(void **state)
{
    struct world w = half_open(&by_ratio);
    let_succeed(&w, 1);
    let_fail(&w, 1);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(w.news.cause, BREAKER_PROBE);
    assert_false(admits(&w));
    w.now_ms += 1000;
    assert_true(admits(&w)); /* with places of its own */
    assert_true(admits(&w));
    assert_false(admits(&w));
}

static void a_slow_probe_is_a_failed_one(void **state)
{
    struct breaker_conf conf = by_ratio;
    conf.latency = (struct breaker_latency){ .above_ms = 100, .percent = 50 };
    struct world w = half_open(&conf);
    w.now_ms += 101;
    judge_after(&w, ERR_NONE, 200, 101);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
}

static void a_cancelled_probe_gives_its_place_back(void **state)
{
    struct world w = half_open(&by_ratio);
    assert_true(admits(&w));
    assert_false(admits(&w));
    breaker_release(&w.breaker, w.now_ms * 1000000);
    assert_true(admits(&w));
    assert_false(admits(&w));
    breaker_release(&w.breaker, (w.now_ms - 1500) * 1000000); /* a try from before had no place */
    assert_false(admits(&w));
}

static void a_probe_that_hangs_does_not_wedge_it(void **state)
{
    struct world w = half_open(&by_ratio);
    uint64_t started_ms = w.now_ms;
    assert_true(admits(&w));
    w.now_ms += 999;
    assert_false(admits(&w));
    w.now_ms += 1; /* their places are given anew */
    assert_true(admits(&w));
    assert_true(admits(&w));
    assert_false(admits(&w));
    judge_after(&w, ERR_NONE, 200, w.now_ms - started_ms); /* late, but a probe it was */
    let_succeed(&w, 1);
    assert_int_equal(state_of(&w), BREAKER_RAMPING);
}

static void a_worker_whose_clock_is_behind_sends_no_probe(void **state)
{
    struct world w = half_open(&by_ratio);
    w.now_ms -= 1;
    assert_false(admits(&w));
    w.now_ms += 1;
    assert_true(admits(&w));
}

static void the_share_rises_along_the_ramp_and_then_it_is_closed(void **state)
{
    struct world w = half_open(&by_ratio);
    assert_true(admits(&w));
    let_succeed(&w, 2);
    assert_int_equal(breaker_share(&w.breaker, w.conf, w.now_ms * 1000000), BREAKER_ONE / 10);
    w.now_ms += 500;
    assert_int_equal(breaker_share(&w.breaker, w.conf, w.now_ms * 1000000), 6553 + (65536 - 6553) / 2);
    assert_true(admits(&w));
    assert_false(w.news.changed);
    w.now_ms += 500;
    assert_int_equal(breaker_share(&w.breaker, w.conf, w.now_ms * 1000000), BREAKER_ONE);
    assert_int_equal(breaker_state_at(&w.breaker, w.conf, w.now_ms * 1000000), BREAKER_CLOSED);
    assert_true(admits(&w));
    assert_true(w.news.changed);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
}

static void without_a_ramp_it_closes_at_once_and_forgets_what_opened_it(void **state)
{
    struct breaker_conf conf = by_ratio;
    conf.ramp_ms = 0;
    struct world w = half_open(&conf);
    assert_true(admits(&w));
    let_succeed(&w, 2);
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    let_fail(&w, 9); /* with those from before it would be 14 of 19 */
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
}

static void failures_on_the_ramp_open_it_again_for_longer(void **state)
{
    struct breaker_conf conf = by_ratio;
    conf.open_max_ms = 5000;
    struct world w = half_open(&conf);
    assert_true(admits(&w));
    let_succeed(&w, 2);
    let_fail(&w, 10);
    assert_int_equal(state_of(&w), BREAKER_OPEN);
    assert_int_equal(w.news.open_ms, 2000);
}

static void the_time_it_is_open_doubles_up_to_its_maximum_and_begins_anew_once_closed(void **state)
{
    static const uint64_t open_ms[] = { 1000, 2000, 4000, 5000, 5000 };
    struct breaker_conf conf = by_ratio;
    conf.open_max_ms = 5000;
    struct world w = opened(&conf);
    for (size_t i = 0; i < ARRAY_LEN(open_ms); i++) {
        assert_int_equal(breaker_wait_ms(&w.breaker, w.conf, w.now_ms * 1000000), open_ms[i]);
        w.now_ms += open_ms[i] - 1;
        assert_false(admits(&w));
        w.now_ms += 1;
        assert_true(admits(&w));
        if (i + 1 < ARRAY_LEN(open_ms))
            let_fail(&w, 1);
    }
    assert_true(admits(&w));
    let_succeed(&w, 2);
    w.now_ms += 1000;
    assert_true(admits(&w));
    assert_int_equal(state_of(&w), BREAKER_CLOSED);
    let_fail(&w, 10);
    assert_int_equal(w.news.open_ms, 1000);
}

static void without_growth_it_is_always_open_as_long(void **state)
{
    struct world w = opened(&by_ratio);
    for (int i = 0; i < 300; i++) { /* more often than openings are counted */
        w.now_ms += 1000;
        assert_true(admits(&w));
        let_fail(&w, 1);
        assert_int_equal(w.news.open_ms, 1000);
    }
    assert_int_equal(atomic_load(&w.breaker.opened), 301);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 20000 };

static struct breaker shared;
static atomic_uint news_of[4], admitted;

static void *count_and_fail(void *arg)
{
    for (uint64_t i = 0; i < ROUNDS; i++) {
        const struct outcome outcome = { .err = i % 3 ? ERR_NONE : ERR_UPSTREAM_RESET,
                                         .status = 200,
                                         .now_ns = (BEGIN_MS + i) * 1000000,
                                         .started_ns = (BEGIN_MS + i) * 1000000 };
        struct breaker_news news;
        if (breaker_admits(&shared, &by_ratio, outcome.now_ns, &news))
            breaker_judge(&shared, &by_ratio, &outcome, &news);
        breaker_release(&shared, outcome.started_ns);
    }
    return NULL;
}

static void workers_share_it_without_a_race(void **state)
{
    pthread_t threads[THREADS];
    breaker_forget(&shared);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_and_fail, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_in_range(breaker_state(&shared), BREAKER_CLOSED, BREAKER_RAMPING);
}

static void *rush_in(void *arg)
{
    struct breaker_news news;
    for (int i = 0; i < 100; i++) {
        if (breaker_admits(&shared, &by_ratio, (BEGIN_MS + 1000) * 1000000ull, &news))
            atomic_fetch_add(&admitted, 1);
        if (news.changed)
            atomic_fetch_add(&news_of[news.now], 1);
    }
    return NULL;
}

static void one_worker_makes_a_transition_and_places_are_exact(void **state)
{
    pthread_t threads[THREADS];
    struct world w = opened(&by_ratio);
    atomic_store(&shared.word, atomic_load(&w.breaker.word));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, rush_in, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&admitted), 2);
    assert_int_equal(atomic_load(&news_of[BREAKER_HALF_OPEN]), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_opens_at_the_share_and_not_below),
        cmocka_unit_test(few_tries_say_nothing),
        cmocka_unit_test(what_lies_behind_the_window_does_not_count),
        cmocka_unit_test(a_window_rolls_on_tenth_by_tenth),
        cmocka_unit_test(failures_in_a_row_open_it_and_a_success_begins_anew),
        cmocka_unit_test(slow_answers_open_it),
        cmocka_unit_test(statuses_are_failures_as_the_settings_say),
        cmocka_unit_test(what_a_client_can_bring_about_says_nothing),
        cmocka_unit_test(a_body_that_breaks_makes_its_try_a_failure_and_no_second_one),
        cmocka_unit_test(a_row_of_bodies_that_break_opens_it_and_an_answer_that_came_whole_ends_the_row),
        cmocka_unit_test(open_lets_nothing_through_until_its_time_is_over),
        cmocka_unit_test(tries_from_before_change_nothing_while_it_is_open_or_half_open),
        cmocka_unit_test(half_open_lets_so_many_probes_through_and_no_more),
        cmocka_unit_test(one_probe_that_fails_opens_it_again),
        cmocka_unit_test(a_slow_probe_is_a_failed_one),
        cmocka_unit_test(a_cancelled_probe_gives_its_place_back),
        cmocka_unit_test(a_probe_that_hangs_does_not_wedge_it),
        cmocka_unit_test(a_worker_whose_clock_is_behind_sends_no_probe),
        cmocka_unit_test(the_share_rises_along_the_ramp_and_then_it_is_closed),
        cmocka_unit_test(without_a_ramp_it_closes_at_once_and_forgets_what_opened_it),
        cmocka_unit_test(failures_on_the_ramp_open_it_again_for_longer),
        cmocka_unit_test(the_time_it_is_open_doubles_up_to_its_maximum_and_begins_anew_once_closed),
        cmocka_unit_test(without_growth_it_is_always_open_as_long),
        cmocka_unit_test(workers_share_it_without_a_race),
        cmocka_unit_test(one_worker_makes_a_transition_and_places_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
