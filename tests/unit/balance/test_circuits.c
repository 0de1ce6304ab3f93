/*
 * Breakers and ejections around a pick: with every algorithm, slow start, panic, sessions, permits, and over a change
 * of the settings.
 */
#include "sets.h"

#include "balance/circuits.h"
#include "balance/share.h"

static const struct breaker_conf two_in_a_row = {
    .window_ms = 10000, .consecutive_failures = 2, .min_requests = 1, .open_ms = 1000, .probes = 2, .ramp_ms = 1000
};
static const struct balance_conf target_breakers = { .overprovision = 1.4,
                                                     .panic_percent = 50,
                                                     .target_circuit_breaker = &two_in_a_row };
static const struct balance_conf whole_breaker = { .overprovision = 1.4, .circuit_breaker = &two_in_a_row };

static const uint64_t ms = 1000000;

static int pick_at(struct balancer *b, uint64_t now_ns, struct target **ret_target)
{
    const struct wish wish = { .now_ns = now_ns };
    *ret_target = NULL;
    return balancer_pick(b, &wish, ret_target);
}

/* Ends a try that began at `now_ns`: answered with this status, or (0) cancelled. */
static void end_at(struct balancer *b, struct target *target, unsigned status, uint64_t now_ns)
{
    if (status)
        balancer_judge(b, target,
                       &(struct outcome){ .status = (uint16_t)status, .started_ns = now_ns, .now_ns = now_ns });
    balancer_finish(b, target, status ? 0 : now_ns, now_ns);
}

static void judge_directly(struct balancer *b, char name, unsigned status, unsigned times, uint64_t now_ns)
{
    for (uint32_t i = 0; i < b->set->count; i++)
        for (unsigned n = 0; b->set->slots[i].target->name[0] == name && n < times; n++)
            balancer_judge(b, b->set->slots[i].target,
                           &(struct outcome){ .status = (uint16_t)status, .started_ns = now_ns, .now_ns = now_ns });
}

/* The targets of so many picks, each answered with 200. */
static const char *serve(struct balancer *b, unsigned count, uint64_t now_ns)
{
    static char text[128];
    for (unsigned i = 0; i < count; i++) {
        struct target *target;
        text[i] = '-';
        if (pick_at(b, now_ns, &target) == 0) {
            text[i] = target->name[0];
            end_at(b, target, 200, now_ns);
        }
    }
    text[count] = '\0';
    return text;
}

static void an_open_target_is_passed_by_with_every_algorithm(void **state)
{
    for (size_t i = 0; algorithms[i]; i++) {
        struct balancer b;
        balancer_of(&b, algorithms[i], &target_breakers, set_of(NULL, 3), 0);
        judge_directly(&b, 'b', 500, 2, 10000 * ms);
        const char *served = serve(&b, 30, 10500 * ms);
        assert_null(strchr(served, 'b'));
        assert_null(strchr(served, '-'));
        balancer_done(&b);
    }
}

static void a_half_open_target_gets_its_probes_and_the_others_the_rest_with_every_algorithm(void **state)
{
    for (size_t i = 0; algorithms[i]; i++) {
        struct target *probes[64];
        struct balancer b;
        unsigned of_b = 0;
        balancer_of(&b, algorithms[i], &target_breakers, set_of(NULL, 3), 0);
        judge_directly(&b, 'b', 500, 2, 10000 * ms);
        for (unsigned n = 0; n < 64; n++) {
            const struct wish wish = { .key = n * 0x9e3779b97f4a7c15ull, .now_ns = 11000 * ms };
            assert_int_equal(balancer_pick(&b, &wish, &probes[n]), 0);
            of_b += probes[n]->name[0] == 'b';
        }
        /* Where a failure counts as a slow answer, one that has just failed is not what is chosen. */
        assert_int_equal(of_b, strcmp(algorithms[i]->name, "least_response_time") == 0 ? 0 : 2);
        for (unsigned n = 0; n < 64; n++)
            end_at(&b, probes[n], 200, 11000 * ms);
        assert_int_equal(breaker_state(&b.set->slots[1].target->breaker), of_b ? BREAKER_RAMPING : BREAKER_OPEN);
        balancer_done(&b);
    }
}

static void a_closing_target_gets_less_than_its_share_and_then_all(void **state)
{
    struct balancer b;
    balancer_of(&b, algorithm_find("round_robin"), &target_breakers, set_of(NULL, 2), 0);
    judge_directly(&b, 'b', 500, 2, 10000 * ms);
    assert_non_null(strchr(serve(&b, 8, 11000 * ms), 'b'));
    unsigned early = 0, late = 0;
    for (int i = 0; i < 1000; i++)
        early += serve(&b, 1, 11001 * ms)[0] == 'b';
    for (int i = 0; i < 1000; i++)
        late += serve(&b, 1, 13000 * ms)[0] == 'b';
    assert_in_range(early, 20, 200); /* about one in ten of its turns */
    assert_in_range(late, 490, 510);
    assert_int_equal(breaker_state(&b.set->slots[1].target->breaker), BREAKER_CLOSED);
    balancer_done(&b);
}

static void slow_start_and_the_ramp_do_not_multiply(void **state)
{
    struct balance_conf conf = target_breakers;
    conf.slow_start_ms = 4000;
    struct balancer b;
    balancer_of(&b, algorithm_find("round_robin"), &conf, set_of(NULL, 2), 0);
    struct target *target = b.set->slots[1].target;
    judge_directly(&b, 'b', 500, 2, 10000 * ms);
    (void)serve(&b, 8, 11000 * ms); /* available from now on, and its probes succeed: half-open is not slowed down */
    assert_int_equal(breaker_state(&target->breaker), BREAKER_RAMPING);
    assert_int_equal(target_share(target, &conf, 11500 * ms), 6553 + (uint32_t)((65536 - 6553) * 0.125));
    assert_int_equal(target_share(target, &conf, 13000 * ms), 6553 + (uint32_t)((65536 - 6553) * 0.5));
    assert_int_equal(target_share(target, &conf, 15000 * ms), SPREAD_ONE);
    balancer_done(&b);
}

static void a_panic_ignores_ejections_and_no_open_breaker(void **state)
{
    struct balancer b;
    balancer_of(&b, algorithm_find("round_robin"), &target_breakers, set_of(NULL, 4), 0);
    for (uint32_t i = 0; i < 3; i++)
        bar(b.set, i, BAR_EJECTED);
    const char *served = serve(&b, 8, 10000 * ms);
    assert_non_null(strchr(served, 'a'));
    assert_null(strchr(served, '-'));
    judge_directly(&b, 'd', 500, 2, 10000 * ms);
    served = serve(&b, 9, 10001 * ms);
    assert_null(strchr(served, 'd'));
    assert_null(strchr(served, '-'));
    for (char name = 'a'; name <= 'c'; name++)
        judge_directly(&b, name, 500, 2, 10001 * ms);
    assert_string_equal(serve(&b, 2, 10002 * ms), "--");
    for (uint32_t i = 0; i < 4; i++)
        unbar(b.set, i);
    balancer_done(&b);
}

static void a_cancelled_probe_of_a_target_gives_its_place_back(void **state)
{
    struct balancer b;
    struct target *first, *second, *third;
    balancer_of(&b, algorithm_find("round_robin"), &target_breakers, set_of(NULL, 1), 0);
    judge_directly(&b, 'a', 500, 2, 10000 * ms);
    assert_int_equal(pick_at(&b, 11000 * ms, &first), 0);
    assert_int_equal(pick_at(&b, 11000 * ms, &second), 0);
    assert_int_equal(pick_at(&b, 11000 * ms, &third), -ERR_NO_TARGET);
    assert_int_equal(atomic_load(&first->in_flight), 2); /* the permit of the one refused went back */
    end_at(&b, first, 0, 11000 * ms);
    assert_int_equal(pick_at(&b, 11000 * ms, &third), 0);
    end_at(&b, second, 200, 11000 * ms);
    end_at(&b, third, 200, 11000 * ms);
    balancer_done(&b);
}

static void the_breaker_of_the_whole_refuses_before_anything_is_picked(void **state)
{
    struct balancer b;
    struct target *target;
    balancer_of(&b, algorithm_find("round_robin"), &whole_breaker, set_of(NULL, 2), 0);
    judge_directly(&b, 'a', 500, 1, 10000 * ms);
    judge_directly(&b, 'b', 500, 1, 10000 * ms);
    assert_int_equal(pick_at(&b, 10999 * ms, &target), -ERR_BREAKER_OPEN);
    assert_int_equal(atomic_load(&b.cluster->breaker.rejected), 1);
    assert_int_equal(target_barred(b.set->slots[0].target), 0); /* no target is to blame */
    struct target *probes[2];
    assert_int_equal(pick_at(&b, 11000 * ms, &probes[0]), 0);
    assert_int_equal(pick_at(&b, 11000 * ms, &probes[1]), 0);
    assert_int_equal(pick_at(&b, 11000 * ms, &target), -ERR_BREAKER_OPEN);
    end_at(&b, probes[0], 200, 11000 * ms);
    end_at(&b, probes[1], 200, 11000 * ms);
    assert_int_equal(breaker_state(&b.cluster->breaker), BREAKER_RAMPING);
    unsigned refused = 0;
    for (int i = 0; i < 1000; i++)
        refused += serve(&b, 1, 11500 * ms)[0] == '-';
    assert_in_range(refused, 350, 550); /* 45 % */
    assert_null(strchr(serve(&b, 8, 12000 * ms), '-'));
    balancer_done(&b);
}

static void a_probe_that_found_no_target_gives_its_place_back(void **state)
{
    struct balancer b;
    struct target *target;
    balancer_of(&b, algorithm_find("round_robin"), &whole_breaker, set_of(NULL, 1), 0);
    judge_directly(&b, 'a', 500, 2, 10000 * ms);
    bar(b.set, 0, BAR_DISABLED);
    for (int i = 0; i < 5; i++)
        assert_int_equal(pick_at(&b, 11000 * ms, &target), -ERR_NO_TARGET);
    unbar(b.set, 0);
    assert_string_equal(serve(&b, 2, 11000 * ms), "aa");
    balancer_done(&b);
}

static void an_open_breaker_outlives_a_reload_and_ends_with_its_settings(void **state)
{
    struct balancer before, after, without;
    balancer_of(&before, algorithm_find("round_robin"), &target_breakers, set_of(NULL, 2), 0);
    judge_directly(&before, 'a', 500, 2, 10000 * ms);
    balancer_of(&after, algorithm_find("random"), &target_breakers, set_of(NULL, 2), 1);
    balancer_done(&before);
    assert_string_equal(serve(&after, 4, 10500 * ms), "bbbb");
    assert_non_null(strchr(serve(&after, 64, 11000 * ms), 'a'));
    judge_directly(&after, 'a', 500, 2, 11000 * ms);
    judge_directly(&after, 'a', 500, 2, 13000 * ms);
    balancer_of(&without, algorithm_find("round_robin"), &plain_conf, set_of(NULL, 2), 2);
    assert_int_equal(target_barred(without.set->slots[0].target), 0);
    assert_int_equal(breaker_state(&without.set->slots[0].target->breaker), BREAKER_CLOSED);
    balancer_done(&after);
    balancer_done(&without);
}

static void a_bar_that_comes_too_late_goes_with_the_next_look(void **state)
{
    struct balancer b;
    balancer_of(&b, algorithm_find("round_robin"), &target_breakers, set_of(NULL, 2), 0);
    bar(b.set, 0, BAR_TRIPPED); /* its breaker is closed: whoever opened it was that late */
    assert_non_null(strchr(serve(&b, 4, 10000 * ms), 'a'));
    balancer_done(&b);
}

static void an_ejected_target_gets_nothing_and_comes_back_slowly(void **state)
{
    const struct outlier_conf outlier = {
        .consecutive_5xx = 2, .base_ejection_ms = 1000, .max_ejection_ms = 1000, .max_ejected_percent = 50
    };
    struct balance_conf conf = { .overprovision = 1.4, .outlier = &outlier, .slow_start_ms = 1000 };
    struct balancer b;
    balancer_of(&b, algorithm_find("least_connections"), &conf, set_of(NULL, 2), 0);
    judge_directly(&b, 'a', 500, 2, 10000 * ms);
    assert_string_equal(serve(&b, 4, 10001 * ms), "bbbb");
    assert_int_equal(outlier_sweep(b.set, 11000 * ms), 1);
    assert_int_equal(target_share(b.set->slots[0].target, &conf, 11000 * ms), SHARE_MIN);
    assert_non_null(strchr(serve(&b, 4, 12001 * ms), 'a'));
    balancer_done(&b);
}

static void who_is_ejected_behind_a_reload_without_outlier_detection_comes_back(void **state)
{
    const struct outlier_conf outlier = {
        .consecutive_5xx = 2, .base_ejection_ms = 1000, .max_ejection_ms = 1000, .max_ejected_percent = 50
    };
    const struct balance_conf before = { .overprovision = 1.4, .outlier = &outlier };
    struct balancer old, now;
    balancer_of(&old, &algorithm_round_robin, &before, set_of(NULL, 2), 0);
    balancer_of(&now, &algorithm_round_robin, &plain_conf, set_of(NULL, 2), 0);
    assert_non_null(strchr(serve(&now, 4, 9000 * ms), 'b'));
    judge_directly(&old, 'b', 500, 2, 10000 * ms); /* requests that began before the reload */
    assert_non_null(strchr(serve(&now, 4, 10000 * ms), 'b'));
    assert_int_equal(atomic_load(&now.cluster->outlier.ejected), 0);
    balancer_done(&old);
    balancer_done(&now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_target_is_passed_by_with_every_algorithm),
        cmocka_unit_test(a_half_open_target_gets_its_probes_and_the_others_the_rest_with_every_algorithm),
        cmocka_unit_test(a_closing_target_gets_less_than_its_share_and_then_all),
        cmocka_unit_test(slow_start_and_the_ramp_do_not_multiply),
        cmocka_unit_test(a_panic_ignores_ejections_and_no_open_breaker),
        cmocka_unit_test(a_cancelled_probe_of_a_target_gives_its_place_back),
        cmocka_unit_test(the_breaker_of_the_whole_refuses_before_anything_is_picked),
        cmocka_unit_test(a_probe_that_found_no_target_gives_its_place_back),
        cmocka_unit_test(an_open_breaker_outlives_a_reload_and_ends_with_its_settings),
        cmocka_unit_test(a_bar_that_comes_too_late_goes_with_the_next_look),
        cmocka_unit_test(an_ejected_target_gets_nothing_and_comes_back_slowly),
        cmocka_unit_test(who_is_ejected_behind_a_reload_without_outlier_detection_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
