/* Series and their cells: exact under threads, found again, bounded. */
#include "unit.h"

#include "observe/metrics.h"
#include "observe/metrics_internal.h"

enum { WORKERS = 4, ROUNDS = 200000 };

static const struct metric_family requests = {
    .name = "test_requests_total", .help = "Requests.", .kind = METRIC_COUNTER, .labels = { "route", "class" }
};
static const struct metric_family open_now = { .name = "test_open", .help = "Open.", .kind = METRIC_GAUGE };
static const struct metric_family duration = {
    .name = "test_duration_seconds", .help = "Time.", .kind = METRIC_HISTOGRAM, .labels = { "route" }, .unit = "seconds"
};

static int setup(void **state)
{
    fake_begin(false);
    metrics_init(WORKERS);
    return 0;
}

static int teardown(void **state)
{
    metrics_done();
    fake_end();
    return 0;
}

static struct series *get(const struct metric_family *family, const char *a, const char *b)
{
    const char *values[] = { a, b, NULL };
    return series_get(family, values);
}

struct counting {
    unsigned worker;
    struct series *counters[64];
    struct series *histogram;
};

static void *count_much(void *data)
{
    struct counting *counting = data;
    for (unsigned i = 0; i < ROUNDS; i++) {
        series_add(counting->counters[i % 64], counting->worker, 1 + (i & 1));
        series_observe_us(counting->histogram, counting->worker, i);
    }
    return NULL;
}

static void counting_in_all_workers_at_once_loses_nothing(void **state)
{
    struct counting counting[WORKERS + 1] = { 0 };
    for (unsigned s = 0; s < 64; s++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "r%u", s);
        counting[0].counters[s] = get(&requests, name, "2xx");
    }
    counting[0].histogram = get(&duration, "r", NULL);
    pthread_t threads[WORKERS + 1];
    for (unsigned i = 0; i <= WORKERS; i++) {
        counting[i] = counting[0];
        counting[i].worker = i;
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, &counting[i]), 0);
    }
    for (unsigned i = 0; i <= WORKERS; i++)
        pthread_join(threads[i], NULL);
    uint64_t sum = 0;
    for (unsigned s = 0; s < 64; s++)
        sum += series_read(counting[0].counters[s]);
    assert_int_equal(sum, (WORKERS + 1) * (ROUNDS + ROUNDS / 2));
    assert_int_equal(series_read(counting[0].histogram), (WORKERS + 1) * ROUNDS);
    assert_int_equal(series_sum(counting[0].histogram, METRIC_CELL_SUM),
                     (WORKERS + 1) * ((uint64_t)ROUNDS * (ROUNDS - 1) / 2));
}

static void no_two_workers_share_a_cache_line(void **state)
{
    struct series *a = get(&requests, "a", "2xx"), *b = get(&duration, "b", NULL);
    assert_true(((uintptr_t)a->cells & ~(uintptr_t)63) + 64 <= (uintptr_t)(a->cells + METRIC_PAGE_CELLS));
    uintptr_t page = METRIC_PAGE_CELLS * sizeof(metric_cell);
    assert_int_equal(page % 64, 0);
    /* a page begins on a line of its own, and no series goes beyond its page */
    uintptr_t begin = (uintptr_t)b->cells;
    uintptr_t last = (uintptr_t)(b->cells + METRIC_HISTOGRAM_CELLS) - 1;
    struct series *first = b;
    for (unsigned i = 0; i < METRIC_PAGE_CELLS; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n%u", i);
        struct series *other = get(&duration, name, NULL);
        if ((uintptr_t)other->cells < begin && begin - (uintptr_t)other->cells < page)
            begin = (uintptr_t)other->cells, first = other;
    }
    assert_int_equal((uintptr_t)first->cells % 64, 0);
    assert_true(last < begin + page);
}

static void the_same_labels_are_the_same_series_and_others_are_not(void **state)
{
    struct series *a = get(&requests, "a", "2xx");
    assert_ptr_equal(get(&requests, "a", "2xx"), a);
    assert_ptr_not_equal(get(&requests, "a", "3xx"), a);
    assert_ptr_not_equal(get(&requests, "a\",class=\"2xx", ""), a);
    assert_ptr_not_equal(get(&duration, "a", NULL), a);
    /* the one without labels */
    assert_ptr_equal(series_get(&open_now, NULL), get(&open_now, NULL, NULL));
}

static void a_series_lives_until_it_was_dropped_as_often_as_it_was_got(void **state)
{
    struct series *a = get(&requests, "a", "2xx");
    series_add(a, 0, 7);
    assert_ptr_equal(get(&requests, "a", "2xx"), a);
    series_drop(a);
    assert_int_equal(series_read(get(&requests, "a", "2xx")), 7);
    series_drop(a);
    series_drop(a);
    assert_int_equal(series_read(get(&requests, "a", "2xx")), 0);
    series_drop(NULL);
}

static void a_place_used_again_starts_at_zero_in_every_worker(void **state)
{
    for (unsigned round = 0; round < 3; round++) {
        struct series *a = get(&duration, "a", NULL);
        assert_int_equal(series_read(a), 0);
        assert_int_equal(series_sum(a, METRIC_CELL_SUM), 0);
        for (unsigned worker = 0; worker <= WORKERS; worker++)
            series_observe_us(a, worker, 12345678);
        assert_int_equal(series_read(a), WORKERS + 1);
        series_drop(a);
    }
}

static void a_gauge_is_the_sum_of_what_workers_set_and_may_be_negative(void **state)
{
    struct series *gauge = series_get(&open_now, NULL);
    series_set(gauge, 0, 10);
    series_set(gauge, 1, -3);
    series_set(gauge, 0, 1);
    assert_int_equal((int64_t)series_read(gauge), -2);
    series_add(gauge, 2, (uint64_t)-5);
    assert_int_equal((int64_t)series_read(gauge), -7);
}

static void a_duration_falls_into_the_first_bucket_that_is_not_below_it(void **state)
{
    for (unsigned i = 0; i < METRIC_BUCKETS; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "b%u", i);
        struct series *series = get(&duration, name, NULL);
        series_observe_us(series, 0, metric_bounds_us[i]);
        series_observe_us(series, 0, metric_bounds_us[i] + 1);
        assert_int_equal(series_sum(series, METRIC_CELL_BUCKETS + i), 1);
        assert_int_equal(series_sum(series, METRIC_CELL_BUCKETS + i + 1), 1);
        assert_true(i == 0 || metric_bounds_us[i] > metric_bounds_us[i - 1]);
    }
    struct series *series = get(&duration, "ends", NULL);
    series_observe_us(series, 0, 0);
    series_observe_us(series, 0, UINT64_MAX / 2);
    assert_int_equal(series_sum(series, METRIC_CELL_BUCKETS), 1);
    assert_int_equal(series_sum(series, METRIC_CELL_BUCKETS + METRIC_BUCKETS), 1);
}

static void counting_without_a_series_does_nothing(void **state)
{
    series_add(NULL, 0, 1);
    series_set(NULL, 0, 1);
    series_observe_us(NULL, 0, 1);
    assert_int_equal(series_read(NULL), 0);
}

static void series_past_the_bound_of_their_family_are_refused_and_counted(void **state)
{
    char name[16];
    unsigned made = 0;
    for (unsigned i = 0; i < 100100; i++) {
        (void)snprintf(name, sizeof(name), "r%u", i);
        made += get(&requests, name, "2xx") != NULL;
    }
    assert_int_equal(made, 100000);
    assert_int_equal(metrics_dropped(), 100);
    /* another family, and a series that exists, are not concerned */
    assert_non_null(get(&duration, "a", NULL));
    assert_non_null(get(&requests, "r49999", "2xx"));
    assert_int_equal(metrics_dropped(), 100);
}

static void *no_memory(size_t size)
{
    return NULL;
}

static void without_memory_a_series_is_refused_and_counted(void **state)
{
    (void)get(&requests, "a", "2xx");
    fake.table.alloc = no_memory;
    struct series *series = get(&requests, "b", "2xx"), *fresh = get(&duration, "b", NULL);
    fake.table.alloc = sys_posix.alloc;
    assert_null(series);
    assert_null(fresh);
    assert_int_equal(metrics_dropped(), 2);
}

static void a_series_that_nobody_made_is_not_made_by_asking(void **state)
{
    const char *values[] = { "asked", "2xx", NULL };
    assert_null(series_get_existing(&requests, values));
    struct series *made = get(&requests, "asked", "2xx");
    assert_ptr_equal(series_get_existing(&requests, values), made);
    series_drop(made);
    assert_ptr_equal(series_get_existing(&requests, values), made); /* it was counted */
    series_drop(made);
    series_drop(made);
    assert_null(series_get_existing(&requests, values));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(counting_in_all_workers_at_once_loses_nothing),
        TEST(no_two_workers_share_a_cache_line),
        TEST(the_same_labels_are_the_same_series_and_others_are_not),
        TEST(a_series_lives_until_it_was_dropped_as_often_as_it_was_got),
        TEST(a_place_used_again_starts_at_zero_in_every_worker),
        TEST(a_gauge_is_the_sum_of_what_workers_set_and_may_be_negative),
        TEST(a_duration_falls_into_the_first_bucket_that_is_not_below_it),
        TEST(counting_without_a_series_does_nothing),
        TEST(series_past_the_bound_of_their_family_are_refused_and_counted),
        TEST(without_memory_a_series_is_refused_and_counted),
        TEST(a_series_that_nobody_made_is_not_made_by_asking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
