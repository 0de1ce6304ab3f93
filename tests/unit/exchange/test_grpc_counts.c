/*
 * Calls are counted before and after there are series for them, and none twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "exchange/grpc_counts.h"

static int asked;

static void ask(struct grpc_counts *counts)
{
    asked++;
}

static void what_ends_before_there_are_series_is_counted_once_they_are_there(void **state)
{
    static const struct metric_family family = {
        .name = "test_calls_total", .help = "Calls.", .kind = METRIC_COUNTER, .labels = { "status" }
    };
    struct grpc_counts counts = { .ask = ask };
    struct series *series[GRPC_STATUS_COUNT];
    metric_cell *places[GRPC_STATUS_COUNT];
    metrics_init(2);
    grpc_counts_add(&counts, 0, GRPC_STATUS_OK);
    grpc_counts_add(&counts, 1, GRPC_STATUS_OK);
    grpc_counts_add(&counts, 1, GRPC_STATUS_ABSENT);
    assert_int_equal(asked, 1);
    for (int i = 0; i < GRPC_STATUS_COUNT; i++) {
        const char *values[] = { grpc_status_word((enum grpc_status)i), NULL };
        series[i] = series_get(&family, values);
        places[i] = series_place(series[i]);
    }
    grpc_counts_place(&counts, 2, places);
    grpc_counts_add(&counts, 0, GRPC_STATUS_OK);
    grpc_counts_add(&counts, 0, GRPC_STATUS_OTHER);
    assert_int_equal(series_read(series[GRPC_STATUS_OK]), 3);
    assert_int_equal(series_read(series[GRPC_STATUS_ABSENT]), 1);
    assert_int_equal(series_read(series[GRPC_STATUS_OTHER]), 1);
    assert_int_equal(asked, 1);
    for (int i = 0; i < GRPC_STATUS_COUNT; i++)
        series_drop(series[i]);
    metrics_done();
}

static void without_anyone_to_ask_nothing_is_kept(void **state)
{
    struct grpc_counts counts = { .ask = NULL };
    grpc_counts_add(&counts, 0, GRPC_STATUS_OK);
    assert_int_equal(counts.early[GRPC_STATUS_OK], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_ends_before_there_are_series_is_counted_once_they_are_there),
        cmocka_unit_test(without_anyone_to_ask_nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
