/*
 * Which route wins, as docs/routing.md tells it: tables of requests and the route (by its place in the list) that takes
 * them.
 */
#include "routing.h"

#include "base/assert.h"

struct expectation {
    const char *request;
    int route;
};

static void check(const char *yaml, const struct expectation *expected, size_t count)
{
    struct routing r;
    routing_build(&r, yaml);
    for (size_t i = 0; i < count; i++) {
        int got = routing_ask(&r, expected[i].request);
        if (got != expected[i].route)
            fail_msg("%s: expected route %d, got %d", expected[i].request, expected[i].route, got);
    }
    routing_done(&r);
}
#define CHECK(yaml, ...)                                                                                               \
    do {                                                                                                               \
        static const struct expectation expected_[] = { __VA_ARGS__ };                                                 \
        check(yaml, expected_, ARRAY_LEN(expected_));                                                                  \
    } while (0)

static void an_exact_host_beats_a_suffix_and_the_longest_suffix_wins(void **state)
{
    CHECK("- { prefix: / }\n"
          "- { host: '*.example.com', prefix: / }\n"
          "- { host: '*.eu.example.com', prefix: / }\n"
          "- { host: a.eu.example.com, prefix: / }\n",
          { "GET http://a.eu.example.com/", 3 }, { "GET http://b.eu.example.com/", 2 },
          { "GET http://b.c.eu.example.com/", 2 }, { "GET http://eu.example.com/", 1 },
          { "GET http://x.example.com/", 1 }, { "GET http://example.com/", 0 }, { "GET http://xexample.com/", 0 },
          { "GET http://other/", 0 }, { "GET /", 0 }, { "GET http://.example.com/", 0 });
}

static void host_names_compare_without_case_port_and_trailing_dot(void **state)
{
    CHECK("- { host: [A.Example, '[2001:db8::1]', '10.0.0.1'], prefix: / }\n"
          "- { host: '*.Wild.example.', prefix: / }\n",
          { "GET http://a.example/", 0 }, { "GET http://A.EXAMPLE:8443/", 0 }, { "GET http://a.example./", 0 },
          { "GET http://a.example.:80/", 0 }, { "GET http://[2001:DB8::1]:80/", 0 }, { "GET http://[2001:db8::1]/", 0 },
          { "GET http://10.0.0.1:1/", 0 }, { "GET http://X.wild.EXAMPLE:80/", 1 },
          { "GET http://wild.example/", NO_ROUTE }, { "GET http://a.example.org/", NO_ROUTE },
          { "GET http://[2001:db8::2]/", NO_ROUTE });
}

static void a_host_that_has_no_fitting_route_leaves_the_request_to_less_specific_hosts(void **state)
{
    CHECK("- { path: /shared }\n"
          "- { host: a.example, path: /own }\n"
          "- { host: '*.example', path: /wild }\n",
          { "GET http://a.example/own", 1 }, { "GET http://a.example/wild", 2 }, { "GET http://a.example/shared", 0 },
          { "GET http://b.example/own", NO_ROUTE });
}

static void overlong_hosts_meet_only_routes_without_a_host(void **state)
{
    char request[700] = "GET http://";
    struct routing r;
    routing_build(&r, "- { host: '*.example', prefix: / }\n- { prefix: / }\n");
    size_t len = strlen(request);
    while (len < 600) {
        memcpy(request + len, "a.", 2);
        len += 2;
    }
    memcpy(request + len, "example/", 9);
    assert_int_equal(routing_ask(&r, request), 1);
    routing_done(&r);
}

static void text_beats_a_parameter_beats_a_remainder_beats_a_prefix(void **state)
{
    CHECK("- { prefix: /users }\n"
          "- { path: '/users/{rest...}' }\n"
          "- { path: '/users/{id}' }\n"
          "- { path: /users/me }\n"
          "- { path: '/users/{id}/orders' }\n"
          "- { path: /users }\n",
          { "GET /users/me", 3 }, { "GET /users/7", 2 }, { "GET /users/7/orders", 4 }, { "GET /users/7/other", 1 },
          { "GET /users/", 1 }, { "GET /users", 5 }, { "GET /users/me/orders", 4 }, { "GET /usersx", NO_ROUTE });
}

static void segments_are_compared_from_the_left(void **state)
{
    CHECK("- { path: '/{a}/b/c' }\n"
          "- { path: '/x/{b}/{c}' }\n"
          "- { prefix: /x/b }\n"
          "- { path: '/{a}/{b}/z' }\n",
          { "GET /x/b/c", 2 }, { "GET /x/y/c", 1 }, { "GET /w/b/c", 0 }, { "GET /w/b/z", 3 },
          { "GET /w/b/q", NO_ROUTE });
}

static void prefixes_match_whole_segments_and_the_longer_wins(void **state)
{
    CHECK("- { prefix: / }\n"
          "- { prefix: /api }\n"
          "- { prefix: /api/v1/ }\n",
          { "GET /api", 1 }, { "GET /api/", 1 }, { "GET /api/x", 1 }, { "GET /apix", 0 }, { "GET /api/v1", 2 },
          { "GET /api/v1/", 2 }, { "GET /api/v1/x/y", 2 }, { "GET /api/v10", 1 }, { "GET /", 0 }, { "GET /x", 0 });
}

static void a_trailing_slash_makes_another_path(void **state)
{
    CHECK("- { path: /a/ }\n"
          "- { path: /a }\n"
          "- { path: / }\n"
          "- { path: '/b/{x}' }\n",
          { "GET /a/", 0 }, { "GET /a", 1 }, { "GET /", 2 }, { "GET /b/", NO_ROUTE }, { "GET /b", NO_ROUTE },
          { "GET /b/c", 3 }, { "GET /b/c/", NO_ROUTE }, { "GET /a//", NO_ROUTE }, { "GET //a", NO_ROUTE });
}

static void regexes_come_after_prefixes_in_the_order_of_the_file_and_before_routes_without_a_path(void **state)
{
    CHECK("- {}\n"
          "- { regex: '/v[0-9]+/.*' }\n"
          "- { regex: '/v1/.*' }\n"
          "- { prefix: /v2 }\n",
          { "GET /v1/x", 1 }, { "GET /v2/x", 3 }, { "GET /v1", 0 }, { "GET /w/v1/x", 0 }, { "GET /v1/x/y", 1 });
}

static void a_route_without_a_path_takes_targets_that_are_no_paths(void **state)
{
    CHECK("- { prefix: / }\n- { regex: '.*' }\n- {}\n- { methods: [CONNECT] }\n", { "OPTIONS *", 2 },
          { "CONNECT http://a.example:443", 3 }, { "GET /", 0 });
}

static void connect_and_trace_are_taken_by_routes_that_name_them_alone(void **state)
{
    struct routing r;
    routing_build(&r, "- { prefix: / }\n- { prefix: /t, methods: [TRACE, COPY] }\n- {}\n");
    assert_int_equal(routing_ask(&r, "TRACE /t/x"), 1);
    assert_int_equal(routing_ask(&r, "COPY /x"), 0);
    assert_int_equal(routing_ask(&r, "OTHER /x"), 0);
    assert_int_equal(routing_ask(&r, "TRACE /x"), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_METHOD_NOT_ALLOWED);
    assert_slice_equal(r.match.allow, "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, COPY");
    assert_int_equal(routing_ask(&r, "CONNECT http://a.example:443"), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_METHOD_NOT_ALLOWED);
    routing_done(&r);
}

static void paths_are_normalised_before_they_are_matched(void **state)
{
    CHECK("- { path: /a/b }\n"
          "- { path: '/caf%c3%a9/~x' }\n"
          "- { path: '/files/{name}' }\n"
          "- { path: '/a b' }\n",
          { "GET /a/./b", 0 }, { "GET /x/../a/b", 0 }, { "GET /%61/b", 0 }, { "GET /caf%C3%A9/%7ex", 1 },
          { "GET /caf%c3%a9/~x", 1 }, { "GET /files/a%2Fb", 2 }, { "GET /files/a%2fb", 2 },
          { "GET /files/a/b", NO_ROUTE }, { "GET /a%20b", 3 }, { "GET /a%2Fb", NO_ROUTE },
          { "GET /files/%2E%2E/a/b", 0 });
}

static void a_path_that_cannot_be_normalised_is_a_bad_target(void **state)
{
    static const char *const requests[] = { "GET /a/../..", "GET /%zz", "GET /%", "GET /x%00", "GET /%2e%2e/x" };
    struct routing r;
    routing_build(&r, "- { prefix: / }\n- {}\n");
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        assert_int_equal(routing_ask(&r, requests[i]), NO_ROUTE);
        assert_int_equal(r.match.err, ERR_BAD_TARGET);
    }
    routing_done(&r);
}

static void more_conditions_win_and_then_the_order_of_the_file(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: /x }\n"
                      "- { path: /x, headers: { X-A: '1' } }\n"
                      "- { path: /x, headers: { X-A: '1' }, methods: [GET] }\n"
                      "- { path: /x, headers: { X-B: {} } }\n");
    assert_int_equal(routing_ask(&r, "GET /x"), 0);
    routing_request(&r, "GET /x");
    routing_field(&r, "x-a", "1");
    assert_int_equal(routing_match(&r), 2);
    routing_request(&r, "POST /x");
    routing_field(&r, "x-b", "");
    routing_field(&r, "x-a", "1");
    assert_int_equal(routing_match(&r), 1);
    routing_request(&r, "POST /x");
    routing_field(&r, "x-b", "any");
    assert_int_equal(routing_match(&r), 3);
    routing_done(&r);
}

static void a_route_whose_conditions_fail_leaves_the_request_to_a_less_specific_path(void **state)
{
    CHECK("- { prefix: / }\n"
          "- { path: '/a/{x}', query: { q: '1' } }\n"
          "- { path: /a/b, methods: [POST] }\n",
          { "GET /a/b", 0 }, { "POST /a/b", 2 }, { "GET /a/b?q=1", 1 }, { "GET /a/c", 0 });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exact_host_beats_a_suffix_and_the_longest_suffix_wins),
        cmocka_unit_test(host_names_compare_without_case_port_and_trailing_dot),
        cmocka_unit_test(a_host_that_has_no_fitting_route_leaves_the_request_to_less_specific_hosts),
        cmocka_unit_test(overlong_hosts_meet_only_routes_without_a_host),
        cmocka_unit_test(text_beats_a_parameter_beats_a_remainder_beats_a_prefix),
        cmocka_unit_test(segments_are_compared_from_the_left),
        cmocka_unit_test(prefixes_match_whole_segments_and_the_longer_wins),
        cmocka_unit_test(a_trailing_slash_makes_another_path),
        cmocka_unit_test(regexes_come_after_prefixes_in_the_order_of_the_file_and_before_routes_without_a_path),
        cmocka_unit_test(a_route_without_a_path_takes_targets_that_are_no_paths),
        cmocka_unit_test(connect_and_trace_are_taken_by_routes_that_name_them_alone),
        cmocka_unit_test(paths_are_normalised_before_they_are_matched),
        cmocka_unit_test(a_path_that_cannot_be_normalised_is_a_bad_target),
        cmocka_unit_test(more_conditions_win_and_then_the_order_of_the_file),
        cmocka_unit_test(a_route_whose_conditions_fail_leaves_the_request_to_a_less_specific_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
