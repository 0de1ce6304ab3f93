/*
 * The life of a plan on a worker: attached with the first snapshot, taken down with the last snapshot or the last
 * exchange, whichever is later, and in the reverse order of how it was put up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "exchange/handler.h"
#include "exchange/plan.h"
#include "exchange/policy.h"
#include "exchange/worker.h"

static char story[256];
static char names[][2] = { "a", "b", "h" };
static int failing; /* attach number that fails */
static int attached;

static void tell(const char *sign, const char *what)
{
    size_t len = strlen(story);
    snprintf(story + len, sizeof(story) - len, "%s%s", sign, what);
}

static int attach(void *data, struct worker *worker, void **ret_local)
{
    if (++attached == failing)
        return -ERR_MEMORY;
    tell("+", data);
    *ret_local = data;
    return 0;
}

static void detach(void *data, struct worker *worker, void *local)
{
    assert_ptr_equal(data, local);
    tell("-", data);
}

static void told_free(struct plan *plan)
{
    tell(".", "");
}

struct bench {
    struct worker worker;
    struct plan plan;
    struct plan_policy policies[2];
    struct plan_local locals[2];
    void *per_worker[3][2];
};

static const struct policy_type policy = { .name = "told", .attach = attach, .detach = detach };
static const struct handler_type handler = { .name = "told", .attach = attach, .detach = detach };

static void set_up(struct bench *b)
{
    memset(b, 0, sizeof(*b));
    story[0] = '\0';
    attached = failing = 0;
    b->worker.index = 1;
    b->policies[0] = (struct plan_policy){ &policy, names[0], b->per_worker[0] };
    b->policies[1] = (struct plan_policy){ &policy, names[1], b->per_worker[1] };
    b->plan = (struct plan){
        .refs = 1,
        .policies = b->policies,
        .policy_count = 2,
        .handler = &handler,
        .handler_data = names[2],
        .handler_per_worker = b->per_worker[2],
        .locals = b->locals,
        .workers = 2,
        .free = told_free,
    };
}

static void the_last_snapshot_takes_it_down(void **state)
{
    struct bench b;
    set_up(&b);
    assert_int_equal(plan_attach(&b.plan, &b.worker), 0);
    assert_int_equal(plan_attach(&b.plan, &b.worker), 0); /* the next snapshot has it too */
    plan_retire(&b.plan, &b.worker);
    assert_string_equal(story, "+a+b+h");
    plan_retire(&b.plan, &b.worker);
    assert_string_equal(story, "+a+b+h-h-b-a");
    plan_drop(&b.plan);
    assert_string_equal(story, "+a+b+h-h-b-a.");
}

static void an_exchange_keeps_it_up_behind_the_last_snapshot(void **state)
{
    struct bench b;
    set_up(&b);
    assert_int_equal(plan_attach(&b.plan, &b.worker), 0);
    plan_pin(&b.plan, &b.worker);
    plan_pin(&b.plan, &b.worker);
    plan_retire(&b.plan, &b.worker);
    plan_drop(&b.plan);
    plan_unpin(&b.plan, &b.worker);
    assert_string_equal(story, "+a+b+h");
    plan_unpin(&b.plan, &b.worker);
    assert_string_equal(story, "+a+b+h-h-b-a.");
}

static void plans_that_share_a_policy_attach_it_once(void **state)
{
    struct bench a, b;
    uint32_t counts[2] = { 0, 0 };
    set_up(&a);
    set_up(&b);
    a.policies[0].attached = b.policies[0].attached = counts;
    b.policies[0].per_worker = a.policies[0].per_worker;
    assert_int_equal(plan_attach(&a.plan, &a.worker), 0);
    assert_int_equal(plan_attach(&b.plan, &b.worker), 0);
    assert_string_equal(story, "+a+b+h+b+h");
    plan_retire(&a.plan, &a.worker);
    plan_retire(&b.plan, &b.worker);
    assert_string_equal(story, "+a+b+h+b+h-h-b-h-b-a");
    plan_drop(&a.plan);
    plan_drop(&b.plan);
}

static void a_snapshot_that_takes_it_over_finds_it_up_for_an_exchange(void **state)
{
    struct bench b;
    set_up(&b);
    assert_int_equal(plan_attach(&b.plan, &b.worker), 0);
    plan_pin(&b.plan, &b.worker);
    plan_retire(&b.plan, &b.worker);
    assert_int_equal(plan_attach(&b.plan, &b.worker), 0);
    plan_unpin(&b.plan, &b.worker);
    assert_string_equal(story, "+a+b+h");
    plan_retire(&b.plan, &b.worker);
    plan_drop(&b.plan);
    assert_string_equal(story, "+a+b+h-h-b-a.");
}

static void an_attach_that_fails_leaves_nothing_behind(void **state)
{
    static const char *const stories[] = { "", "+a-a", "+a+b-b-a" };
    for (int i = 1; i <= 3; i++) {
        struct bench b;
        set_up(&b);
        failing = i;
        assert_int_equal(plan_attach(&b.plan, &b.worker), -ERR_MEMORY);
        assert_string_equal(story, stories[i - 1]);
        assert_false(b.locals[1].attached);
        assert_int_equal(b.plan.refs, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_snapshot_takes_it_down),
        cmocka_unit_test(an_exchange_keeps_it_up_behind_the_last_snapshot),
        cmocka_unit_test(plans_that_share_a_policy_attach_it_once),
        cmocka_unit_test(a_snapshot_that_takes_it_over_finds_it_up_for_an_exchange),
        cmocka_unit_test(an_attach_that_fails_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
