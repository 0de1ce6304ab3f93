/*
 * What a reload costs: an upstream or a plan that nothing has changed in is the same object in the next snapshot, and
 * lives on when the one before has gone.
 */
#include "configuring.h"

#include "base/assert.h"
#include "base/hash.h"
#include "exchange/plan.h"
#include "observe/metrics.h"
#include "upstream/upstream.h"

#define HEAD      "listeners: [ '127.0.0.1:0' ]\n"
#define UPSTREAMS "upstreams:\n  one: { targets: [ '10.0.0.1:1' ] }\n  two: { targets: [ '10.0.0.2:2' ] }\n"
#define ROUTES                                                                                                         \
    "routes:\n  - { match: { path: /one }, proxy: one }\n  - { match: { path: /two }, proxy: two }\n"                  \
    "  - { match: { path: /none }, respond: 204 }\n"

static const char before[] = HEAD UPSTREAMS ROUTES;

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

static bool has(const struct printed *items, size_t count, const void *object)
{
    for (size_t i = 0; i < count; i++)
        if (items[i].object == object)
            return true;
    return false;
}

/* Of the plans (upstreams) of the first, a letter for each that is in the second too, else a dot. */
static const char *kept(const struct printed *old, size_t old_count, const struct printed *new, size_t new_count)
{
    static char text[16];
    for (size_t i = 0; i < old_count; i++)
        text[i] = has(new, new_count, old[i].object) ? (char)('a' + i) : '.';
    text[old_count] = '\0';
    return text;
}

static void what_has_not_changed_is_the_same_object(void **state)
{
    static const struct {
        const char *yaml, *upstreams, *plans;
    } cases[] = {
        { HEAD UPSTREAMS ROUTES, "ab", "abc" },
        /* places, spaces, comments and the order mean nothing */
        { "# now with a comment\n" ROUTES UPSTREAMS HEAD, "ab", "abc" },
        { HEAD UPSTREAMS "routes:\n  - { match: { path: /none }, respond: 204 }\n"
                         "  - { match: { path: /two }, proxy: two }\n  - { match: { path: /one }, proxy: one }\n",
          "ab", "abc" },
        /* one route, one upstream with its route, one that went */
        { HEAD UPSTREAMS
          "routes:\n  - { match: { path: /one }, proxy: one }\n  - { match: { path: /two }, proxy: two }\n"
          "  - { match: { path: /none }, respond: 205 }\n",
          "ab", "ab." },
        { HEAD "upstreams:\n  one: { targets: [ '10.0.0.1:1' ] }\n  two: { targets: [ '10.0.0.2:3' ] }\n" ROUTES, "a.",
          "a.c" },
        { HEAD "upstreams:\n  one: { targets: [ '10.0.0.1:1' ] }\n"
               "routes:\n  - { match: { path: /one }, proxy: one }\n",
          "a.", "a.." },
        /* what all routes share */
        { HEAD UPSTREAMS ROUTES "limits: { body: 1MiB }\n", "..", "..." },
        { HEAD UPSTREAMS ROUTES "timeouts: { exchange: 3s }\n", "ab", "..." },
        { HEAD UPSTREAMS ROUTES "forwarding: { via: front }\n", "ab", "..." },
        { HEAD UPSTREAMS ROUTES "policies: [ { headers: { response: { remove: [ Server ] } } } ]\n", "ab", "..." },
        /* what no route sees */
        { "listeners: [ '127.0.0.1:0', '127.0.0.2:0' ]\n" UPSTREAMS ROUTES "log_level: info\n", "ab", "abc" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct snapshot *first = snapshot_of(before, NULL), *second = snapshot_of(cases[i].yaml, first);
        assert_non_null(first);
        assert_non_null(second);
        const char *upstreams =
            kept(first->upstreams, first->upstream_count, second->upstreams, second->upstream_count);
        if (strcmp(upstreams, cases[i].upstreams) != 0)
            fail_msg("case %zu: upstreams %s", i, upstreams);
        const char *plans = kept(first->plans, first->plan_count, second->plans, second->plan_count);
        if (strcmp(plans, cases[i].plans) != 0)
            fail_msg("case %zu: plans %s", i, plans);
        assert_true(second->generation > first->generation);
        snapshot_drop(first);
        snapshot_drop(second);
    }
}

static void what_is_taken_over_outlives_the_snapshot_it_was_made_in(void **state)
{
    struct snapshot *last = snapshot_of(before, NULL);
    const struct plan *plan = last->plans[0].object;
    for (int i = 0; i < 3; i++) {
        struct snapshot *next = snapshot_of(before, last);
        snapshot_drop(last);
        last = next;
    }
    assert_ptr_equal(last->plans[0].object, plan);
    assert_string_equal(plan->forwarding->via, "maitred");
    assert_string_equal(plan->route, "/one");
    assert_int_equal(plan->body_bytes_max, 0);
    snapshot_drop(last);
}

enum { MANY = 40 };

/* Route `changed` of many says something else than at first. */
static struct snapshot *with_one_changed(int changed, const struct snapshot *previous)
{
    char yaml[8192];
    size_t len = (size_t)snprintf(yaml, sizeof(yaml), "%sroutes:\n", HEAD);
    for (int i = 0; i < MANY; i++)
        len +=
            (size_t)snprintf(yaml + len, sizeof(yaml) - len,
                             "  - { match: { path: /%d }, respond: { status: 200, body: '%d' } }\n", i, i <= changed);
    assert_true(len < sizeof(yaml));
    return snapshot_of(yaml, previous);
}

static void an_upstream_keeps_its_own_branch_alone(void **state)
{
    struct snapshot *first = snapshot_of(before, NULL);
    const struct conf_entry *entry = conf_entry_at(&first->settings.upstreams, &upstream_type, 0);
    const struct upstream_conf *in_tree = (const struct upstream_conf *)entry->value;
    struct upstream *one = first->upstreams[0].object;
    const struct upstream_conf *own = upstream_settings(one);
    assert_ptr_not_equal(own, in_tree);
    assert_ptr_not_equal(own->targets.items, in_tree->targets.items);
    struct snapshot *second = snapshot_of(before, first);
    assert_ptr_equal(second->upstreams[0].object, one);
    snapshot_drop(first); /* with its tree */
    const struct target_conf *target = own->targets.items;
    assert_int_equal(own->targets.count, 1);
    assert_int_equal(target->port, 1);
    snapshot_drop(second);
}

static size_t count_trees(const struct snapshot *s)
{
    const struct conf *trees[MANY];
    size_t count = 0;
    for (size_t i = 0; i < s->plan_count; i++) {
        const struct plan *plan = s->plans[i].object;
        size_t at = 0;
        while (at < count && trees[at] != plan->conf)
            at++;
        trees[at] = plan->conf;
        count += at == count;
    }
    return count;
}

static void reloads_that_change_a_route_each_do_not_pile_up_configurations(void **state)
{
    struct snapshot *last = with_one_changed(-1, NULL);
    for (int i = 0; i < MANY; i++) {
        struct snapshot *next = with_one_changed(i, last);
        size_t same = 0;
        for (size_t j = 0; j < next->plan_count; j++)
            same += has(last->plans, last->plan_count, next->plans[j].object);
        assert_true(same >= MANY / 2);
        snapshot_drop(last);
        last = next;
        assert_true(count_trees(last) <= 9);
    }
    snapshot_drop(last);
}

static void a_route_has_its_own_limits_or_those_of_all(void **state)
{
    struct snapshot *s = snapshot_of(HEAD "limits: { body: 2MiB }\ntimeouts: { exchange: 5s }\nroutes:\n"
                                          "  - { match: { path: /a }, respond: 200 }\n"
                                          "  - { match: { path: /b }, respond: 200, body_limit: 0, timeout: 1s }\n",
                                     NULL);
    const struct plan *all = s->plans[0].object, *own = s->plans[1].object;
    assert_int_equal(all->body_bytes_max, 2 << 20);
    assert_int_equal(all->exchange_timeout_ms, 5000);
    assert_int_equal(own->body_bytes_max, 0);
    assert_int_equal(own->exchange_timeout_ms, 1000);
    snapshot_drop(s);
}

static void mistakes_of_all_parts_are_told_at_once(void **state)
{
    struct configured c;
    const struct snapshot_context context = { .cells = 1 };
    configure(&c, HEAD "upstreams:\n  one: { targets: [ '10.0.0.1:1' ] }\nroutes:\n"
                       "  - { match: { path: '/a/{x' }, respond: 200 }\n"
                       "  - { match: { path: '/b/{x}' }, proxy: { upstream: one, path: '/{y}' } }\n"
                       "  - { match: { regex: '(' }, respond: 200 }\n");
    assert_int_equal(c.rc, 0);
    assert_null(snapshot_build(c.conf, c.root, &c.settings, &context));
    assert_true(configured_told(&c, "`{y}` is no capture"));
    assert_true(conf_error_count(c.conf) >= 3);
    configured_done(&c);
}

static void a_fingerprint_sees_values_names_order_and_quotes(void **state)
{
    static const char *const texts[] = { "{a: 1}",   "{a: 2}",   "{b: 1}",      "[a, 1]",      "[1, a]",
                                         "[[a], 1]", "{a: '1'}", "{a: {b: 1}}", "{a: 1, b: 1}" };
    uint64_t prints[ARRAY_LEN(texts)];
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct conf *conf = conf_new(NULL);
        prints[i] = fingerprint_node(conf_parse_text(conf, "test.yaml", slice_from(texts[i])));
        conf_free(conf);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(prints[i], prints[j]);
    }
    struct conf *conf = conf_new(NULL);
    assert_int_equal(fingerprint_node(conf_parse_text(conf, "test.yaml", SLICE("# said\na:   1\n"))), prints[0]);
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_not_changed_is_the_same_object),
        cmocka_unit_test(what_is_taken_over_outlives_the_snapshot_it_was_made_in),
        cmocka_unit_test(reloads_that_change_a_route_each_do_not_pile_up_configurations),
        cmocka_unit_test(an_upstream_keeps_its_own_branch_alone),
        cmocka_unit_test(a_route_has_its_own_limits_or_those_of_all),
        cmocka_unit_test(mistakes_of_all_parts_are_told_at_once),
        cmocka_unit_test(a_fingerprint_sees_values_names_order_and_quotes),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
