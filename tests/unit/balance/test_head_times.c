/*
 * Times to the head: quantiles of what was seen of late.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "balance/head_times.h"

#define MS     1000000ull
#define SECOND (1000 * MS)

static struct head_times times;

static int begin_anew(void **state)
{
    memset(&times, 0, sizeof times);
    return 0;
}

static void add(unsigned count, uint64_t took_ns, uint64_t now_ns)
{
    for (unsigned i = 0; i < count; i++)
        head_times_add(&times, took_ns, now_ns);
}

static void too_few_say_nothing(void **state)
{
    add(HEAD_TIMES_COUNT_MIN - 1, MS, SECOND);
    assert_int_equal(head_times_quantile_ns(&times, 95, SECOND), 0);
    add(1, MS, SECOND);
    assert_true(head_times_quantile_ns(&times, 95, SECOND) > 0);
}

static void a_quantile_is_exceeded_by_no_more_than_its_share(void **state)
{
    for (uint64_t took_us = 1; took_us < 60000000; took_us = took_us * 5 / 4 + 1) {
        begin_anew(NULL);
        add(95, took_us * 1000, SECOND);
        add(5, 3600 * SECOND, SECOND);
        uint64_t quantile_us = head_times_quantile_ns(&times, 95, SECOND) / 1000;
        if (took_us >= 128 && took_us < 16000000) {
            assert_true(quantile_us >= took_us);
            assert_true(quantile_us <= took_us + took_us / 8);
        }
    }
}

static void what_is_old_is_forgotten(void **state)
{
    const uint64_t window = HEAD_TIMES_WINDOW_S * SECOND;
    add(200, 500 * MS, SECOND);
    assert_true(head_times_quantile_ns(&times, 90, SECOND + window) >= 500 * MS); /* the window before still counts */
    add(200, 2 * MS, SECOND + window);
    assert_true(head_times_quantile_ns(&times, 90, SECOND + window) >= 500 * MS);
    add(200, 2 * MS, SECOND + 2 * window);
    assert_true(head_times_quantile_ns(&times, 90, SECOND + 2 * window) < 3 * MS);
    assert_int_equal(head_times_quantile_ns(&times, 90, SECOND + 9 * window), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(too_few_say_nothing, begin_anew),
        cmocka_unit_test_setup(a_quantile_is_exceeded_by_no_more_than_its_share, begin_anew),
        cmocka_unit_test_setup(what_is_old_is_forgotten, begin_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
