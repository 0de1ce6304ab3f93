/*
 * What agents say, and what follows from it.
 */
#include "balance/agent.h"
#include "balance/share.h"
#include "sets.h"

static struct agent_line line;

static void says(const char *text, int percent, int bars, int down, const char *why)
{
    bool any = percent != AGENT_UNSAID || bars != AGENT_UNSAID || down != AGENT_UNSAID;
    assert_int_equal(agent_parse(slice_from(text), &line), any);
    assert_int_equal(line.percent, percent);
    assert_int_equal(line.bars, bars);
    assert_int_equal(line.down, down);
    assert_string_equal(line.why, why);
}

static void a_line_says_any_of_its_words(void **state)
{
    says("75%", 75, AGENT_UNSAID, AGENT_UNSAID, "");
    says("75% maxconn:30 drain\r", 75, BAR_DRAINING, AGENT_UNSAID, "");
    says("maint", AGENT_UNSAID, BAR_DISABLED, AGENT_UNSAID, "");
    says("UP,Ready,100%", 100, 0, false, "");
    says("down#disk  full", AGENT_UNSAID, AGENT_UNSAID, true, "disk  full");
    says("failed # no route #2\r", AGENT_UNSAID, AGENT_UNSAID, true, "no route #2");
    says("stopped", AGENT_UNSAID, AGENT_UNSAID, true, "");
    says("300%", 100, AGENT_UNSAID, AGENT_UNSAID, "");
}

static void what_is_not_known_is_passed_by(void **state)
{
    says("", AGENT_UNSAID, AGENT_UNSAID, AGENT_UNSAID, "");
    says("hello there", AGENT_UNSAID, AGENT_UNSAID, AGENT_UNSAID, "");
    says("% x% -5% 5", AGENT_UNSAID, AGENT_UNSAID, AGENT_UNSAID, "");
    says("downward up", AGENT_UNSAID, AGENT_UNSAID, false, "");
    says("down#\x01\xff", AGENT_UNSAID, AGENT_UNSAID, true, "??");
}

static void a_reason_is_cut_and_not_more(void **state)
{
    char text[400] = "down#";
    memset(text + 5, 'x', sizeof text - 6);
    assert_true(agent_parse(slice_from(text), &line));
    assert_int_equal(strlen(line.why), AGENT_WHY_MAX - 1);
}

static bool said(struct target *target, const char *text)
{
    (void)agent_parse(slice_from(text), &line);
    return target_agent_said(target, &line, 5);
}

static void what_it_says_stands_until_it_says_otherwise(void **state)
{
    struct target *target = target_numbered(0);
    target_checked(target, HEALTH_AGENT);
    assert_true(said(target, "50%"));
    assert_int_equal(target_share(target, &plain_conf, 9), SPREAD_ONE / 2);
    assert_false(said(target, "50%"));
    assert_true(said(target, "drain"));
    assert_int_equal(target_barred(target), BAR_DRAINING);
    assert_int_equal(target_share(target, &plain_conf, 9), SPREAD_ONE / 2);
    assert_true(said(target, "maint down"));
    assert_int_equal(target_barred(target), BAR_DISABLED | BAR_UNHEALTHY);
    assert_true(said(target, "up"));
    assert_int_equal(target_barred(target), BAR_DISABLED);
    assert_true(said(target, "ready 100%"));
    assert_int_equal(target_barred(target), 0);
    assert_int_equal(target_share(target, &plain_conf, 9), SPREAD_ONE);
    assert_true(said(target, "0%"));
    assert_int_equal(target_barred(target), BAR_DRAINING);
    assert_true(said(target, "10%"));
    assert_int_equal(target_barred(target), 0);
    assert_true(said(target, "down"));
    target_unchecked(target, HEALTH_AGENT, 6);
    assert_int_equal(target_barred(target), 0);
    assert_int_equal(target_share(target, &plain_conf, 9), SPREAD_ONE);
    target_drop(target);
}

static void agent_and_liveness_have_to_agree_that_it_is_well(void **state)
{
    const struct health_pace once = {
        .interval_ms = 1, .fast_interval_ms = 1, .unhealthy_after = 1, .healthy_after = 1
    };
    struct target *target = target_numbered(0);
    target_checked(target, HEALTH_AGENT);
    target_checked(target, HEALTH_LIVENESS);
    (void)target_probed(target, HEALTH_LIVENESS, &once, false, 1);
    assert_true(said(target, "down"));
    (void)target_probed(target, HEALTH_LIVENESS, &once, true, 2);
    assert_int_equal(target_barred(target), BAR_UNHEALTHY);
    (void)target_probed(target, HEALTH_LIVENESS, &once, false, 3);
    (void)said(target, "up");
    assert_int_equal(target_barred(target), BAR_UNHEALTHY);
    (void)target_probed(target, HEALTH_LIVENESS, &once, true, 4);
    assert_int_equal(target_barred(target), 0);
    (void)target_probed(target, HEALTH_AGENT, &once, false, 5); /* it cannot be asked: that bars nothing */
    assert_int_equal(target_barred(target), 0);
    target_unchecked(target, HEALTH_AGENT, 6);
    target_unchecked(target, HEALTH_LIVENESS, 6);
    target_drop(target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_says_any_of_its_words),
        cmocka_unit_test(what_is_not_known_is_passed_by),
        cmocka_unit_test(a_reason_is_cut_and_not_more),
        cmocka_unit_test(what_it_says_stands_until_it_says_otherwise),
        cmocka_unit_test(agent_and_liveness_have_to_agree_that_it_is_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
