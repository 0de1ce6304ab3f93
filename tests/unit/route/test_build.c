/*
 * What is wrong with a match is said where it stands, and routes that can never match are warned of.
 */
#include "routing.h"

#include "base/assert.h"

struct mistake {
    const char *yaml;
    const char *message; /* part of it */
};

static void mistakes_are_refused_with_their_reason(void **state)
{
    static const struct mistake mistakes[] = {
        { "- { path: users }", "begins with `/`" },
        { "- { path: '/a//b' }", "no empty segments" },
        { "- { path: '/a/../b' }", "dot segments" },
        { "- { path: '/a/.' }", "dot segments" },
        { "- { path: '/a/%2e' }", "no valid path segment" },
        { "- { path: '/a/%zz' }", "no valid path segment" },
        { "- { path: '/a?x=1' }", "match it with `query`" },
        { "- { path: '/{id}.json' }", "either text or one `{name}`" },
        { "- { path: '/{' }", "either text or one `{name}`" },
        { "- { path: '/a}' }", "either text or one `{name}`" },
        { "- { path: '/{}' }", "a capture's name" },
        { "- { path: '/{1a}' }", "a capture's name" },
        { "- { path: '/{...}' }", "a capture's name" },
        { "- { path: '/{a b}' }", "a capture's name" },
        { "- { path: '/{rest...}/x' }", "can only be the last segment" },
        { "- { path: '/{a}/{a}' }", "stands there twice" },
        { "- { path: '/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}/{q}' }", "at most 16 captures" },
        { "- { prefix: api }", "begins with `/`" },
        { "- { prefix: '/api/{x}' }", "a prefix has no captures" },
        { "- { prefix: '//' }", "no empty segments" },
        { "- { prefix: '/a//' }", "no empty segments" },
        { "- { regex: '/(' }", "wrong at character" },
        { "- { regex: '/\\C' }", "wrong at character" },
        { "- { path: /, headers: { X-A: { regex: '[' } } }", "wrong at character" },
        { "- { path: /, headers: { 'a b': x } }", "no valid header name" },
        { "- { path: /, headers: { Host: x } }", "matched with `host`" },
        { "- { path: /, headers: { Transfer-Encoding: chunked } }", "belongs to the connection" },
        { "- { path: /, cookies: { 'a b': x } }", "no valid parameter name" },
        { "- { host: 'a.example:80' }", "the port is no part" },
        { "- { host: '*' }", "without `host`" },
        { "- { host: 'a.*.example' }", "can only stand for the first labels" },
        { "- { host: '*.' }", "no host name" },
        { "- { host: '.example' }", "no host name" },
        { "- { host: 'a b' }", "no host name" },
        { "- { host: '[::1' }", "no host name" },
        { "- { host: '*.[::1]' }", "no names below it" },
        { "- { methods: [get] }", "in capitals: `GET`" },
        { "- { methods: ['GE T'] }", "is no method" },
    };
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct routing r;
        routing_build(&r, mistakes[i].yaml);
        if (r.router)
            fail_msg("%s is taken", mistakes[i].yaml);
        if (!routing_told(&r, CONF_ERROR, mistakes[i].message)) {
            conf_print_diagnostics(r.conf, stderr, true);
            fail_msg("%s does not say `%s`", mistakes[i].yaml, mistakes[i].message);
        }
        routing_done(&r);
    }
}

static void all_mistakes_of_all_routes_are_told_at_once(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: x, host: '*', methods: [post], headers: { Host: a } }\n- { regex: '(' }\n");
    assert_null(r.router);
    assert_int_equal(conf_error_count(r.conf), 5);
    routing_done(&r);
}

static void a_route_without_a_plan_is_checked_and_gives_no_router(void **state)
{
    static const char *const paths[] = { "/fine", "not fine" };
    struct match_conf matches[2] = { { .path = paths[0] }, { .path = paths[1] } };
    const struct route_entry entries[2] = { { .match = &matches[0] }, { .match = &matches[1] } };
    struct conf *conf = conf_new(NULL);
    assert_null(router_build(conf, entries, 1));
    assert_int_equal(conf_error_count(conf), 0);
    assert_null(router_build(conf, entries, 2));
    assert_int_equal(conf_error_count(conf), 1);
    conf_free(conf);
}

static void a_match_takes_one_of_path_prefix_and_regex(void **state)
{
    struct match_conf match = { 0 };
    struct conf *conf = conf_new(NULL);
    const struct conf_node *node = conf_parse_text(conf, "t", SLICE("{ path: /a, prefix: /b }"));
    assert_int_equal(conf_load(conf, node, &match_schema, &match), -1);
    conf_free(conf);
    conf = conf_new(NULL);
    node = conf_parse_text(conf, "t", SLICE("{ headers: { A: { equals: x, absent: true } } }"));
    assert_int_equal(conf_load(conf, node, &match_schema, &match), -1);
    conf_free(conf);
}

struct shadowing {
    const char *yaml;
    bool warned;
};

static void routes_that_can_never_match_are_warned_of(void **state)
{
    static const struct shadowing cases[] = {
        { "- { path: /a }\n- { path: /a }", true },
        { "- { path: '/a/{x}' }\n- { path: '/a/{y}' }", true },
        { "- { prefix: /a }\n- { prefix: /a/ }", true },
        { "- { path: /%61 }\n- { path: /a }", true },
        { "- { host: A.example, path: / }\n- { host: a.example., path: / }", true },
        { "- { host: [a, b], path: / }\n- { host: b, path: / }", true },
        { "- { host: a, path: / }\n- { host: [a, b], path: / }", false },
        { "- { path: / }\n- { host: a, path: / }", false },
        { "- { path: /a }\n- { path: /a, methods: [GET] }", false }, /* the second is the more specific */
        { "- { path: /a, methods: [GET, PUT] }\n- { path: /a, methods: [PUT] }", true },
        { "- { path: /a, methods: [GET] }\n- { path: /a, methods: [PUT] }\n- { path: /a, methods: [PUT, GET] }", true },
        { "- { path: /a, methods: [GET] }\n- { path: /a, methods: [PUT] }\n- { path: /a, methods: [PUT, GET, DELETE] }",
          false },
        { "- { path: /a, methods: [GET] }\n- { path: /a, methods: [HEAD] }", false },
        { "- { path: /a, headers: { X-A: '1' } }\n- { path: /a, headers: { x-a: '1' } }", true },
        { "- { path: /a, headers: { X-A: '1' } }\n- { path: /a, headers: { X-A: '2' } }", false },
        { "- { path: /a, query: { A: '1' } }\n- { path: /a, query: { a: '1' } }", false },
        { "- { path: /a, headers: { A: '1' } }\n- { path: /a, cookies: { A: '1' } }", false },
        { "- { path: /a, query: { a: '1' }, methods: [GET] }\n- { path: /a, query: { a: '1' } }", false },
        { "- { path: /a }\n- { path: '/a/{r...}' }\n- { prefix: /a }", true },
        { "- { path: '/a/{r...}' }\n- { prefix: /a }", false },
        { "- { path: '/{r...}' }\n- { prefix: / }", true },
        { "- { regex: '/a.*' }\n- { prefix: / }", true },
        { "- { regex: '/a.*' }\n- { prefix: /, methods: [GET] }", false },
        { "- { regex: '/a.*' }\n- {}", false },
        { "- { regex: '/a.*' }\n- { regex: '/a.*', methods: [GET] }", true },
        { "- { regex: '/a.*', methods: [GET] }\n- { regex: '/a.*' }", false },
        { "- {}\n- {}", true },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct routing r;
        routing_build(&r, cases[i].yaml);
        assert_non_null(r.router);
        if (routing_told(&r, CONF_WARNING, "can never match") != cases[i].warned)
            fail_msg("%s\nshould%s be warned of", cases[i].yaml, cases[i].warned ? "" : " not");
        routing_done(&r);
    }
}

static void a_warning_names_the_route_that_comes_before(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: /b }\n- { path: /a }\n- { path: /a }\n");
    assert_true(routing_told(&r, CONF_WARNING, "the route in line 2"));
    routing_done(&r);
}

static void a_held_router_lives_until_the_last_drop(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: /a }\n");
    assert_ptr_equal(router_hold(r.router), r.router);
    router_drop(r.router);
    assert_int_equal(routing_ask(&r, "GET /a"), 0);
    routing_done(&r);
}

static void an_empty_router_has_no_route_for_anything(void **state)
{
    struct routing r;
    routing_build(&r, "[]");
    assert_int_equal(routing_ask(&r, "GET http://a/"), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_NO_ROUTE);
    routing_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_are_refused_with_their_reason),
        cmocka_unit_test(all_mistakes_of_all_routes_are_told_at_once),
        cmocka_unit_test(a_route_without_a_plan_is_checked_and_gives_no_router),
        cmocka_unit_test(a_match_takes_one_of_path_prefix_and_regex),
        cmocka_unit_test(routes_that_can_never_match_are_warned_of),
        cmocka_unit_test(a_warning_names_the_route_that_comes_before),
        cmocka_unit_test(a_held_router_lives_until_the_last_drop),
        cmocka_unit_test(an_empty_router_has_no_route_for_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
