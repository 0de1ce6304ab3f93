/*
 * Outlier detection on a clock of its own: rows of failures, how many may be out, how long, rates against figures
 * computed by hand, and several threads at once.
 */
#include <pthread.h>

#include "sets.h"

static const struct outlier_conf defaults = { .on = true,
                                              .interval_ms = 10000,
                                              .consecutive_5xx = 5,
                                              .consecutive_local = 5,
                                              .base_ejection_ms = 30000,
                                              .max_ejection_ms = 300000,
                                              .max_ejected_percent = 10,
                                              .success_rate = { 5, 100, 1.9 },
                                              .failure_percentage = { 5, 50, 85 } };

static const uint64_t second_ns = 1000000000;

static bool judge(struct target_set *set, uint32_t index, const struct outlier_conf *conf, enum err err,
                  unsigned status, uint64_t now_ns)
{
    const struct outcome outcome = { .err = err, .status = (uint16_t)status, .now_ns = now_ns };
    return outlier_judge(set->slots[index].target, conf, set->count, &outcome);
}

/* So many judgements in a row; how many ejections that made. */
static unsigned judge_times(struct target_set *set, uint32_t index, const struct outlier_conf *conf, enum err err,
                            unsigned status, unsigned times, uint64_t now_ns)
{
    unsigned ejections = 0;
    for (unsigned i = 0; i < times; i++)
        ejections += judge(set, index, conf, err, status, now_ns);
    return ejections;
}

static bool is_out(const struct target_set *set, uint32_t index)
{
    return (target_barred(set->slots[index].target) & BAR_EJECTED) != 0;
}

static uint32_t count_out(const struct target_set *set)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < set->count; i++)
        count += is_out(set, i);
    assert_int_equal(count, atomic_load(&set->slots[0].target->cluster->outlier.ejected));
    return count;
}

static void five_failures_in_a_row_eject_and_four_do_not(void **state)
{
    struct target_set *set = set_of(NULL, 2);
    assert_int_equal(judge_times(set, 0, &defaults, ERR_NONE, 500, 4, 1), 0);
    assert_false(judge(set, 0, &defaults, ERR_NONE, 404, 1)); /* an answer below 500 begins the row anew */
    assert_int_equal(judge_times(set, 0, &defaults, ERR_NONE, 503, 2, 1), 0);
    assert_int_equal(judge_times(set, 0, &defaults, ERR_CONNECT_REFUSED, 0, 2, 1), 0);
    assert_false(is_out(set, 0));
    assert_true(judge(set, 0, &defaults, ERR_RESPONSE_TIMEOUT, 0, 1));
    assert_true(is_out(set, 0));
    assert_int_equal(atomic_load(&set->slots[0].target->cluster->outlier.ejections[OUTLIER_5XX]), 1);
    assert_int_equal(judge_times(set, 0, &defaults, ERR_NONE, 500, 9, 1), 0); /* once is enough */
    target_set_drop(set);
}

static void what_a_client_can_bring_about_ejects_nobody(void **state)
{
    struct target_set *set = set_of(NULL, 2);
    assert_int_equal(judge_times(set, 0, &defaults, ERR_DEADLINE_EXCEEDED, 0, 100, 1), 0);
    assert_int_equal(judge_times(set, 0, &defaults, ERR_EXCHANGE_TIMEOUT, 0, 100, 1), 0);
    assert_int_equal(judge_times(set, 0, &defaults, ERR_CLIENT_RESET, 0, 100, 1), 0);
    target_set_drop(set);
}

static void gateway_failures_have_a_row_of_their_own(void **state)
{
    struct outlier_conf conf = defaults;
    struct target_set *set = set_of(NULL, 2);
    conf.consecutive_gateway = 3;
    assert_int_equal(judge_times(set, 0, &conf, ERR_NONE, 502, 2, 1), 0);
    assert_false(judge(set, 0, &conf, ERR_NONE, 500, 1)); /* no gateway failure, but one more of the other row */
    assert_int_equal(judge_times(set, 1, &conf, ERR_NONE, 504, 1, 1), 0);
    assert_int_equal(judge_times(set, 1, &conf, ERR_CONNECT_FAILED, 0, 2, 1), 1);
    assert_int_equal(atomic_load(&set->slots[0].target->cluster->outlier.ejections[OUTLIER_GATEWAY]), 1);
    target_set_drop(set);
}

static void local_failures_can_be_split_off(void **state)
{
    struct outlier_conf conf = defaults;
    struct target_set *set = set_of(NULL, 2);
    conf.split_local = true;
    conf.consecutive_local = 3;
    assert_int_equal(judge_times(set, 0, &conf, ERR_NONE, 500, 4, 1), 0);
    assert_int_equal(judge_times(set, 0, &conf, ERR_UPSTREAM_RESET, 0, 2, 1), 0); /* of another row */
    assert_true(judge(set, 0, &conf, ERR_UPSTREAM_RESET, 0, 1));
    assert_int_equal(atomic_load(&set->slots[0].target->cluster->outlier.ejections[OUTLIER_LOCAL]), 1);
    target_set_drop(set);
}

static void so_many_may_be_out_and_never_the_only_one(void **state)
{
    static const struct {
        uint32_t targets, most;
    } cases[] = { { 1, 0 }, { 2, 1 }, { 9, 1 }, { 10, 1 }, { 19, 1 }, { 20, 2 }, { 100, 10 } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct target_set *set = set_of(NULL, cases[i].targets);
        assert_int_equal(outlier_most(&defaults, cases[i].targets), cases[i].most);
        unsigned ejections = 0;
        for (uint32_t j = 0; j < set->count; j++)
            ejections += judge_times(set, j, &defaults, ERR_NONE, 500, 20, 1);
        assert_int_equal(ejections, cases[i].most);
        assert_int_equal(count_out(set), cases[i].most);
        target_set_drop(set);
    }
    struct outlier_conf all = defaults;
    all.max_ejected_percent = 100;
    assert_int_equal(outlier_most(&all, 3), 3);
}

static void an_ejection_lasts_its_time_and_grows_and_shrinks_with_intervals_well_served(void **state)
{
    static const unsigned lasts_s[] = { 30, 60, 90 };
    struct target_set *set = set_of(NULL, 2);
    uint64_t now_ns = 1000 * second_ns;
    for (size_t i = 0; i < ARRAY_LEN(lasts_s); i++) {
        assert_int_equal(judge_times(set, 0, &defaults, ERR_NONE, 500, 5, now_ns), 1);
        now_ns += lasts_s[i] * second_ns;
        assert_int_equal(outlier_sweep(set, now_ns - 1), 0);
        assert_true(is_out(set, 0));
        assert_int_equal(outlier_sweep(set, now_ns), 1);
        assert_false(is_out(set, 0));
        assert_int_equal(atomic_load(&set->slots[0].target->available_ns), now_ns); /* slow start begins here */
    }
    (void)outlier_evaluate(set, &defaults, now_ns); /* three ejections; two intervals well served leave one */
    (void)outlier_evaluate(set, &defaults, now_ns);
    assert_int_equal(judge_times(set, 0, &defaults, ERR_NONE, 500, 5, now_ns), 1);
    assert_int_equal(outlier_sweep(set, now_ns + 60 * second_ns - 1), 0);
    assert_int_equal(outlier_sweep(set, now_ns + 60 * second_ns), 1);
    target_set_drop(set);
}

static void an_ejection_lasts_no_longer_than_the_maximum_and_no_interval_counts_meanwhile(void **state)
{
    struct target_set *set = set_of(NULL, 2);
    uint64_t now_ns = 1;
    for (int i = 1; i <= 12; i++) {
        uint64_t lasts_ns = MIN(i * 30u, 300u) * second_ns;
        assert_int_equal(judge_times(set, 0, &defaults, ERR_NONE, 500, 5, now_ns), 1);
        (void)outlier_evaluate(set, &defaults, now_ns); /* it is out */
        assert_int_equal(outlier_sweep(set, now_ns + lasts_ns - 1), 0);
        now_ns += lasts_ns;
        assert_int_equal(outlier_sweep(set, now_ns), 1);
    }
    target_set_drop(set);
}

static void one_that_comes_back_begins_its_rows_anew(void **state)
{
    struct target_set *set = set_of(NULL, 2);
    assert_int_equal(judge_times(set, 0, &defaults, ERR_NONE, 500, 9, 1), 1);
    assert_true(outlier_uneject(set->slots[0].target, 2));
    assert_false(outlier_uneject(set->slots[0].target, 2));
    assert_int_equal(judge_times(set, 0, &defaults, ERR_NONE, 500, 4, 3), 0);
    assert_int_equal(count_out(set), 0);
    target_set_drop(set);
}

static void a_target_that_ends_while_it_is_out_leaves_room_for_another(void **state)
{
    struct target_set *both = set_of(NULL, 2), *rest;
    struct target_slot slot = { .target = target_hold(both->slots[1].target), .weight = 1 };
    rest = target_set_new(&slot, 1);
    assert_int_equal(judge_times(both, 0, &defaults, ERR_NONE, 500, 5, 1), 1);
    target_set_drop(both);
    assert_int_equal(count_out(rest), 0);
    target_set_drop(rest);
}

static void fill(struct target_set *set, uint32_t index, unsigned good, unsigned bad)
{
    struct outlier_conf only_rates = defaults;
    only_rates.consecutive_5xx = 0;
    (void)judge_times(set, index, &only_rates, ERR_NONE, 200, good, 1);
    (void)judge_times(set, index, &only_rates, ERR_NONE, 500, bad, 1);
}

/* Nine at 100 %, one at 80 %: mean 98, deviation sqrt((9*4 + 324) / 10) = 6; 98 - 1.9 * 6 = 86.6. */
static void a_success_rate_far_below_the_mean_ejects(void **state)
{
    struct target_set *set = set_of(NULL, 10);
    for (uint32_t i = 0; i < 10; i++)
        fill(set, i, i == 3 ? 80 : 100, i == 3 ? 20 : 0);
    assert_int_equal(outlier_evaluate(set, &defaults, 1), 1);
    assert_true(is_out(set, 3));
    assert_int_equal(atomic_load(&set->slots[0].target->cluster->outlier.ejections[OUTLIER_SUCCESS_RATE]), 1);
    target_set_drop(set);
}

/* Of two, at 100 and 50 %: mean 75, deviation 25: the bound with a factor of 1 is 50, and 50 is not below it. */
static void a_success_rate_at_the_bound_does_not_eject(void **state)
{
    struct outlier_conf conf = defaults;
    struct target_set *set = set_of(NULL, 2);
    conf.success_rate = (struct outlier_success_rate){ 2, 100, 1 };
    fill(set, 0, 100, 0);
    fill(set, 1, 50, 50);
    assert_int_equal(outlier_evaluate(set, &conf, 1), 0);
    conf.success_rate.stdev_factor = 0.99;
    fill(set, 0, 100, 0);
    fill(set, 1, 50, 50);
    assert_int_equal(outlier_evaluate(set, &conf, 1), 1);
    assert_true(is_out(set, 1));
    target_set_drop(set);
}

static void rates_need_enough_targets_with_enough_requests(void **state)
{
    struct target_set *set = set_of(NULL, 5);
    for (uint32_t i = 0; i < 5; i++)
        fill(set, i, i == 0 ? 0 : 100, i == 0 ? 99 : 0); /* 99 of the bad one: four have enough for the mean */
    struct outlier_conf conf = defaults;
    conf.failure_percentage.threshold_percent = 0;
    assert_int_equal(outlier_evaluate(set, &conf, 1), 0);
    for (uint32_t i = 0; i < 5; i++)
        fill(set, i, i == 0 ? 0 : 100, i == 0 ? 100 : 0);
    assert_int_equal(outlier_evaluate(set, &conf, 1), 1);
    assert_int_equal(outlier_evaluate(set, &conf, 1), 0); /* counts began anew */
    target_set_drop(set);
}

static void a_failure_percentage_at_its_threshold_ejects(void **state)
{
    struct outlier_conf conf = defaults;
    conf.success_rate.stdev_factor = 0;
    struct target_set *set = set_of(NULL, 5);
    for (uint32_t i = 0; i < 5; i++)
        fill(set, i, 16, 84); /* all the same: no mean would show it */
    assert_int_equal(outlier_evaluate(set, &conf, 1), 0);
    for (uint32_t i = 0; i < 5; i++)
        fill(set, i, 15, 85);
    assert_int_equal(outlier_evaluate(set, &conf, 1), 1); /* but only one may go */
    assert_int_equal(atomic_load(&set->slots[0].target->cluster->outlier.ejections[OUTLIER_FAILURE_PERCENTAGE]), 1);
    target_set_drop(set);
}

static void when_not_all_may_go_the_worst_goes(void **state)
{
    struct outlier_conf conf = defaults;
    conf.success_rate.stdev_factor = 0;
    struct target_set *set = set_of(NULL, 5);
    for (uint32_t i = 0; i < 5; i++)
        fill(set, i, i == 4 ? 2 : 10, i == 4 ? 98 : 90);
    assert_int_equal(outlier_evaluate(set, &conf, 1), 1);
    assert_true(is_out(set, 4));
    target_set_drop(set);
}

static void a_body_that_breaks_counts_against_its_try(void **state)
{
    struct outlier_conf conf = defaults;
    conf.success_rate.stdev_factor = 0;
    struct target_set *set = set_of(NULL, 5);
    const struct outcome broke = { .err = ERR_UPSTREAM_CUT, .now_ns = 1, .again = true };
    for (uint32_t i = 0; i < 5; i++)
        for (int n = 0; n < 50; n++) {
            fill(set, i, 1, 0);
            (void)outlier_judge(set->slots[i].target, &(struct outlier_conf){ 0 }, 5, &broke);
        }
    assert_int_equal(outlier_evaluate(set, &conf, 1), 1); /* 50 of 50 */
    target_set_drop(set);
}

/* Heads that were fine begin the row of failures anew, not that of answers that broke off. */
static void a_row_of_bodies_that_break_ejects_and_an_answer_that_came_whole_ends_it(void **state)
{
    struct outlier_conf split = defaults;
    split.split_local = true;
    split.consecutive_5xx = 0;
    const struct outlier_conf *const confs[] = { &defaults, &split };
    for (size_t c = 0; c < ARRAY_LEN(confs); c++) {
        struct target_set *set = set_of(NULL, 2);
        const struct outcome broke = { .err = ERR_UPSTREAM_CUT, .now_ns = 1, .again = true };
        unsigned ejections = 0;
        for (int i = 0; i < 9; i++) {
            assert_int_equal(ejections, 0);
            assert_false(judge(set, 0, confs[c], ERR_NONE, 200, 1));
            if (i == 4)
                outlier_whole(set->slots[0].target);
            else
                ejections += outlier_judge(set->slots[0].target, confs[c], set->count, &broke);
        }
        assert_int_equal(ejections, 0);
        assert_false(judge(set, 0, confs[c], ERR_NONE, 200, 1));
        assert_true(outlier_judge(set->slots[0].target, confs[c], set->count, &broke));
        assert_true(outlier_uneject(set->slots[0].target, 1));
        assert_false(outlier_judge(set->slots[0].target, confs[c], set->count, &broke));
        target_set_drop(set);
    }
}

/* ---- threads ---- */

enum { THREADS = 4 };

static struct target_set *shared;
static atomic_uint ejections;

static void *fail_everywhere(void *arg)
{
    for (unsigned round = 0; round < 2000; round++)
        for (uint32_t i = 0; i < shared->count; i++)
            if (judge(shared, i, &defaults, ERR_NONE, 500, 1))
                atomic_fetch_add(&ejections, 1);
    return NULL;
}

static void no_race_ejects_more_than_may_be_out(void **state)
{
    pthread_t threads[THREADS];
    shared = set_of(NULL, 20);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fail_everywhere, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(atomic_load(&ejections), 2);
    assert_int_equal(count_out(shared), 2);
    assert_int_equal(outlier_sweep(shared, 1000 * second_ns), 2);
    assert_int_equal(count_out(shared), 0);
    target_set_drop(shared);
}

static void *sweep_often(void *arg)
{
    for (unsigned i = 0; i < 5000; i++)
        (void)outlier_sweep(shared, 1000 * second_ns);
    return NULL;
}

static void ejecting_and_letting_back_at_once_keeps_bars_and_counts_together(void **state)
{
    pthread_t threads[THREADS];
    shared = set_of(NULL, 20);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i == 0 ? sweep_often : fail_everywhere, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_in_range(count_out(shared), 0, 2);
    (void)outlier_sweep(shared, 1000 * second_ns);
    assert_int_equal(count_out(shared), 0);
    target_set_drop(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_failures_in_a_row_eject_and_four_do_not),
        cmocka_unit_test(what_a_client_can_bring_about_ejects_nobody),
        cmocka_unit_test(gateway_failures_have_a_row_of_their_own),
        cmocka_unit_test(local_failures_can_be_split_off),
        cmocka_unit_test(so_many_may_be_out_and_never_the_only_one),
        cmocka_unit_test(an_ejection_lasts_its_time_and_grows_and_shrinks_with_intervals_well_served),
        cmocka_unit_test(an_ejection_lasts_no_longer_than_the_maximum_and_no_interval_counts_meanwhile),
        cmocka_unit_test(one_that_comes_back_begins_its_rows_anew),
        cmocka_unit_test(a_target_that_ends_while_it_is_out_leaves_room_for_another),
        cmocka_unit_test(a_success_rate_far_below_the_mean_ejects),
        cmocka_unit_test(a_success_rate_at_the_bound_does_not_eject),
        cmocka_unit_test(rates_need_enough_targets_with_enough_requests),
        cmocka_unit_test(a_failure_percentage_at_its_threshold_ejects),
        cmocka_unit_test(when_not_all_may_go_the_worst_goes),
        cmocka_unit_test(a_body_that_breaks_counts_against_its_try),
        cmocka_unit_test(a_row_of_bodies_that_break_ejects_and_an_answer_that_came_whole_ends_it),
        cmocka_unit_test(no_race_ejects_more_than_may_be_out),
        cmocka_unit_test(ejecting_and_letting_back_at_once_keeps_bars_and_counts_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
