/*
 * The algorithms of limits on a virtual clock: over any window no more is admitted than each of them says, whatever
 * arrives when; what is refused may come at the time told; what is given back is there again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/rng.h"
#include "policies/rate_limit/algorithm.h"
#include "policies/rate_limit/bandwidth.h"
#include "policies/rate_limit/calendar.h"
#include "policies/rate_limit/rate.h"

enum { ARRIVALS = 4000, ROUNDS = 40, WORDS_MAX = 4 + 64 };

#define START_NS (UINT64_C(1700000000) * NS_PER_S)

static struct answer ask(const struct algorithm *a, const struct bound *b, uint64_t *words, enum ask_kind kind,
                         uint64_t now, uint64_t cost)
{
    struct answer answer;
    a->decide(b, words, &(struct ask){ .now_ns = now, .cost = cost, .kind = kind }, &answer);
    return answer;
}

struct admitted {
    uint64_t at_ns, cost;
};

/* Bursts, pauses, and streams about as fast as the limit. */
static uint64_t next_gap(struct rng *rng, uint64_t usual)
{
    switch (rng_below(rng, 8)) {
    case 0:
        return 0;
    case 1:
        return rng_below(rng, (uint32_t)MIN(usual * 20, UINT64_C(4000000000)));
    default:
        return rng_below(rng, (uint32_t)MIN(usual * 2, UINT64_C(4000000000)));
    }
}

/* The most admitted in any window that is half open and `window` long. */
static uint64_t most_in_a_window(const struct admitted *list, unsigned count, uint64_t window)
{
    uint64_t most = 0, sum = 0;
    unsigned first = 0;
    for (unsigned i = 0; i < count; i++) {
        sum += list[i].cost;
        while (list[i].at_ns - list[first].at_ns >= window)
            sum -= list[first++].cost;
        most = MAX(most, sum);
    }
    return most;
}

/* Returns how many were admitted. Checks besides that a peek says what a take does, and that `retry_ns` is the time. */
static unsigned run(const struct algorithm *a, const struct bound *b, uint64_t seed, uint64_t usual,
                    struct admitted *ret_list)
{
    struct rng rng;
    uint64_t words[WORDS_MAX] = { 0 }, now = START_NS;
    unsigned admitted = 0;
    rng_seed(&rng, seed);
    for (unsigned i = 0; i < ARRIVALS; i++) {
        now += next_gap(&rng, usual);
        uint64_t cost = 1 + (rng_below(&rng, 10) == 0) * rng_below(&rng, 4);
        struct answer before = ask(a, b, words, ASK_PEEK, now, cost), answer = ask(a, b, words, ASK_TAKE, now, cost);
        assert_int_equal(before.admitted, answer.admitted);
        if (answer.admitted) {
            ret_list[admitted++] = (struct admitted){ now + answer.wait_ns, cost };
            continue;
        }
        assert_int_equal(before.retry_ns, answer.retry_ns);
        if (answer.retry_ns == NEVER_NS)
            continue;
        assert_true(answer.retry_ns > 0);
        uint64_t copy[WORDS_MAX];
        memcpy(copy, words, sizeof(copy));
        assert_true(ask(a, b, copy, ASK_PEEK, now + answer.retry_ns + 1, cost).admitted);
        memcpy(copy, words, sizeof(copy));
        if (answer.retry_ns > 2)
            assert_false(ask(a, b, copy, ASK_PEEK, now + answer.retry_ns - 2, cost).admitted);
    }
    return admitted;
}

static void a_token_bucket_admits_its_burst_and_what_flows_in(void **state)
{
    const struct bound b = {
        .quota = 30, .window_ns = NS_PER_S, .interval_ns = 33333334, .burst = 20, .cost_max = 160
    };
    static struct admitted list[ARRIVALS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned count = run(&token_bucket, &b, round, 30000000, list);
        assert_true(count > 1000);
        for (uint64_t window = NS_PER_S / 8; window < 16 * NS_PER_S; window *= 2)
            assert_true(most_in_a_window(list, count, window) <= b.burst + window / b.interval_ns + 1);
    }
}

static void a_leaky_bucket_lets_out_one_an_interval_behind_its_burst(void **state)
{
    const struct bound b = { .interval_ns = 20000000, .burst = 3, .queue = 10, .cost_max = 100 };
    static struct admitted list[ARRIVALS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned count = run(&leaky_bucket, &b, round, 20000000, list);
        assert_true(count > 1000);
        for (unsigned i = 1; i < count; i++) /* in the order they came, and none longer than the queue is */
            assert_true(list[i].at_ns >= list[i - 1].at_ns || list[i - 1].at_ns - list[i].at_ns <= b.interval_ns);
        uint64_t costliest = 4;
        for (uint64_t window = NS_PER_S / 8; window < 8 * NS_PER_S; window *= 2)
            assert_true(most_in_a_window(list, count, window) <= b.burst + costliest + window / b.interval_ns + 1);
    }
}

static void a_leaky_bucket_waits_are_a_queue(void **state)
{
    const struct bound b = { .interval_ns = 100, .burst = 1, .queue = 2, .cost_max = 100 };
    uint64_t words[1] = { 0 };
    const uint64_t waits[] = { 0, 0, 100, 200 };
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        struct answer answer = ask(&leaky_bucket, &b, words, ASK_TAKE, 1000, 1);
        assert_true(answer.admitted);
        assert_int_equal(answer.wait_ns, waits[i]);
    }
    struct answer answer = ask(&leaky_bucket, &b, words, ASK_TAKE, 1000, 1);
    assert_false(answer.admitted);
    assert_int_equal(answer.retry_ns, 100);
    assert_int_equal(ask(&leaky_bucket, &b, words, ASK_TAKE, 1100, 1).wait_ns, 200);
}

static void a_sliding_log_is_exact_in_any_window(void **state)
{
    const struct bound b = { .quota = 50, .window_ns = NS_PER_S, .cost_max = COST_MAX };
    static struct admitted list[ARRIVALS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned count = run(&sliding_log, &b, round, 15000000, list);
        assert_true(count > 1000);
        assert_in_range(most_in_a_window(list, count, b.window_ns), 47, 50);
    }
}

static void a_sliding_window_admits_less_than_two_quotas_and_one_when_the_stream_is_steady(void **state)
{
    const struct bound b = { .quota = 50, .window_ns = NS_PER_S, .cost_max = COST_MAX };
    static struct admitted list[ARRIVALS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned count = run(&sliding_window, &b, round, 15000000, list);
        assert_true(count > 1000);
        assert_true(most_in_a_window(list, count, b.window_ns) < 2 * b.quota);
    }
    uint64_t words[4] = { 0 };
    unsigned count = 0;
    for (uint64_t now = START_NS; now < START_NS + 20 * NS_PER_S; now += NS_PER_S / 500)
        if (ask(&sliding_window, &b, words, ASK_TAKE, now, 1).admitted)
            list[count++] = (struct admitted){ now, 1 };
    assert_in_range(count, 19 * b.quota, 20 * b.quota);
}

static void a_fixed_window_admits_its_quota_in_each_window(void **state)
{
    const struct bound b = { .quota = 50, .window_ns = NS_PER_S, .cost_max = COST_MAX };
    static struct admitted list[ARRIVALS];
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned count = run(&fixed_window, &b, round, 15000000, list);
        uint64_t sum = 0, window = 0;
        assert_true(count > 1000);
        for (unsigned i = 0; i < count; i++) {
            sum = list[i].at_ns / NS_PER_S == window ? sum + list[i].cost : list[i].cost;
            window = list[i].at_ns / NS_PER_S;
            assert_true(sum <= b.quota);
        }
    }
}

/* ---- giving back, charging, clocks ---- */

static const struct case_ {
    const struct algorithm *algorithm;
    struct bound bound;
} quotas_of_ten[] = {
    { &token_bucket,
      { .quota = 10, .window_ns = NS_PER_S, .interval_ns = NS_PER_S / 10, .burst = 10, .cost_max = 80 } },
    { &leaky_bucket, { .interval_ns = NS_PER_S / 10, .queue = 9, .cost_max = 80 } },
    { &sliding_window, { .quota = 10, .window_ns = NS_PER_S, .cost_max = 100 } },
    { &sliding_log, { .quota = 10, .window_ns = NS_PER_S, .cost_max = 100 } },
    { &fixed_window, { .quota = 10, .window_ns = NS_PER_S, .cost_max = 100 } },
};

static void what_is_given_back_is_there_again(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(quotas_of_ten); i++) {
        const struct case_ *c = &quotas_of_ten[i];
        uint64_t words[WORDS_MAX] = { 0 };
        for (unsigned taken = 0; taken < 10; taken++)
            assert_true(ask(c->algorithm, &c->bound, words, ASK_TAKE, START_NS, 1).admitted);
        assert_false(ask(c->algorithm, &c->bound, words, ASK_TAKE, START_NS, 1).admitted);
        assert_int_equal(ask(c->algorithm, &c->bound, words, ASK_GIVE, START_NS, 3).remaining, 3);
        assert_false(ask(c->algorithm, &c->bound, words, ASK_TAKE, START_NS, 4).admitted);
        assert_true(ask(c->algorithm, &c->bound, words, ASK_TAKE, START_NS, 3).admitted);
        (void)ask(c->algorithm, &c->bound, words, ASK_GIVE, START_NS, 100);
        assert_int_equal(ask(c->algorithm, &c->bound, words, ASK_PEEK, START_NS, 1).remaining, 10);
    }
}

static void a_charge_is_always_taken_and_the_debt_is_bounded(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(quotas_of_ten); i++) {
        const struct case_ *c = &quotas_of_ten[i];
        uint64_t words[WORDS_MAX] = { 0 };
        assert_int_equal(ask(c->algorithm, &c->bound, words, ASK_CHARGE, START_NS, 4).remaining, 6);
        for (unsigned times = 0; times < 1000; times++)
            (void)ask(c->algorithm, &c->bound, words, ASK_CHARGE, START_NS, c->bound.cost_max);
        assert_false(ask(c->algorithm, &c->bound, words, ASK_PEEK, START_NS, 1).admitted);
        assert_true(ask(c->algorithm, &c->bound, words, ASK_PEEK, START_NS + 6 * NS_PER_S, 1).admitted);
    }
}

static void what_costs_more_than_there_ever_is_never_fits_and_nothing_overflows(void **state)
{
    const struct bound slow = { .burst = 5, .interval_ns = WINDOW_MAX, .queue = 3, .cost_max = 40 };
    for (size_t i = 0; i < ARRAY_LEN(quotas_of_ten); i++) {
        const struct case_ *c = &quotas_of_ten[i];
        uint64_t words[WORDS_MAX] = { 0 };
        assert_int_equal(ask(c->algorithm, &c->bound, words, ASK_TAKE, START_NS, 11).retry_ns, NEVER_NS);
        assert_true(ask(c->algorithm, &c->bound, words, ASK_TAKE, START_NS, 10).admitted);
    }
    uint64_t word = 0;
    (void)ask(&token_bucket, &slow, &word, ASK_CHARGE, START_NS, 40);
    (void)ask(&token_bucket, &slow, &word, ASK_CHARGE, START_NS, 40);
    struct answer answer = ask(&token_bucket, &slow, &word, ASK_TAKE, START_NS, 5);
    assert_false(answer.admitted);
    assert_true(answer.retry_ns <= 25 * WINDOW_MAX);
}

static void a_worker_whose_clock_is_behind_admits_no_more(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(quotas_of_ten); i++) {
        const struct case_ *c = &quotas_of_ten[i];
        uint64_t words[WORDS_MAX] = { 0 }, begin = START_NS - NS_PER_S / 100;
        unsigned admitted = 0;
        for (unsigned turn = 0; turn < 40; turn++) /* on both sides of a window's border */
            admitted += ask(c->algorithm, &c->bound, words, ASK_TAKE, turn % 2 ? START_NS : begin, 1).admitted;
        assert_in_range(admitted, 10, c->algorithm == &fixed_window ? 11 : 10);
    }
}

static void a_clock_that_is_set_back_does_not_hold_a_quota_for_long(void **state)
{
    const struct bound b = { .quota = 1, .window_ns = NS_PER_S, .cost_max = 100 };
    uint64_t words[4] = { 0 };
    assert_true(ask(&fixed_window, &b, words, ASK_TAKE, START_NS + 100000 * NS_PER_S, 1).admitted);
    assert_true(ask(&fixed_window, &b, words, ASK_TAKE, START_NS, 1).admitted);
    assert_false(ask(&fixed_window, &b, words, ASK_TAKE, START_NS, 1).admitted);
}

static void in_flight_is_what_was_taken_and_not_given_back(void **state)
{
    const struct bound b = { .quota = 2, .cost_max = 1 };
    uint64_t word = 0;
    assert_true(ask(&concurrency, &b, &word, ASK_TAKE, 0, 1).admitted);
    assert_int_equal(ask(&concurrency, &b, &word, ASK_TAKE, 0, 1).remaining, 0);
    assert_false(ask(&concurrency, &b, &word, ASK_TAKE, 0, 1).admitted);
    (void)ask(&concurrency, &b, &word, ASK_GIVE, 0, 1);
    assert_true(ask(&concurrency, &b, &word, ASK_TAKE, 0, 1).admitted);
    (void)ask(&concurrency, &b, &word, ASK_GIVE, 0, 1);
    (void)ask(&concurrency, &b, &word, ASK_GIVE, 0, 1);
    assert_int_equal(word, 0);
}

/* ---- bandwidth ---- */

static void bodies_get_their_bytes_a_second_in_pieces(void **state)
{
    const uint64_t rates[] = { 1024, 100000, 12345678, UINT64_C(1) << 40 };
    for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
        const struct bandwidth b = { .bytes_per_s = rates[i], .burst_bytes = MAX(rates[i] / 4, UINT64_C(4096)) };
        uint64_t word = 0, now = START_NS, passed = 0, wait;
        for (unsigned turn = 0; turn < 2000; turn++) {
            uint64_t granted = bandwidth_take(&b, &word, now, 60000 + turn, &wait);
            passed += granted;
            assert_true(passed <= b.burst_bytes + (uint64_t)((double)(now - START_NS) / 1e9 * (double)rates[i]) + 1);
            assert_true((granted == 0) == (wait > 0));
            assert_true(granted == 0 || granted >= MIN(b.burst_bytes, (uint64_t)BANDWIDTH_PIECE));
            if (wait > 1) { /* before that it is less than a piece, and stays where it is */
                uint64_t more;
                assert_int_equal(bandwidth_take(&b, &word, now + wait - wait / 4 - 1, 60000, &more), 0);
            }
            now += wait;
        }
        assert_true((double)passed >= (double)(now - START_NS) / 1e9 * (double)rates[i] * 0.99);
        assert_int_equal(bandwidth_take(&b, &word, now + 10 * NS_PER_S, 1, &wait), 1);
    }
}

/* ---- calendars ---- */

static uint64_t end_of(const char *rate, int64_t offset_ns, uint64_t wall_s)
{
    struct rate r;
    const char *why;
    assert_int_equal(rate_parse(slice_from(rate), &r, &why), 0);
    const struct bound b = { .window_ns = r.window_ns, .period = r.period, .offset_ns = offset_ns };
    uint64_t end = calendar_window_end(&b, wall_s * NS_PER_S + 5);
    assert_int_equal(end % NS_PER_S, 0);
    return end / NS_PER_S;
}

static void windows_end_where_the_calendar_says(void **state)
{
    const int64_t hour = 3600 * (int64_t)NS_PER_S;
    static const struct {
        const char *rate;
        int hours;
        uint64_t wall_s, end_s; /* date -u -d @N */
    } cases[] = {
        { "1/s", 0, 1700000000, 1700000001 },
        { "1/m", 0, 1700000000, 1700000040 },                         /* 2023-11-14 22:13:20 -> 22:14 */
        { "1/h", 0, 1700000000, 1700002800 },                         /* 23:00 */
        { "1/10m", 0, 1700000000, 1700000400 },                       /* 22:20 */
        { "1/d", 0, 1700000000, 1700006400 },                         /* 2023-11-15 00:00 */
        { "1/d", 2, 1700000000, 1700085600 },                         /* 22:00 the next day: it was 00:13 there */
        { "1/d", -5, 1700000000, 1700024400 },                        /* 05:00 */
        { "1/w", 0, 1700000000, 1700438400 },                         /* Tuesday -> Monday 2023-11-20 */
        { "1/w", 0, 1700438400, 1701043200 },                         /* a Monday's begin -> the next */
        { "1/month", 0, 1700000000, 1701388800 },                     /* 2023-12-01 */
        { "1/month", 0, 1704067199, 1704067200 },                     /* the last second of 2023 */
        { "1/month", 0, 1704067200, 1706745600 },                     /* 2024-01-01 -> 2024-02-01 */
        { "1/month", 0, 1709164800, 1709251200 },                     /* 2024-02-29 -> 2024-03-01 */
        { "1/month", 0, 1677542400, 1677628800 },                     /* 2023-02-28 -> 2023-03-01 */
        { "1/month", 0, UINT64_C(4107456000), UINT64_C(4107542400) }, /* 2100-02-28 -> 03-01: no leap year */
        { "1/month", 0, 951782400, 951868800 },                       /* 2000-02-29 -> 2000-03-01: one */
        { "1/month", 1, 1706742000, 1709247600 }, /* 2024-02-01 00:00 there -> 2024-03-01 00:00 there */
        { "1/month", 0, 1714435200, 1714521600 }, /* 2024-04-30 -> 2024-05-01 */
        { "1/month", 0, 0, 2678400 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(end_of(cases[i].rate, cases[i].hours * hour, cases[i].wall_s), cases[i].end_s);
}

/* ---- texts ---- */

static void rates_are_numbers_in_a_time(void **state)
{
    static const struct {
        const char *text;
        uint64_t count, seconds;
    } good[] = {
        { "100/s", 100, 1 },        { "5000/h", 5000, 3600 },     { "10/30s", 10, 30 },
        { "1 / minute", 1, 60 },    { "7/2d", 7, 172800 },        { "1000000000/month", 1000000000, 31 * 86400 },
        { "3/week", 3, 7 * 86400 }, { "1/366d", 1, 366 * 86400 },
    };
    static const char *const bad[] = {
        "",       "100",  "/s",     "100/",     "0/s",   "-1/s",         "1.5/s",
        "1/x",    "1/0s", "1/367d", "1/2month", "1/s/s", "1000000001/s", "1/99999999999999999999s",
        "100/ss", "x/s"
    };
    struct rate rate;
    const char *why;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(rate_parse(slice_from(good[i].text), &rate, &why), 0);
        assert_int_equal(rate.count, good[i].count);
        assert_int_equal(rate.window_ns, good[i].seconds * NS_PER_S);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(rate_parse(slice_from(bad[i]), &rate, &why), -1);
        assert_true(strlen(why) > 0);
    }
}

static void offsets_are_hours_and_minutes(void **state)
{
    static const struct {
        const char *text;
        int64_t minutes;
    } good[] = { { "UTC", 0 }, { "Z", 0 }, { "+02:00", 120 }, { "-0330", -210 }, { "+1400", 840 } };
    static const char *const bad[] = { "", "Europe/Berlin", "+2", "02:00", "+15:00", "+01:60", "+ab:cd", "+01-00" };
    int64_t ns;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(offset_parse(slice_from(good[i].text), &ns), 0);
        assert_int_equal(ns, good[i].minutes * 60 * (int64_t)NS_PER_S);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(offset_parse(slice_from(bad[i]), &ns), -1);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_token_bucket_admits_its_burst_and_what_flows_in),
        TEST(a_leaky_bucket_lets_out_one_an_interval_behind_its_burst),
        TEST(a_leaky_bucket_waits_are_a_queue),
        TEST(a_sliding_log_is_exact_in_any_window),
        TEST(a_sliding_window_admits_less_than_two_quotas_and_one_when_the_stream_is_steady),
        TEST(a_fixed_window_admits_its_quota_in_each_window),
        TEST(what_is_given_back_is_there_again),
        TEST(a_charge_is_always_taken_and_the_debt_is_bounded),
        TEST(what_costs_more_than_there_ever_is_never_fits_and_nothing_overflows),
        TEST(a_worker_whose_clock_is_behind_admits_no_more),
        TEST(a_clock_that_is_set_back_does_not_hold_a_quota_for_long),
        TEST(in_flight_is_what_was_taken_and_not_given_back),
        TEST(bodies_get_their_bytes_a_second_in_pieces),
        TEST(windows_end_where_the_calendar_says),
        TEST(rates_are_numbers_in_a_time),
        TEST(offsets_are_hours_and_minutes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
