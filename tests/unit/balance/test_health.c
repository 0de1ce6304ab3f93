/*
 * From probes to verdicts, on a virtual clock: what a prober does is played by `play`, second by second.
 */
#include "base/rng.h"
#include "sets.h"

static const struct health_pace pace = {
    .interval_ms = 2000,
    .fast_interval_ms = 500,
    .timeout_ms = 1000,
    .unhealthy_after = 3,
    .healthy_after = 2,
};

static struct rng rng;

/* The outcomes of probes, "+" and "-", to the changes of the verdict: "W" became well, "I" became ill, "." none. */
static void expect(const char *probes, const char *changes)
{
    static const char letters[] = { [HEALTH_SAME] = '.', [HEALTH_BECAME_WELL] = 'W', [HEALTH_BECAME_ILL] = 'I' };
    struct health_state state = { 0 };
    char seen[64] = { 0 };
    for (size_t i = 0; probes[i]; i++)
        seen[i] = letters[health_note(&state, &pace, probes[i] == '+')];
    assert_string_equal(seen, changes);
}

static void the_first_probe_decides_alone_both_ways(void **state)
{
    expect("+", "W");
    expect("-", "I");
}

static void so_many_in_a_row_change_the_verdict(void **state)
{
    expect("+---", "W..I");
    expect("-++", "I.W");
    expect("+---++---", "W..I.W..I");
}

static void one_that_agrees_begins_the_count_anew(void **state)
{
    expect("+--+--+---", "W........I");
    expect("-+-+-++", "I.....W");
}

static void a_threshold_of_one_follows_every_probe(void **state)
{
    struct health_pace eager = pace;
    eager.unhealthy_after = eager.healthy_after = 1;
    struct health_state s = { 0 };
    assert_int_equal(health_note(&s, &eager, true), HEALTH_BECAME_WELL);
    assert_int_equal(health_note(&s, &eager, false), HEALTH_BECAME_ILL);
    assert_int_equal(health_note(&s, &eager, true), HEALTH_BECAME_WELL);
    assert_int_equal(health_note(&s, &eager, true), HEALTH_SAME);
}

/* The time at which the verdict on a service that is down from 10 s on changes, and back from 20 s on. */
static void detection_takes_an_interval_and_the_fast_ones_behind_it(void **state)
{
    struct health_state s = { 0 };
    uint64_t ill_ms = 0, well_ms = 0;
    for (uint64_t now_ms = 1000; now_ms < 30000;) {
        bool passes = now_ms < 10000 || now_ms >= 20000;
        enum health_change change = health_note(&s, &pace, passes);
        if (change == HEALTH_BECAME_ILL)
            ill_ms = now_ms;
        if (change == HEALTH_BECAME_WELL)
            well_ms = now_ms;
        now_ms += health_wait_ms(&s, &pace, &rng);
    }
    assert_int_equal(ill_ms, 11000 + 2 * 500);
    assert_int_equal(well_ms, 20000 + 500);
}

static void waits_are_jittered_around_the_interval_and_never_none(void **state)
{
    struct health_pace jittery = pace;
    struct health_state s = { .known = true };
    uint64_t least = UINT64_MAX, most = 0, sum = 0;
    enum { WAITS = 4000 };
    jittery.jitter_percent = 10;
    for (int i = 0; i < WAITS; i++) {
        uint64_t wait_ms = health_wait_ms(&s, &jittery, &rng);
        least = MIN(least, wait_ms);
        most = MAX(most, wait_ms);
        sum += wait_ms;
    }
    assert_in_range(least, 1800, 1820);
    assert_in_range(most, 2180, 2200);
    assert_in_range(sum / WAITS, 1980, 2020);
    jittery.interval_ms = 1;
    jittery.jitter_percent = 100;
    for (int i = 0; i < 100; i++)
        assert_in_range(health_wait_ms(&s, &jittery, &rng), 1, 2);
}

static void first_probes_are_spread_over_the_fast_interval(void **state)
{
    unsigned quarters[4] = { 0 };
    for (int i = 0; i < 4000; i++) {
        uint64_t wait_ms = health_first_wait_ms(&pace, &rng);
        assert_in_range(wait_ms, 1, 500);
        quarters[(wait_ms - 1) * 4 / 500]++;
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(quarters[i], 850, 1150);
}

static void verdicts_bar_the_target_and_each_kind_its_own_way(void **state)
{
    struct target *target = target_numbered(0);
    target_checked(target, HEALTH_LIVENESS);
    target_checked(target, HEALTH_READINESS);
    assert_int_equal(target_barred(target), 0);
    assert_int_equal(target_probed(target, HEALTH_LIVENESS, &pace, false, 10), HEALTH_BECAME_ILL);
    assert_int_equal(target_probed(target, HEALTH_READINESS, &pace, false, 11), HEALTH_BECAME_ILL);
    assert_int_equal(target_barred(target), BAR_UNHEALTHY | BAR_UNREADY);
    (void)target_probed(target, HEALTH_LIVENESS, &pace, true, 12);
    assert_int_equal(target_probed(target, HEALTH_LIVENESS, &pace, true, 13), HEALTH_BECAME_WELL);
    assert_int_equal(target_barred(target), BAR_UNREADY);
    (void)target_probed(target, HEALTH_READINESS, &pace, true, 14);
    (void)target_probed(target, HEALTH_READINESS, &pace, true, 15);
    assert_int_equal(target_barred(target), 0);
    assert_int_equal(atomic_load(&target->available_ns), 15);
    target_unchecked(target, HEALTH_LIVENESS, 16);
    target_unchecked(target, HEALTH_READINESS, 16);
    target_drop(target);
}

static void eject(struct target *target, uint64_t now_ns)
{
    const struct outlier_conf one_is_enough = { .consecutive_5xx = 1, .base_ejection_ms = 1, .max_ejection_ms = 1 };
    const struct outcome failed = { .err = ERR_NONE, .status = 500, .now_ns = now_ns };
    assert_true(outlier_judge(target, &one_is_enough, 2, &failed));
}

static void one_that_is_alive_again_is_no_outlier_any_more(void **state)
{
    struct target *target = target_numbered(0);
    target_checked(target, HEALTH_LIVENESS);
    (void)target_probed(target, HEALTH_LIVENESS, &pace, false, 1);
    eject(target, 2);
    (void)target_probed(target, HEALTH_LIVENESS, &pace, true, 3);
    assert_int_equal(target_barred(target), BAR_UNHEALTHY | BAR_EJECTED);
    (void)target_probed(target, HEALTH_LIVENESS, &pace, true, 4);
    assert_int_equal(target_barred(target), 0);
    eject(target, 5);
    (void)target_probed(target, HEALTH_LIVENESS, &pace, true, 6);
    assert_int_equal(target_barred(target), BAR_EJECTED); /* it had not become well by this probe */
    assert_true(outlier_uneject(target, 7));
    target_unchecked(target, HEALTH_LIVENESS, 8);
    target_drop(target);
}

static void what_nobody_checks_any_more_bars_nothing(void **state)
{
    struct target *target = target_numbered(0);
    target_checked(target, HEALTH_LIVENESS);
    (void)target_probed(target, HEALTH_LIVENESS, &pace, false, 1);
    target_checked(target, HEALTH_LIVENESS); /* the next configuration's */
    target_unchecked(target, HEALTH_LIVENESS, 2);
    assert_int_equal(target_barred(target), BAR_UNHEALTHY);
    assert_true(target->health.checks[HEALTH_LIVENESS].known);
    target_unchecked(target, HEALTH_LIVENESS, 3);
    assert_int_equal(target_barred(target), 0);
    assert_false(target->health.checks[HEALTH_LIVENESS].known);
    target_drop(target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_probe_decides_alone_both_ways),
        cmocka_unit_test(so_many_in_a_row_change_the_verdict),
        cmocka_unit_test(one_that_agrees_begins_the_count_anew),
        cmocka_unit_test(a_threshold_of_one_follows_every_probe),
        cmocka_unit_test(detection_takes_an_interval_and_the_fast_ones_behind_it),
        cmocka_unit_test(waits_are_jittered_around_the_interval_and_never_none),
        cmocka_unit_test(first_probes_are_spread_over_the_fast_interval),
        cmocka_unit_test(verdicts_bar_the_target_and_each_kind_its_own_way),
        cmocka_unit_test(one_that_is_alive_again_is_no_outlier_any_more),
        cmocka_unit_test(what_nobody_checks_any_more_bars_nothing),
    };
    rng_seed(&rng, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
