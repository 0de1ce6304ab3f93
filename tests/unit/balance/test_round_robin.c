/*
 * Round robin: its order, its exactness over a period in each of its forms and over workers together, and what it
 * passes by.
 */
#include <pthread.h>

#include "sets.h"

static void weights_five_one_one_interleave(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, (uint16_t[]){ 5, 1, 1 }, 3, 0);
    assert_string_equal(picks(&b, 14), "aabacaaaabacaa");
    balancer_done(&b);
}

static void equal_weights_take_turns(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, NULL, 3, 0);
    assert_string_equal(picks(&b, 7), "abcabca");
    balancer_done(&b);
}

/* Two workers' balancers over one set. */
static void two_workers(struct balancer *here, struct balancer *there, const uint16_t *weights, uint32_t count)
{
    struct target_set *set = set_of(weights, count);
    balancer_of(here, &algorithm_round_robin, &plain_conf, target_set_hold(set), 0);
    balancer_of(there, &algorithm_round_robin, &plain_conf, set, 1);
}

static void workers_take_turns_together(void **state)
{
    struct balancer here, there;
    two_workers(&here, &there, (uint16_t[]){ 5, 1, 1 }, 3);
    char order[15] = "";
    for (int i = 0; i < 14; i++) {
        const char *one = picks(i % 3 == 0 ? &here : &there, 1); /* the one more often than the other */
        order[i] = one[0];
    }
    assert_string_equal(order, "aabacaaaabacaa");
    balancer_done(&here);
    balancer_done(&there);
}

static void a_target_that_is_down_is_made_up_for_evenly_by_each_worker(void **state)
{
    struct balancer here, there;
    two_workers(&here, &there, (uint16_t[]){ 3, 2, 1, 4 }, 4);
    bar(here.set, 3, BAR_UNHEALTHY);
    unsigned times[4] = { 0 };
    for (int i = 0; i < 600; i++)
        times[*picks(i % 2 ? &here : &there, 1) - 'a']++;
    assert_in_range(times[0], 297, 303);
    assert_in_range(times[1], 197, 203);
    assert_in_range(times[2], 97, 103);
    balancer_done(&here);
    balancer_done(&there);
}

enum { PICKS_EACH = 6000 };

static void *pick_many(void *user)
{
    for (int i = 0; i < PICKS_EACH; i++)
        assert_non_null(pick_one(user, NULL));
    return NULL;
}

static void two_threads_together_are_exactly_even(void **state)
{
    static const uint16_t weights[] = { 3, 1, 2 };
    struct balancer here, there;
    two_workers(&here, &there, weights, 3);
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, pick_many, &there), 0);
    pick_many(&here);
    pthread_join(other, NULL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&here.set->slots[i].target->picks), weights[i] * PICKS_EACH / 3);
    balancer_done(&here);
    balancer_done(&there);
}

/* No schedule is so long: each worker has an order of its own. */
static void weights_without_a_common_measure_are_still_exact_for_each_worker(void **state)
{
    uint16_t weights[40];
    uint32_t sum = 0;
    for (unsigned i = 0; i < ARRAY_LEN(weights); i++)
        sum += weights[i] = (uint16_t)(961 + i);
    struct balancer here, there;
    two_workers(&here, &there, weights, ARRAY_LEN(weights));
    assert_true(pick_one(&here, NULL) != pick_one(&there, NULL));
    balancer_done(&there);
    uint32_t *times = tally(&here, sum);
    for (unsigned i = 0; i < ARRAY_LEN(weights); i++)
        assert_int_equal(times[i], weights[i]);
    mem_free(times);
    balancer_done(&here);
}

static void a_target_that_is_down_leaves_equal_shares_to_the_rest(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, NULL, 4, 0);
    bar(b.set, 1, BAR_UNHEALTHY);
    assert_string_equal(picks(&b, 12), "aacdaccdadcd"); /* the turns of b go to a, c and d in turn */
    unbar(b.set, 1);
    assert_string_equal(picks(&b, 4), "abcd");
    balancer_done(&b);
}

static void a_weighted_target_comes_back_without_a_burst(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, (uint16_t[]){ 2, 1 }, 2, 0);
    bar(b.set, 0, BAR_UNHEALTHY);
    assert_string_equal(picks(&b, 20), "bbbbbbbbbbbbbbbbbbbb");
    unbar(b.set, 0);
    assert_string_equal(picks(&b, 6), "aabaab");
    balancer_done(&b);
}

static void weight_zero_and_draining_are_passed_by(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, (uint16_t[]){ 1, 0, 1, 1 }, 4, 0);
    bar(b.set, 3, BAR_DRAINING);
    assert_string_equal(picks(&b, 6), "acaacc");
    balancer_done(&b);
}

static void nothing_allowed_is_no_target(void **state)
{
    struct balancer b;
    struct target *target;
    balancer_over(&b, &algorithm_round_robin, (uint16_t[]){ 0, 0 }, 2, 0);
    assert_int_equal(pick_for(&b, NULL, true, &target), -ERR_NO_TARGET);
    balancer_done(&b);
    balancer_over(&b, &algorithm_round_robin, NULL, 0, 3);
    assert_int_equal(pick_for(&b, NULL, true, &target), -ERR_NO_TARGET);
    balancer_done(&b);
}

/* Weights that differ, with some zeros among them. */
static uint32_t spread_weights(uint16_t *ret_weights, uint32_t count)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        ret_weights[i] = (uint16_t)(i * 7 % 23);
        sum += ret_weights[i];
    }
    return sum;
}

static void shares_are_exact_in_each_period(uint32_t count)
{
    uint16_t weights[300];
    assert_true(count <= ARRAY_LEN(weights));
    uint32_t sum = spread_weights(weights, count);
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, weights, count, 0);
    for (int period = 0; period < 3; period++) {
        uint32_t *times = tally(&b, sum);
        for (uint32_t i = 0; i < count; i++)
            assert_int_equal(times[i], weights[i]);
        mem_free(times);
    }
    balancer_done(&b);
}

static void few_unequal_targets_get_exactly_their_weight_each_period(void **state)
{
    shares_are_exact_in_each_period(2);
    shares_are_exact_in_each_period(32);
}

static void many_unequal_targets_get_exactly_their_weight_each_period(void **state)
{
    shares_are_exact_in_each_period(33);
    shares_are_exact_in_each_period(300);
}

static void many_unequal_targets_are_spread_and_not_bunched(void **state)
{
    uint16_t weights[100];
    for (unsigned i = 0; i < 100; i++)
        weights[i] = 1;
    weights[0] = 100; /* half of all */
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, weights, 100, 0);
    unsigned in_first_half = 0;
    for (int i = 0; i < 99; i++)
        in_first_half += pick_one(&b, NULL) == b.set->slots[0].target;
    assert_in_range(in_first_half, 49, 51);
    balancer_done(&b);
}

static void many_unequal_targets_that_are_down_cost_the_rest_nothing(void **state)
{
    uint16_t weights[100];
    for (unsigned i = 0; i < 100; i++)
        weights[i] = i < 97 ? 500 : (uint16_t)(i - 96); /* the last three: 1, 2, 3 */
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, weights, 100, 0);
    for (unsigned i = 0; i < 97; i++)
        bar(b.set, i, BAR_UNHEALTHY);
    uint32_t *times = tally(&b, 600);
    assert_int_equal(times[97], 100);
    assert_int_equal(times[98], 200);
    assert_int_equal(times[99], 300);
    mem_free(times);
    unbar(b.set, 0);
    times = tally(&b, 5060); /* ten periods of 500 + 1 + 2 + 3 */
    assert_in_range(times[0], 4990, 5010);
    mem_free(times);
    balancer_done(&b);
}

static void ten_thousand_targets_each_have_their_turn(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, NULL, 10000, 0);
    uint32_t *times = tally(&b, 20000);
    for (unsigned i = 0; i < 10000; i++)
        assert_int_equal(times[i], 2);
    mem_free(times);
    balancer_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_five_one_one_interleave),
        cmocka_unit_test(equal_weights_take_turns),
        cmocka_unit_test(workers_take_turns_together),
        cmocka_unit_test(a_target_that_is_down_is_made_up_for_evenly_by_each_worker),
        cmocka_unit_test(two_threads_together_are_exactly_even),
        cmocka_unit_test(weights_without_a_common_measure_are_still_exact_for_each_worker),
        cmocka_unit_test(a_target_that_is_down_leaves_equal_shares_to_the_rest),
        cmocka_unit_test(a_weighted_target_comes_back_without_a_burst),
        cmocka_unit_test(weight_zero_and_draining_are_passed_by),
        cmocka_unit_test(nothing_allowed_is_no_target),
        cmocka_unit_test(few_unequal_targets_get_exactly_their_weight_each_period),
        cmocka_unit_test(many_unequal_targets_get_exactly_their_weight_each_period),
        cmocka_unit_test(many_unequal_targets_are_spread_and_not_bunched),
        cmocka_unit_test(many_unequal_targets_that_are_down_cost_the_rest_nothing),
        cmocka_unit_test(ten_thousand_targets_each_have_their_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
