/*
 * Policies on several levels: which a plan runs and in what order, which plans share one, and what a reload keeps.
 */
#include "configuring.h"

#include "base/assert.h"
#include "base/hash.h"
#include "exchange/plan.h"
#include "exchange/policy.h"
#include "observe/metrics.h"

#define REMOVES(name) "{ headers: { response: { remove: [ " name " ] } } }"
#define UPSTREAM      "upstreams: { app: { targets: [ '10.0.0.1:1' ] } }\n"

static int begin(void **state)
{
    hash_seed();
    metrics_init(1);
    return 0;
}

static int end(void **state)
{
    metrics_done();
    return 0;
}

static const struct plan *plan_at(const struct snapshot *s, size_t i)
{
    assert_true(i < s->plan_count);
    return s->plans[i].object;
}

static const void *instance(const struct snapshot *s, size_t plan, unsigned policy)
{
    assert_true(policy < plan_at(s, plan)->policy_count);
    return plan_at(s, plan)->policies[policy].instance;
}

static const char all_levels[] = "listeners:\n  - '127.0.0.1:0'\n  - { address: '127.0.0.2:0', policies: [ " REMOVES(
    "B") " ] }\n" UPSTREAM
         "policy_sets: { common: [ " REMOVES("S1") ", " REMOVES(
             "S2") " ] }\n"
                   "policies: [ " REMOVES(
                       "A") " ]\n"
                            "routes:\n"
                            "  - { match: { path: /one }, policies: [ { use: common }, " REMOVES(
                                "C") " ], proxy: app }\n"
                                     "  - { match: { path: /two }, policies: [ { use: common } ], proxy: app }\n";

static void a_listener_with_policies_has_plans_of_its_own(void **state)
{
    struct snapshot *s = snapshot_of(all_levels, NULL);
    assert_non_null(s);
    assert_int_equal(s->plan_count, 4);
    assert_int_equal(plan_at(s, 0)->policy_count, 4); /* A, S1, S2, C */
    assert_int_equal(plan_at(s, 1)->policy_count, 3); /* A, S1, S2 */
    assert_int_equal(plan_at(s, 2)->policy_count, 5); /* A, B, S1, S2, C */
    assert_ptr_equal(s->servers[0].router, s->router);
    assert_ptr_equal(s->servers[1].router, s->routers[1]);
    assert_ptr_not_equal(s->routers[1], s->router);
    snapshot_drop(s);
}

static void what_stands_above_the_routes_is_shared_and_what_stands_on_one_is_not(void **state)
{
    struct snapshot *s = snapshot_of(all_levels, NULL);
    for (size_t plan = 1; plan < 4; plan++)
        assert_ptr_equal(instance(s, plan, 0), instance(s, 0, 0)); /* the gateway's */
    assert_ptr_equal(instance(s, 2, 1), instance(s, 3, 1));        /* the listener's */
    assert_ptr_not_equal(instance(s, 2, 1), instance(s, 0, 0));
    assert_ptr_equal(instance(s, 0, 1), instance(s, 1, 1)); /* the set's, wherever it is used */
    assert_ptr_equal(instance(s, 0, 1), instance(s, 3, 2));
    assert_ptr_not_equal(instance(s, 0, 1), instance(s, 0, 2));
    assert_ptr_not_equal(instance(s, 0, 3), instance(s, 2, 4)); /* the route's own, one for each listener */
    snapshot_drop(s);
}

static void two_that_look_the_same_are_two(void **state)
{
    struct snapshot *s = snapshot_of("listeners: [ '127.0.0.1:0' ]\npolicies: [ " REMOVES("A") ", " REMOVES(
                                         "A") " ]\nroutes: [ { respond: 204 } ]\n",
                                     NULL);
    assert_ptr_not_equal(instance(s, 0, 0), instance(s, 0, 1));
    snapshot_drop(s);
}

static char with[4096];
static const char *replaced(const char *from, const char *to)
{
    const char *at = strstr(all_levels, from);
    assert_non_null(at);
    snprintf(with, sizeof(with), "%.*s%s%s", (int)(at - all_levels), all_levels, to, at + strlen(from));
    return with;
}

static void a_reload_keeps_the_shared_ones_that_have_not_changed(void **state)
{
    struct snapshot *first = snapshot_of(all_levels, NULL);
    struct snapshot *route = snapshot_of(replaced(REMOVES("C"), REMOVES("D")), first);
    assert_ptr_not_equal(plan_at(route, 0), plan_at(first, 0)); /* made anew, with what it shares */
    assert_ptr_equal(plan_at(route, 1), plan_at(first, 1));
    assert_ptr_equal(instance(route, 0, 0), instance(first, 0, 0));
    assert_ptr_equal(instance(route, 0, 1), instance(first, 0, 1));
    struct snapshot *set = snapshot_of(replaced(REMOVES("S2"), REMOVES("S3")), first);
    assert_ptr_equal(instance(set, 0, 0), instance(first, 0, 0));
    assert_ptr_equal(instance(set, 0, 1), instance(first, 0, 1));
    assert_ptr_not_equal(instance(set, 0, 2), instance(first, 0, 2));
    struct snapshot *gateway = snapshot_of(replaced(REMOVES("A"), REMOVES("Z")), first);
    assert_ptr_not_equal(instance(gateway, 0, 0), instance(first, 0, 0));
    assert_ptr_equal(instance(gateway, 2, 1), instance(first, 2, 1));
    snapshot_drop(first);
    snapshot_drop(set);
    assert_non_null(plan_at(route, 0)->policies[0].data); /* lives on */
    snapshot_drop(gateway);
    snapshot_drop(route);
}

static void a_set_that_is_not_there_is_a_mistake(void **state)
{
    struct configured c;
    configure(&c, "listeners: [ '127.0.0.1:0' ]\npolicy_sets: { public: [ " REMOVES(
                      "A") " ] }\nroutes: [ { policies: [ { use: pubilc } ], respond: 204 } ]\n");
    assert_int_equal(c.rc, -1);
    assert_true(configured_told(&c, "public"));
    configured_done(&c);
}

static void sets_stand_in_no_set(void **state)
{
    struct configured c;
    configure(&c, "listeners: [ '127.0.0.1:0' ]\npolicy_sets: { a: [ { use: a } ] }\nroutes: [ { respond: 204 } ]\n");
    assert_int_equal(c.rc, -1);
    assert_true(configured_told(&c, "unknown policy `use`"));
    configured_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_with_policies_has_plans_of_its_own),
        cmocka_unit_test(what_stands_above_the_routes_is_shared_and_what_stands_on_one_is_not),
        cmocka_unit_test(two_that_look_the_same_are_two),
        cmocka_unit_test(a_reload_keeps_the_shared_ones_that_have_not_changed),
        cmocka_unit_test(a_set_that_is_not_there_is_a_mistake),
        cmocka_unit_test(sets_stand_in_no_set),
    };
    return cmocka_run_group_tests_name("levels", tests, begin, end);
}
