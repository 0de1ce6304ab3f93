/*
 * The retry budget, and the figures.
 */
#include "service.h"

static struct upstream *upstream_with_budget(double percent)
{
    static struct upstream_conf conf;
    conf = usual_conf();
    conf.retry.budget_percent = percent;
    struct upstream *upstream = upstream_new("test", &conf, NULL, 1);
    assert_non_null(upstream);
    return upstream;
}

static unsigned retries_allowed(struct upstream *upstream)
{
    unsigned count = 0;
    while (upstream_retry_begin(upstream))
        count++;
    struct upstream_stats stats;
    upstream_stats(upstream, &stats);
    assert_int_equal(stats.active_retries, count);
    for (unsigned i = 0; i < count; i++)
        upstream_retry_end(upstream);
    return count;
}

static void three_retries_are_always_allowed(void **state)
{
    struct upstream *upstream = upstream_with_budget(20);
    assert_int_equal(retries_allowed(upstream), 3);
    for (int i = 0; i < 15; i++)
        upstream_request_begin(upstream);
    assert_int_equal(retries_allowed(upstream), 3);
    for (int i = 0; i < 15; i++)
        upstream_request_end(upstream);
    upstream_drop(upstream);
}

static void retries_are_a_share_of_active_requests(void **state)
{
    struct upstream *upstream = upstream_with_budget(20);
    for (int i = 0; i < 50; i++)
        upstream_request_begin(upstream);
    assert_int_equal(retries_allowed(upstream), 10);
    for (int i = 0; i < 25; i++)
        upstream_request_end(upstream);
    assert_int_equal(retries_allowed(upstream), 5);
    struct upstream_stats stats;
    upstream_stats(upstream, &stats);
    assert_int_equal(stats.active_requests, 25);
    for (int i = 0; i < 25; i++)
        upstream_request_end(upstream);
    upstream_drop(upstream);
}

static void a_retry_that_ended_makes_room_for_another(void **state)
{
    struct upstream *upstream = upstream_with_budget(0);
    for (int i = 0; i < 3; i++)
        assert_true(upstream_retry_begin(upstream));
    assert_false(upstream_retry_begin(upstream));
    upstream_retry_end(upstream);
    assert_true(upstream_retry_begin(upstream));
    for (int i = 0; i < 3; i++)
        upstream_retry_end(upstream);
    upstream_drop(upstream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_retries_are_always_allowed),
        cmocka_unit_test(retries_are_a_share_of_active_requests),
        cmocka_unit_test(a_retry_that_ended_makes_room_for_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
