/*
 * Groups: how a set is sorted into them, which of them serves, what a panic ignores, and how shares and sessions act
 * around an algorithm.
 */
#include "balance/share.h"
#include "sets.h"

/* One letter a target: priority in `priorities`, 'f' in `places` is elsewhere; all of weight 1. */
static struct target_set *set_with(const char *priorities, const char *places)
{
    struct target_slot slots[32];
    uint32_t count = (uint32_t)strlen(priorities);
    assert_true(count <= ARRAY_LEN(slots));
    for (uint32_t i = 0; i < count; i++)
        slots[i] = (struct target_slot){ .target = target_numbered(i),
                                         .weight = 1,
                                         .sticky = 1000 - i,
                                         .priority = (uint8_t)(priorities[i] - '0'),
                                         .elsewhere = places && places[i] == 'f' };
    struct target_set *set = target_set_new(slots, count);
    assert_non_null(set);
    return set;
}

static void bar_target(const struct target_set *set, char name, unsigned bars)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->slots[i].target->name[0] == name)
            bar(set, i, bars);
}

static const struct balance_conf panics = { .overprovision = 1.4, .panic_percent = 50 };
static const struct balance_conf warms = { .overprovision = 1.4, .slow_start_ms = 1000 };

/* The groups' shares in percent, each followed by '!' when it ignores health: "80 20!". */
static const char *shares(const struct target_set *set, const struct balance_conf *conf)
{
    static char text[128];
    struct spread spread;
    assert_int_equal(spread_init(&spread, set), 0);
    spread_compute(&spread, set, conf);
    size_t len = 0;
    uint32_t before = 0;
    for (uint32_t i = 0; i < set->group_count; i++) {
        unsigned percent = (unsigned)((spread.groups[i].until - before) * 100.0 / SPREAD_ONE + 0.5);
        before = spread.groups[i].until;
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%u%s", i ? " " : "", percent,
                                spread.groups[i].ignored ? "!" : "");
    }
    spread_done(&spread);
    return text;
}

static void targets_stand_by_priority_and_those_nearby_first(void **state)
{
    struct target_set *set = set_with("10101", "nfnnf");
    assert_int_equal(set->group_count, 4);
    const char *order = "";
    char names[8] = "";
    for (uint32_t i = 0; i < set->count; i++)
        names[i] = set->slots[i].target->name[0];
    order = names;
    assert_string_equal(order, "dbace"); /* 0 near, 0 far, 1 near (in the order given), 1 far */
    assert_int_equal(set->groups[2].first, 2);
    assert_int_equal(set->groups[2].count, 2);
    target_set_drop(set);
}

static void an_empty_set_has_one_empty_group(void **state)
{
    struct target_set *set = target_set_new(NULL, 0);
    assert_int_equal(set->group_count, 1);
    assert_int_equal(set->groups[0].count, 0);
    assert_string_equal(shares(set, &panics), "0");
    target_set_drop(set);
}

static void a_session_is_found_by_its_mark(void **state)
{
    struct target_set *set = set_with("0102", NULL);
    assert_string_equal(target_set_find_sticky(set, 998)->target->name, "c");
    assert_null(target_set_find_sticky(set, 5));
    target_set_drop(set);
}

static void the_first_priority_serves_until_it_is_short_of_targets(void **state)
{
    struct target_set *set = set_with("0000011111", NULL);
    assert_string_equal(shares(set, &panics), "100 0");
    bar_target(set, 'a', BAR_UNHEALTHY); /* 4 of 5 times 1.4 is more than all */
    assert_string_equal(shares(set, &panics), "100 0");
    bar_target(set, 'b', BAR_UNHEALTHY); /* 3 of 5: 84 % */
    assert_string_equal(shares(set, &panics), "84 16");
    bar_target(set, 'c', BAR_EJECTED);
    assert_string_equal(shares(set, &panics), "56 44");
    bar_target(set, 'd', BAR_DRAINING);
    bar_target(set, 'e', BAR_UNHEALTHY);
    assert_string_equal(shares(set, &panics), "0 100");
    target_set_drop(set);
}

static void the_own_zone_serves_what_it_can_carry(void **state)
{
    struct target_set *set = set_with("0000000000", "nnnnnfffff");
    assert_string_equal(shares(set, &panics), "100 0");
    bar_target(set, 'a', BAR_UNHEALTHY);
    bar_target(set, 'b', BAR_UNHEALTHY);
    assert_string_equal(shares(set, &panics), "84 16");
    for (char name = 'f'; name <= 'j'; name++)
        bar_target(set, name, BAR_UNHEALTHY); /* nobody is left elsewhere: 3 of 10, and a panic */
    assert_string_equal(shares(set, &plain_conf), "100 0");
    target_set_drop(set);
}

static void a_panic_begins_below_its_threshold_and_only_when_nobody_takes_over(void **state)
{
    struct target_set *set = set_with("0000", NULL);
    bar_target(set, 'a', BAR_UNHEALTHY);
    bar_target(set, 'b', BAR_UNHEALTHY);
    assert_string_equal(shares(set, &panics), "100"); /* half is enough */
    bar_target(set, 'c', BAR_UNHEALTHY);
    assert_string_equal(shares(set, &panics), "100!");
    assert_string_equal(shares(set, &plain_conf), "100"); /* off: what is there takes all */
    bar_target(set, 'd', BAR_UNHEALTHY);
    assert_string_equal(shares(set, &plain_conf), "0");
    target_set_drop(set);

    set = set_with("00001", NULL);
    for (char name = 'a'; name <= 'd'; name++)
        bar_target(set, name, BAR_UNHEALTHY);
    assert_string_equal(shares(set, &panics), "0 100");
    target_set_drop(set);
}

static void a_panic_ignores_readiness_first_and_never_an_operator(void **state)
{
    struct balancer b;
    struct target_set *set = set_with("0000", NULL);
    balancer_of(&b, &algorithm_round_robin, &panics, set, 0);
    bar_target(b.set, 'a', BAR_UNHEALTHY);
    bar_target(b.set, 'b', BAR_UNREADY);
    bar_target(b.set, 'c', BAR_EJECTED);
    bar_target(b.set, 'd', BAR_UNREADY);
    const char *picked = picks(&b, 9);
    assert_null(strchr(picked, 'a'));
    assert_null(strchr(picked, '-'));
    bar_target(b.set, 'b', BAR_DISABLED);
    bar_target(b.set, 'c', BAR_DRAINING);
    bar_target(b.set, 'd', BAR_DRAINING);
    assert_string_equal(picks(&b, 3), "aaa");
    balancer_done(&b);
}

static void traffic_follows_the_shares(void **state)
{
    struct balancer b;
    balancer_of(&b, &algorithm_round_robin, &panics, set_with("0000011111", NULL), 0);
    rng_seed(&b.rng, 7);
    bar_target(b.set, 'a', BAR_UNHEALTHY);
    bar_target(b.set, 'b', BAR_UNHEALTHY);
    uint32_t *times = tally(&b, 10000), first = 0;
    for (int i = 0; i < 5; i++)
        first += times[i];
    assert_int_equal(times[0] + times[1], 0);
    assert_in_range(first, 8400 - 150, 8400 + 150); /* 4 sigma of a binomial */
    mem_free(times);
    balancer_done(&b);
}

static void a_retry_leaves_its_group_when_all_in_it_were_tried(void **state)
{
    struct balancer b;
    balancer_of(&b, &algorithm_round_robin, &panics, set_with("01", NULL), 0);
    struct target *target;
    struct tried tried = { .v = { b.set->slots[0].target }, .count = 1 };
    assert_int_equal(pick_for(&b, &tried, true, &target), 0);
    assert_string_equal(target->name, "b");
    end_try(&b, target, ERR_NONE);
    balancer_done(&b);
}

static struct target *pick_at(struct balancer *b, uint64_t sticky, uint64_t now_ns)
{
    struct target *target = NULL;
    const struct wish wish = { .sticky = sticky, .now_ns = now_ns };
    if (balancer_pick(b, &wish, &target) != 0)
        return NULL;
    balancer_finish(b, target, now_ns, now_ns);
    return target;
}

static void a_target_that_comes_back_warms_up(void **state)
{
    enum { ROUNDS = 10000 };
    struct balancer b;
    balancer_of(&b, &algorithm_round_robin, &warms, set_with("00", NULL), 0);
    rng_seed(&b.rng, 3);
    const uint64_t back_ns = 5000000000;
    assert_true(target_bar(b.set->slots[0].target, BAR_EJECTED, back_ns - 1));
    assert_true(target_unbar(b.set->slots[0].target, BAR_EJECTED, back_ns));
    const struct {
        unsigned after_ms, low, high; /* of 10,000; an algorithm may offer a turn once or until it is taken */
    } steps[] = { { 0, 400, 1000 }, { 500, 2600, 3700 }, { 1000, 5000, 5000 } };
    for (unsigned s = 0; s < ARRAY_LEN(steps); s++) {
        unsigned times = 0;
        for (int i = 0; i < ROUNDS; i++)
            times += pick_at(&b, 0, back_ns + steps[s].after_ms * 1000000ull) == b.set->slots[0].target;
        assert_in_range(times, steps[s].low, steps[s].high);
    }
    balancer_done(&b);
}

static void targets_that_all_warm_up_share_everything(void **state)
{
    struct balancer b;
    balancer_of(&b, &algorithm_round_robin, &warms, set_with("00", NULL), 0);
    for (uint32_t i = 0; i < 2; i++) {
        bar(b.set, i, BAR_EJECTED);
        assert_true(target_unbar(b.set->slots[i].target, BAR_EJECTED, 1000));
    }
    for (int i = 0; i < 1000; i++)
        assert_non_null(pick_at(&b, 0, 2000));
    balancer_done(&b);
}

static void a_session_stays_while_its_target_drains_and_moves_when_it_is_down(void **state)
{
    struct balancer b;
    balancer_of(&b, &algorithm_round_robin, &plain_conf, set_with("000", NULL), 0);
    struct target *c = b.set->slots[2].target;
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(pick_at(&b, 998, 1), c);
    bar(b.set, 2, BAR_DRAINING);
    assert_ptr_equal(pick_at(&b, 998, 1), c);
    for (int i = 0; i < 6; i++)
        assert_ptr_not_equal(pick_at(&b, 0, 1), c);
    bar(b.set, 2, BAR_UNHEALTHY);
    assert_ptr_not_equal(pick_at(&b, 998, 1), c);
    unbar(b.set, 2);
    assert_ptr_equal(pick_at(&b, 998, 1), c);
    assert_non_null(pick_at(&b, 4711, 1)); /* a mark that nobody has */
    balancer_done(&b);
}

static void a_session_stays_in_a_panic_while_others_like_it_are_picked(void **state)
{
    struct balancer b;
    balancer_of(&b, &algorithm_round_robin, &panics, set_with("000011", NULL), 0);
    struct target *c = b.set->slots[2].target;
    for (uint32_t i = 0; i < b.set->count; i++)
        bar(b.set, i, BAR_UNHEALTHY);
    for (int i = 0; i < 6; i++)
        assert_ptr_equal(pick_at(&b, 998, 1), c);
    bar(b.set, 2, BAR_DISABLED);
    assert_ptr_not_equal(pick_at(&b, 998, 1), c);
    unbar(b.set, 2);
    unbar(b.set, 0);
    bar(b.set, 2, BAR_EJECTED);
    unbar(b.set, 1);
    assert_ptr_not_equal(pick_at(&b, 998, 1), c); /* half of them are well: the panic is over */
    balancer_done(&b);
}

enum { MANY = 10000 };

/* A moment that lies so far behind the last look that the next change is looked at. */
static const uint64_t rest_ns = MANY * 100ull;

static void thousands_of_targets_that_flap_are_not_all_looked_at_for_each_pick(void **state)
{
    struct balancer b;
    balancer_of(&b, &algorithm_random, &panics, set_of(NULL, MANY), 0);
    assert_non_null(pick_at(&b, 0, rest_ns));
    bar(b.set, 0, BAR_UNHEALTHY);
    uint32_t epoch = atomic_load(&b.cluster->epoch);
    assert_non_null(pick_at(&b, 0, 2 * rest_ns));
    assert_int_equal(b.spread.epoch, epoch);
    for (uint32_t i = 1; i < 100; i++) {
        bar(b.set, i, BAR_UNHEALTHY);
        const struct target *target = pick_at(&b, 0, 2 * rest_ns + i);
        assert_non_null(target);
        assert_int_equal(target_barred(target), 0); /* bars themselves count at once */
    }
    assert_int_equal(b.spread.epoch, epoch);
    assert_non_null(pick_at(&b, 0, 3 * rest_ns));
    assert_int_equal(b.spread.epoch, epoch + 99);
    balancer_done(&b);
}

static void a_panic_among_thousands_is_found_by_the_pick_that_finds_nothing(void **state)
{
    struct balancer b;
    balancer_of(&b, &algorithm_random, &panics, set_of(NULL, MANY), 0);
    bar(b.set, 0, BAR_UNHEALTHY);
    assert_non_null(pick_at(&b, 0, rest_ns));
    for (uint32_t i = 1; i < MANY; i++)
        bar(b.set, i, BAR_UNHEALTHY);
    assert_non_null(pick_at(&b, 0, rest_ns + 1));
    balancer_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_stand_by_priority_and_those_nearby_first),
        cmocka_unit_test(an_empty_set_has_one_empty_group),
        cmocka_unit_test(a_session_is_found_by_its_mark),
        cmocka_unit_test(the_first_priority_serves_until_it_is_short_of_targets),
        cmocka_unit_test(the_own_zone_serves_what_it_can_carry),
        cmocka_unit_test(a_panic_begins_below_its_threshold_and_only_when_nobody_takes_over),
        cmocka_unit_test(a_panic_ignores_readiness_first_and_never_an_operator),
        cmocka_unit_test(traffic_follows_the_shares),
        cmocka_unit_test(a_retry_leaves_its_group_when_all_in_it_were_tried),
        cmocka_unit_test(a_target_that_comes_back_warms_up),
        cmocka_unit_test(targets_that_all_warm_up_share_everything),
        cmocka_unit_test(a_session_stays_while_its_target_drains_and_moves_when_it_is_down),
        cmocka_unit_test(a_session_stays_in_a_panic_while_others_like_it_are_picked),
        cmocka_unit_test(thousands_of_targets_that_flap_are_not_all_looked_at_for_each_pick),
        cmocka_unit_test(a_panic_among_thousands_is_found_by_the_pick_that_finds_nothing),
    };
    return cmocka_run_group_tests_name("spread", tests, NULL, NULL);
}
