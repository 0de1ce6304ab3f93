/*
 * The wheel against a naive model: a sorted array of deadlines.  Random deadlines at every scale, clears, re-arms and
 * jumps of the clock; both must fire the same timers in the same advance.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/rng.h"
#include "loop/loop.h"
#include "loop/wheel.h"

enum { TIMERS = 200 };

static void timer_reset(struct timer *timer)
{
    *timer = (struct timer){ .at_ms = 0 };
    list_init(&timer->link);
}

static void arm(struct wheel *wheel, struct timer *timer, uint64_t at_ms)
{
    list_unlink(&timer->link);
    timer->at_ms = at_ms;
    wheel_insert(wheel, timer);
}

/* Advances and checks that exactly the timers due by now_ms came, in order; returns how many. */
static int advance_and_check(struct wheel *wheel, struct timer *timers, uint64_t now_ms)
{
    struct link expired, *item;
    uint64_t before = 0;
    int count = 0;

    list_init(&expired);
    wheel_advance(wheel, now_ms, &expired);
    while ((item = list_pop_front(&expired))) {
        struct timer *timer = container_of(item, struct timer, link);
        assert_true(timer->at_ms <= now_ms);
        assert_true(timer->at_ms >= before);
        before = timer->at_ms;
        timer->at_ms = 0;
        count++;
    }
    for (int i = 0; i < TIMERS; i++)
        assert_true(timers[i].at_ms == 0 || timers[i].at_ms > now_ms);
    return count;
}

static uint64_t random_distance(struct rng *rng, unsigned bits_max)
{
    unsigned bits = 1 + rng_below(rng, bits_max);

    return 1 + (rng_next(rng) & ((1ull << bits) - 1));
}

static uint64_t earliest(const struct timer *timers)
{
    uint64_t at_ms = UINT64_MAX;

    for (int i = 0; i < TIMERS; i++)
        if (timers[i].at_ms && timers[i].at_ms < at_ms)
            at_ms = timers[i].at_ms;
    return at_ms;
}

static void fires_what_a_sorted_list_would_fire(void **state)
{
    struct timer timers[TIMERS];
    struct rng rng;
    int fired = 0;

    for (uint64_t seed = 1; seed <= 30; seed++) {
        rng_seed(&rng, seed);
        uint64_t now_ms = 1 + (rng_next(&rng) >> rng_below(&rng, 60)) / 2;
        struct wheel *wheel = wheel_new(now_ms);
        assert_non_null(wheel);
        for (int i = 0; i < TIMERS; i++)
            timer_reset(&timers[i]);
        for (int step = 0; step < 2000; step++) {
            struct timer *timer = &timers[rng_below(&rng, TIMERS)];
            switch (rng_below(&rng, 4)) {
            case 0:
                list_unlink(&timer->link);
                timer->at_ms = 0;
                break;
            case 1:
                now_ms += random_distance(&rng, 36) / (1 + rng_below(&rng, 1000));
                fired += advance_and_check(wheel, timers, now_ms);
                break;
            default:
                arm(wheel, timer, now_ms + random_distance(&rng, 36));
            }
            assert_true(wheel_next_ms(wheel) <= earliest(timers));
            assert_true(wheel_next_ms(wheel) > now_ms);
        }
        wheel_free(wheel);
    }
    assert_true(fired > 1000);
}

static void a_lone_timer_costs_at_most_five_wakeups(void **state)
{
    struct rng rng;
    struct timer timers[TIMERS];

    rng_seed(&rng, 7);
    for (int i = 0; i < TIMERS; i++)
        timer_reset(&timers[i]);
    for (int round = 0; round < 300; round++) {
        uint64_t now_ms = 1 + (rng_next(&rng) >> 20);
        struct wheel *wheel = wheel_new(now_ms);
        int wakeups = 0;
        arm(wheel, &timers[0], now_ms + random_distance(&rng, 32));
        while (timers[0].at_ms) {
            uint64_t next_ms = wheel_next_ms(wheel);
            assert_true(next_ms != UINT64_MAX);
            advance_and_check(wheel, timers, next_ms);
            wakeups++;
        }
        assert_true(wakeups <= 5);
        assert_true(wheel_next_ms(wheel) == UINT64_MAX);
        wheel_free(wheel);
    }
}

static void a_deadline_in_the_past_is_due_at_once(void **state)
{
    struct timer timers[TIMERS];
    struct wheel *wheel = wheel_new(1000);

    for (int i = 0; i < TIMERS; i++)
        timer_reset(&timers[i]);
    arm(wheel, &timers[0], 1000);
    arm(wheel, &timers[1], 5);
    assert_true(wheel_next_ms(wheel) <= 1000);
    struct link expired;
    list_init(&expired);
    wheel_advance(wheel, 1000, &expired);
    assert_ptr_equal(list_pop_front(&expired), &timers[0].link);
    assert_ptr_equal(list_pop_front(&expired), &timers[1].link);
    assert_true(list_empty(&expired));
    wheel_free(wheel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_what_a_sorted_list_would_fire),
        cmocka_unit_test(a_lone_timer_costs_at_most_five_wakeups),
        cmocka_unit_test(a_deadline_in_the_past_is_due_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
