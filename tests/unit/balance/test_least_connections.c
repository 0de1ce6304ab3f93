/*
 * Least connections: the lowest ratio wins, ties take turns.
 */
#include "sets.h"

static struct target *hold_one(struct balancer *b)
{
    struct target *target = NULL;
    assert_int_equal(pick_for(b, NULL, false, &target), 0);
    return target;
}

static void idle_targets_take_turns(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_least_connections, NULL, 3, 0);
    assert_string_equal(picks(&b, 7), "abcabca");
    balancer_done(&b);
}

static void idle_targets_take_turns_by_their_weights(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_least_connections, (uint16_t[]){ 5, 1, 1 }, 3, 0);
    assert_string_equal(picks(&b, 7), "aabacaa");
    balancer_done(&b);
}

static void the_target_with_the_fewest_in_flight_is_picked(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_least_connections, NULL, 3, 0);
    struct target *held[4];
    for (int i = 0; i < 4; i++)
        held[i] = hold_one(&b); /* a has 2, b and c have 1 */
    assert_string_equal(held[3]->name, "a");
    end_try(&b, held[2], ERR_NONE); /* c has none */
    assert_string_equal(picks(&b, 3), "ccc");
    end_try(&b, held[0], ERR_NONE);
    end_try(&b, held[1], ERR_NONE);
    end_try(&b, held[3], ERR_NONE);
    balancer_done(&b);
}

static void requests_held_divide_exactly_by_weight(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_least_connections, (uint16_t[]){ 1, 2, 3 }, 3, 0);
    struct target *held[60];
    for (unsigned i = 0; i < ARRAY_LEN(held); i++)
        held[i] = hold_one(&b);
    assert_int_equal(atomic_load(&b.set->slots[0].target->in_flight), 10);
    assert_int_equal(atomic_load(&b.set->slots[1].target->in_flight), 20);
    assert_int_equal(atomic_load(&b.set->slots[2].target->in_flight), 30);
    for (unsigned i = 0; i < ARRAY_LEN(held); i++)
        end_try(&b, held[i], ERR_NONE);
    balancer_done(&b);
}

static void requests_of_other_workers_count(void **state)
{
    struct balancer here, there;
    balancer_over(&here, &algorithm_least_connections, NULL, 2, 0);
    balancer_over(&there, &algorithm_least_connections, NULL, 2, 0);
    struct target *held = hold_one(&there);
    assert_string_equal(held->name, "a");
    assert_string_equal(picks(&here, 3), "bbb");
    end_try(&there, held, ERR_NONE);
    balancer_done(&here);
    balancer_done(&there);
}

static void weight_zero_down_and_tried_are_passed_by(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_least_connections, (uint16_t[]){ 1, 0, 1, 1 }, 4, 0);
    bar(b.set, 3, BAR_UNHEALTHY);
    struct tried tried = { .count = 0 };
    tried_add(&tried, b.set->slots[0].target);
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(pick_one(&b, &tried), b.set->slots[2].target);
    tried_add(&tried, b.set->slots[2].target);
    assert_null(pick_one(&b, &tried));
    unbar(b.set, 3);
    balancer_done(&b);
}

static void an_empty_set_has_no_target(void **state)
{
    struct balancer b;
    struct target *target;
    balancer_over(&b, &algorithm_least_connections, NULL, 0, 5);
    assert_int_equal(pick_for(&b, NULL, true, &target), -ERR_NO_TARGET);
    balancer_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_targets_take_turns),
        cmocka_unit_test(idle_targets_take_turns_by_their_weights),
        cmocka_unit_test(the_target_with_the_fewest_in_flight_is_picked),
        cmocka_unit_test(requests_held_divide_exactly_by_weight),
        cmocka_unit_test(requests_of_other_workers_count),
        cmocka_unit_test(weight_zero_down_and_tried_are_passed_by),
        cmocka_unit_test(an_empty_set_has_no_target),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
