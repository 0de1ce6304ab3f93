/* Every kind of value by schema: what lands in the structs, and what is said about what does not fit. */
#include "loading.h"

static const struct sample_upstream *upstream_at(const struct loading *it, size_t index)
{
    return (const void *)conf_entry_at(&it->value.upstreams, &sample_upstream_type, index)->value;
}
static const struct sample_target *target_at(const struct sample_upstream *upstream, size_t index)
{
    return conf_item(&upstream->targets, &sample_target_type, index);
}
static const struct sample_route *route_at(const struct conf_list *routes, size_t index)
{
    return conf_item(routes, &sample_route_type, index);
}

static void defaults_are_there_without_a_document(void **state)
{
    struct conf *conf = conf_new(NULL);
    struct sample value = { 0 };
    assert_int_equal(conf_defaults(conf, &sample_schema, &value), 0);
    assert_true(value.enabled);
    assert_int_equal(value.workers, 2);
    assert_true(value.factor == 1.5);
    assert_int_equal(value.size_bytes, 65536);
    assert_int_equal(value.timeout_ms, 30000);
    assert_true(value.share_percent == 20);
    assert_null(value.name);
    assert_null(value.secret);
    assert_int_equal(value.mode, MODE_SAFE);
    assert_int_equal(value.tags.count, 2);
    assert_string_equal(((const char **)value.tags.items)[1], "b");
    assert_int_equal(value.upstreams.count, 0);
    assert_null(value.filter);
    conf_free(conf);
}

static void a_field_without_a_value_counts_as_left_out(void **state)
{
    struct loading it;
    loading_begin_well(&it, "workers:\nname: ~\ntags: null\nfilter:\n");
    assert_int_equal(it.value.workers, 2);
    assert_null(it.value.name);
    assert_int_equal(it.value.tags.count, 2);
    assert_null(it.value.filter);
    loading_end(&it);
}

static void lists_hold_values_one_behind_the_other(void **state)
{
    struct loading it;
    loading_begin_well(&it, "tags: [x, y, z]");
    assert_int_equal(it.value.tags.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(*(const char **)conf_item(&it.value.tags, &sample_tag_type, i),
                            ((const char *[]){ "x", "y", "z" })[i]);
    loading_end(&it);
    loading_begin_well(&it, "tags: alone");
    assert_int_equal(it.value.tags.count, 1);
    loading_end(&it);
    loading_begin_well(&it, "tags: []");
    assert_int_equal(it.value.tags.count, 0);
    loading_end(&it);
    expect_said("tags: [a, [b], ~]", "1:11 tags[1]: expected text, got a list\n"
                                     "1:16 tags[2]: expected text, got nothing");
    expect_said("routes: 5",
                "1:9 routes: expected a list, got `5`; write `[...]`, or each entry on a line of its own behind `- `");
}

static void lists_and_maps_are_bounded(void **state)
{
    expect_said("upstreams: {a: {targets: []}}", "1:26 upstreams.a.targets: must hold at least one entry");
    expect_said("upstreams: {a: {targets: [1.1.1.1:1, 1.1.1.1:2, 1.1.1.1:3, 1.1.1.1:4]}}",
                "1:26 upstreams.a.targets: may hold at most 3 entries, got 4");
    expect_said("labels: {a: 1, b: 2, c: 3, d: 4, e: 5}", "1:9 labels: may hold at most 4 entries, got 5");
}

static void maps_keep_their_names_and_order(void **state)
{
    struct loading it;
    loading_begin_well(&it, "labels: {z: 1, 'a b': 2, 5: 3}");
    static const char *const expected[][2] = { { "z", "1" }, { "a b", "2" }, { "5", "3" } };
    for (size_t i = 0; i < 3; i++) {
        const struct conf_entry *entry = conf_entry_at(&it.value.labels, &sample_label_type, i);
        assert_string_equal(entry->key, expected[i][0]);
        assert_string_equal(*(const char **)entry->value, expected[i][1]);
        assert_int_equal(entry->node->mark.line, 1);
    }
    loading_end(&it);
    expect_said("labels: [a]", "1:9 labels: expected a mapping of names to values, got a list");
    expect_said("labels: {'a b': []}", "1:17 labels[\"a b\"]: expected text, got a list");
}

static void structs_have_a_short_form_for_one_field(void **state)
{
    struct loading it;
    loading_begin_well(&it, "upstreams: {a: {targets: [10.0.0.1:9001, {address: 10.0.0.2:9002, weight: 3}]}}");
    const struct sample_upstream *a = upstream_at(&it, 0);
    assert_int_equal(target_at(a, 0)->address.ip, 0x0a000001);
    assert_int_equal(target_at(a, 0)->address.port, 9001);
    assert_int_equal(target_at(a, 0)->weight, 1);
    assert_int_equal(target_at(a, 1)->address.port, 9002);
    assert_int_equal(target_at(a, 1)->weight, 3);
    loading_end(&it);
    expect_said(
        "upstreams: {a: 10.0.0.1:1}",
        "1:16 upstreams.a: expected a mapping with the fields of an upstream, such as `targets`, got `10.0.0.1:1`");
    expect_said(
        "upstreams: {a: {targets: [[10.0.0.1:1]]}}",
        "1:27 upstreams.a.targets[0]: expected a mapping with the fields of a target, such as `address`, got a list");
}

static void structs_are_embedded_or_pointed_to(void **state)
{
    struct loading it;
    loading_begin_well(
        &it, "upstreams: {a: {targets: [1.1.1.1:1]}, b: {targets: [1.1.1.1:1], health_check: {interval: 5s}}}");
    assert_null(upstream_at(&it, 0)->check);
    assert_int_equal(upstream_at(&it, 0)->probe.interval_ms, 2000);
    assert_non_null(upstream_at(&it, 1)->check);
    assert_int_equal(upstream_at(&it, 1)->check->interval_ms, 5000);
    assert_int_equal(upstream_at(&it, 1)->check->timeout_ms, 1000);
    loading_end(&it);
}

static void an_unknown_field_is_told_with_the_nearest(void **state)
{
    expect_said("worker: 3\n", "1:1 worker: unknown field `worker`, did you mean `workers`?");
    expect_said("upstreams:\n  users:\n    targtes: [1.1.1.1:1]\n    healthCheck: {}\n",
                "3:5 upstreams.users.targtes: unknown field `targtes`, did you mean `targets`?\n"
                "4:5 upstreams.users.healthCheck: unknown field `healthCheck`, did you mean `health_check`?");
    expect_said("upstreams: {u: {targets: [{address: 1.1.1.1:1, colour: red}]}}",
                "1:48 upstreams.u.targets[0].colour: unknown field `colour`; expected `address` or `weight`");
    expect_said("x-thing: 1\nupstreams: {u: {targets: [1.1.1.1:1], x-y: 1}}",
                "2:39 upstreams.u.x-y: unknown field `x-y`; expected `targets`, `health_check` or `probe`");
}

static void a_required_field_is_named_with_its_meaning(void **state)
{
    expect_said("upstreams:\n  users:\n    health_check: {}\n",
                "2:3 upstreams.users: required field `targets` is missing: The servers that requests go to");
    expect_said("upstreams: {users: }",
                "1:13 upstreams.users: required field `targets` is missing: The servers that requests go to");
    expect_said("upstreams:\n  users: {targets: }\n",
                "2:11 upstreams.users: required field `targets` is missing: The servers that requests go to");
    expect_said("upstreams: {users: {targets: [{weight: 2}]}}",
                "1:31 upstreams.users.targets[0]: required field `address` is missing: Where it listens");
}

static void fields_are_checked_together_only_when_each_is_right(void **state)
{
    expect_said(
        "upstreams: {a: {targets: [1.1.1.1:1], health_check: {interval: 1s, timeout: 5s}}}",
        "1:77 upstreams.a.health_check.timeout: a check would overlap the next: `timeout` is longer than `interval`");
    expect_said("upstreams: {a: {targets: [1.1.1.1:1], health_check: {interval: 1x, timeout: 5s}}}",
                "1:64 upstreams.a.health_check.interval: expected a duration such as `30s`, got `1x`");
}

static void unions_choose_by_their_one_name(void **state)
{
    struct loading it;
    loading_begin_well(
        &it, "routes: [{path: /, respond: {}, policies: [{limit: {rate: 7, share: 5%}}, trace: , trace: {}]}]");
    const struct conf_list *policies = &route_at(&it.value.routes, 0)->policies;
    assert_int_equal(policies->count, 3);
    const struct conf_choice *limit = conf_item(policies, &sample_policy_type, 0),
                             *trace = conf_item(policies, &sample_policy_type, 1);
    assert_string_equal(limit->variant->name, "limit");
    assert_int_equal(((const struct sample_limit *)limit->value)->rate, 7);
    assert_string_equal(conf_path(it.conf, limit->node), "routes[0].policies[0].limit");
    assert_string_equal(trace->variant->name, "trace");
    assert_null(trace->value);
    loading_end(&it);
}

static void unions_that_choose_nothing_or_twice_are_mistakes(void **state)
{
    static const char *const cases[][2] = {
        { "{limt: {rate: 1}}", "1:32 routes[0].policies[0].limt: unknown policy `limt`, did you mean `limit`?" },
        { "{jwt: {}}", "1:32 routes[0].policies[0].jwt: unknown policy `jwt`; expected `limit` or `trace`" },
        { "trace",
          "1:31 routes[0].policies[0]: expected a policy, its name and settings, such as `trace: {}`, got `trace`" },
        { "{}",
          "1:31 routes[0].policies[0]: expected a policy, its name and settings, such as `limit: {}`, got a mapping" },
        { "~",
          "1:31 routes[0].policies[0]: expected a policy, its name and settings, such as `limit: {}`, got nothing" },
        { "{limit: {rate: 1}, trace: }",
          "1:50 routes[0].policies[0].trace: expected one policy, but `trace` stands beside `limit`; give "
          "each an entry of its own, or check the indentation" },
        { "{limit: , rate: 1}",
          "1:32 routes[0].policies[0].limit: required field `rate` is missing: Requests a second\n"
          "1:41 routes[0].policies[0].rate: expected one policy, but `rate` stands beside `limit`; give each an "
          "entry of its own, or check the indentation" },
        { "{trace: {x: 1}}", "1:39 routes[0].policies[0].trace: `trace` has no settings: write `trace: {}`" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char yaml[256];
        (void)snprintf(yaml, sizeof(yaml), "routes: [{path: /, policies: [%s], respond: }]", cases[i][0]);
        expect_said(yaml, cases[i][1]);
    }
}

static void an_inline_union_stands_among_the_fields(void **state)
{
    struct loading it;
    loading_begin_well(&it, "upstreams: {u: {targets: [1.1.1.1:1]}}\nroutes: [{path: /a, proxy: {upstream: u}}, "
                            "{respond: {status: 404}, path: /b}]");
    const struct sample_route *a = route_at(&it.value.routes, 0), *b = route_at(&it.value.routes, 1);
    assert_string_equal(a->handler.variant->name, "proxy");
    assert_string_equal(((const struct sample_proxy *)a->handler.value)->upstream.name, "u");
    assert_string_equal(b->handler.variant->name, "respond");
    assert_int_equal(((const struct sample_respond *)b->handler.value)->status, 404);
    loading_end(&it);
    expect_said("routes: [{path: /a}]", "1:10 routes[0]: a handler is missing; expected `proxy` or `respond`");
    expect_said("routes: [{path: /a, respnd: {}}]",
                "1:21 routes[0].respnd: unknown field `respnd`, did you mean `respond`?");
    expect_said("routes: [{path: /a, respond: {status: 200}, proxy: u}]",
                "1:45 routes[0].proxy: one handler is enough: `proxy` stands beside `respond`");
}

static void recursion_is_bounded_through_pointers(void **state)
{
    struct loading it;
    loading_begin_well(&it, "filter: {word: a, not: {word: b, not: {word: c}}}");
    assert_string_equal(it.value.filter->not_filter->not_filter->word, "c");
    assert_null(it.value.filter->not_filter->not_filter->not_filter);
    loading_end(&it);
    expect_said("filter: {not: {not: {not: {word: d}}}}",
                "1:27 filter.not.not.not: a filter may stand at most 3 deep within another");
}

static void recursion_is_bounded_through_lists(void **state)
{
    struct loading it;
    loading_begin_well(
        &it, "routes: [{path: a, respond: , children: [{path: b, respond: , children: [{path: c, respond: }]}]}]");
    assert_string_equal(route_at(&route_at(&route_at(&it.value.routes, 0)->children, 0)->children, 0)->path, "c");
    loading_end(&it);
    expect_said("routes: [{path: a, respond: , children: [{path: b, respond: , children: [{path: c, respond: , "
                "children: [{path: d}]}]}]}]",
                "1:106 routes[0].children[0].children[0].children[0]: a route may stand at most 3 deep within another");
}

static void custom_kinds_report_for_themselves(void **state)
{
    expect_said("upstreams: {a: {targets: [1.1.1:1]}}",
                "1:27 upstreams.a.targets[0]: expected an address such as `10.0.0.1:9001`");
    expect_said("upstreams: {a: {targets: [{address: []}]}}",
                "1:37 upstreams.a.targets[0].address: expected an address such as `10.0.0.1:9001`");
}

static void every_mistake_is_told_at_once_in_the_order_of_the_text(void **state)
{
    expect_said(
        "routes:\n  - path: ''\n    respond: {status: 99}\n    colour: x\nworkers: many\ntimeout: 3\n",
        "2:11 routes[0].path: the text may not be empty\n"
        "3:23 routes[0].respond.status: must be between `200` and `599`, got `99`\n"
        "4:5 routes[0].colour: unknown field `colour`; expected `path`, `policies`, `proxy`, `respond` or `children`\n"
        "5:10 workers: expected a whole number, got `many`\n"
        "6:10 timeout: a duration needs a unit (`ms`, `s`, `m`, `h` or `d`), did you mean `3s`?");
}

static void a_mistake_in_an_anchor_is_told_once(void **state)
{
    expect_said("x-d: &d {targets: [1.1.1.1]}\nupstreams: {a: *d, b: *d}",
                "1:20 upstreams.a.targets[0]: expected an address such as `10.0.0.1:9001`");
}

static void a_root_that_is_no_mapping_is_a_mistake(void **state)
{
    expect_said("- a", "1:1 expected a mapping with the fields of a configuration, such as `enabled`, got a list");
    expect_said("hello", "1:1 expected a mapping with the fields of a configuration, such as `enabled`, got `hello`");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_there_without_a_document),
        cmocka_unit_test(a_field_without_a_value_counts_as_left_out),
        cmocka_unit_test(lists_hold_values_one_behind_the_other),
        cmocka_unit_test(lists_and_maps_are_bounded),
        cmocka_unit_test(maps_keep_their_names_and_order),
        cmocka_unit_test(structs_have_a_short_form_for_one_field),
        cmocka_unit_test(structs_are_embedded_or_pointed_to),
        cmocka_unit_test(an_unknown_field_is_told_with_the_nearest),
        cmocka_unit_test(a_required_field_is_named_with_its_meaning),
        cmocka_unit_test(fields_are_checked_together_only_when_each_is_right),
        cmocka_unit_test(unions_choose_by_their_one_name),
        cmocka_unit_test(unions_that_choose_nothing_or_twice_are_mistakes),
        cmocka_unit_test(an_inline_union_stands_among_the_fields),
        cmocka_unit_test(recursion_is_bounded_through_pointers),
        cmocka_unit_test(recursion_is_bounded_through_lists),
        cmocka_unit_test(custom_kinds_report_for_themselves),
        cmocka_unit_test(every_mistake_is_told_at_once_in_the_order_of_the_text),
        cmocka_unit_test(a_mistake_in_an_anchor_is_told_once),
        cmocka_unit_test(a_root_that_is_no_mapping_is_a_mistake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
