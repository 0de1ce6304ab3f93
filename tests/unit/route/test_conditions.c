/*
 * Methods with 405 and Allow, header, query and cookie conditions, captures, and what a hostile request can do to a
 * regex.
 */
#include "routing.h"

#include "base/assert.h"

static void head_takes_a_route_for_get_unless_one_names_head(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: /a, methods: [GET] }\n"
                      "- { path: /b, methods: [GET] }\n"
                      "- { path: /b, methods: [HEAD] }\n"
                      "- { path: /c, methods: [GET], query: { q: {} } }\n"
                      "- { path: /c, methods: [HEAD] }\n");
    assert_int_equal(routing_ask(&r, "HEAD /a"), 0);
    assert_int_equal(routing_ask(&r, "HEAD /b"), 2);
    assert_int_equal(routing_ask(&r, "GET /b"), 1);
    assert_int_equal(routing_ask(&r, "HEAD /c?q"), 3);
    assert_int_equal(routing_ask(&r, "HEAD /c"), 4);
    routing_done(&r);
}

static void a_wrong_method_is_told_which_are_right(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: '/a/{x}', methods: [GET, PUT] }\n"
                      "- { path: /a/b, methods: [PURGE] }\n"
                      "- { prefix: /a, methods: POST, headers: { X-Need: {} } }\n"
                      "- { path: /head, methods: [HEAD] }\n");
    assert_int_equal(routing_ask(&r, "DELETE /a/b"), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_METHOD_NOT_ALLOWED);
    assert_slice_equal(r.match.allow, "GET, HEAD, PUT, PURGE");
    assert_int_equal(routing_ask(&r, "PURGE /a/c"), NO_ROUTE);
    assert_slice_equal(r.match.allow, "GET, HEAD, PUT");
    assert_int_equal(routing_ask(&r, "GET /head"), NO_ROUTE);
    assert_slice_equal(r.match.allow, "HEAD");
    assert_int_equal(routing_ask(&r, "PURGE /a/b"), 1);
    assert_int_equal(routing_ask(&r, "MKCOL /a/b"), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_METHOD_NOT_ALLOWED);
    assert_int_equal(routing_ask(&r, "POST /elsewhere"), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_NO_ROUTE);
    assert_int_equal(r.match.allow.len, 0);
    routing_done(&r);
}

static void a_route_without_methods_takes_methods_nobody_names(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: /a }\n- { path: /b, methods: [PURGE] }\n");
    assert_int_equal(routing_ask(&r, "MKCOL /a"), 0);
    assert_int_equal(routing_ask(&r, "PURGE /a"), 0);
    assert_int_equal(routing_ask(&r, "purge /b"), NO_ROUTE);
    routing_done(&r);
}

struct field_case {
    const char *name, *value;
    int route;
};

static void header_conditions_look_at_every_line_of_a_field(void **state)
{
    static const struct field_case cases[] = {
        { "x-equal", "yes", 0 },      { "X-Equal", "Yes", NO_ROUTE },  { "X-Equal", "yes, no", NO_ROUTE },
        { "X-Regex", "v12", 1 },      { "X-Regex", "xv12", NO_ROUTE }, { "X-Regex", "v12x", NO_ROUTE },
        { "Accept", "text/html", 2 }, { "X-Present", "", 3 },          { "X-Other", "1", NO_ROUTE },
    };
    struct routing r;
    routing_build(&r, "- { path: /, headers: { X-Equal: 'yes' } }\n"
                      "- { path: /, headers: { X-Regex: { regex: 'v[0-9]+' } } }\n"
                      "- { path: /, headers: { accept: text/html } }\n"
                      "- { path: /, headers: { X-Present: {} } }\n");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        routing_request(&r, "GET /");
        routing_field(&r, cases[i].name, "elsewhere, not it");
        routing_field(&r, cases[i].name, cases[i].value);
        assert_int_equal(routing_match(&r), cases[i].route);
    }
    routing_done(&r);
}

static void absent_holds_only_without_the_field(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: /, headers: { X-Debug: { absent: true } } }\n"
                      "- { path: /q, query: { debug: { absent: true } } }\n"
                      "- { path: /c, cookies: { debug: { absent: true } } }\n");
    assert_int_equal(routing_ask(&r, "GET /"), 0);
    routing_request(&r, "GET /");
    routing_field(&r, "x-debug", "");
    assert_int_equal(routing_match(&r), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_NO_ROUTE);
    assert_int_equal(routing_ask(&r, "GET /q?debu=1"), 1);
    assert_int_equal(routing_ask(&r, "GET /q?debug"), NO_ROUTE);
    routing_request(&r, "GET /c");
    routing_field(&r, "Cookie", "a=1; debug=");
    assert_int_equal(routing_match(&r), NO_ROUTE);
    assert_int_equal(routing_ask(&r, "GET /c"), 2);
    routing_done(&r);
}

static void the_upgrade_asked_for_can_be_matched_as_a_header(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: /, headers: { Upgrade: websocket } }\n- { path: / }\n");
    assert_int_equal(routing_ask(&r, "GET /"), 1);
    routing_request(&r, "GET /");
    r.request.upgrade = SLICE("websocket");
    assert_int_equal(routing_match(&r), 0);
    routing_done(&r);
}

static void query_parameters_compare_decoded(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: /, query: { 'a b': 'x&y' } }\n"
                      "- { path: /, query: { v: { regex: '[0-9]+' } } }\n"
                      "- { path: /, query: { empty: '' } }\n");
    assert_int_equal(routing_ask(&r, "GET /?a%20b=x%26y"), 0);
    assert_int_equal(routing_ask(&r, "GET /?%61%20b=%78%26y"), 0);
    assert_int_equal(routing_ask(&r, "GET /?z=1&a%20b=no&&a%20b=x%26y&"), 0);
    assert_int_equal(routing_ask(&r, "GET /?a+b=x%26y"), NO_ROUTE);
    assert_int_equal(routing_ask(&r, "GET /?a%20b=x&y"), NO_ROUTE);
    assert_int_equal(routing_ask(&r, "GET /?v=12"), 1);
    assert_int_equal(routing_ask(&r, "GET /?v=12a"), NO_ROUTE);
    assert_int_equal(routing_ask(&r, "GET /?%zz=1&v=%3"), NO_ROUTE);
    assert_int_equal(routing_ask(&r, "GET /?empty="), 2);
    assert_int_equal(routing_ask(&r, "GET /?empty"), 2);
    assert_int_equal(routing_ask(&r, "GET /?Empty"), NO_ROUTE);
    routing_done(&r);
}

static void cookies_are_found_among_others_and_over_several_lines(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: /, cookies: { beta: '1' } }\n");
    assert_int_equal(routing_ask(&r, "GET /"), NO_ROUTE);
    static const struct {
        const char *line;
        int route;
    } cases[] = {
        { "beta=1", 0 },         { "a=b; beta=1; c=d", 0 }, { "a=b;beta=1", 0 },    { " beta = 1 ", 0 },
        { "xbeta=1", NO_ROUTE }, { "beta=10", NO_ROUTE },   { "Beta=1", NO_ROUTE }, { "a=beta=1", NO_ROUTE },
        { "beta", NO_ROUTE },    { ";;=;beta=1;", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        routing_request(&r, "GET /");
        routing_field(&r, "Cookie", "first=1");
        routing_field(&r, "Cookie", cases[i].line);
        assert_int_equal(routing_match(&r), cases[i].route);
    }
    routing_done(&r);
}

static void captures_are_decoded_and_an_escaped_slash_stays_in_its_segment(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: '/u/{id}/f/{rest...}' }\n");
    assert_int_equal(routing_ask(&r, "GET /u/a%2Fb%20c/f/x%20y/%2E%2E%2f%2e%2e/z%25"), 0);
    assert_int_equal(r.match.capture_count, 2);
    assert_slice_equal(routing_capture(&r, "id"), "a/b c");
    assert_slice_equal(r.match.captures[0].raw, "a%2Fb%20c");
    assert_slice_equal(routing_capture(&r, "rest"), "x y/..%2F../z%");
    assert_slice_equal(r.match.captures[1].raw, "x%20y/..%2F../z%25");
    assert_int_equal(routing_ask(&r, "GET /u/1/f/"), 0);
    assert_slice_equal(routing_capture(&r, "rest"), "");
    routing_done(&r);
}

static void a_match_without_captures_takes_nothing_from_the_arena(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: /u/a/f, methods: [GET] }\n- { prefix: /p }\n");
    size_t used = r.arena->used_bytes;
    assert_int_equal(routing_ask(&r, "GET http://h/u/a/f?x=1"), 0);
    assert_int_equal(routing_ask(&r, "GET http://h/p/a/b"), 1);
    assert_int_equal(r.arena->used_bytes, used);
    routing_done(&r);
}

static void captures_outlive_the_router_and_its_configuration(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: '/u/{id}/f/{rest...}' }\n");
    assert_int_equal(routing_ask(&r, "GET /u/12/f/a/b"), 0);
    router_drop(r.router);
    conf_free(r.conf);
    r.router = NULL;
    r.conf = NULL;
    assert_slice_equal(routing_capture(&r, "id"), "12");
    assert_slice_equal(routing_capture(&r, "rest"), "a/b");
    routing_done(&r);
}

static void each_route_of_a_pattern_names_its_captures_itself(void **state)
{
    struct routing r;
    routing_build(
        &r,
        "- { path: '/{a}/{b}', methods: [GET] }\n- { path: '/{x}/{y}', methods: [POST] }\n- { path: '/{p}/z/{q}' }\n");
    assert_int_equal(routing_ask(&r, "GET /1/2"), 0);
    assert_slice_equal(routing_capture(&r, "b"), "2");
    assert_int_equal(routing_ask(&r, "POST /1/2"), 1);
    assert_slice_equal(routing_capture(&r, "x"), "1");
    assert_slice_equal(routing_capture(&r, "a"), "(none)");
    assert_int_equal(routing_ask(&r, "GET /1/z/3"), 2);
    assert_slice_equal(routing_capture(&r, "q"), "3");
    routing_done(&r);
}

static void captures_of_a_route_that_fell_through_are_forgotten(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: '/{a}/{b}/x' }\n- { prefix: / }\n- { host: h, path: '/{a}/{b...}', methods: [PUT] "
                      "}\n- { path: '/{one}/end' }\n");
    assert_int_equal(routing_ask(&r, "GET http://h/1/2"), 1);
    assert_int_equal(r.match.capture_count, 0);
    assert_int_equal(routing_ask(&r, "GET http://h/1/end"), 3);
    assert_int_equal(r.match.capture_count, 1);
    assert_slice_equal(routing_capture(&r, "one"), "1");
    routing_done(&r);
}

static void named_groups_of_a_regex_are_captures(void **state)
{
    struct routing r;
    routing_build(&r, "- { regex: '/(?<kind>[a-z]+)-(?P<id>[0-9]+)(?:/(?''more''.*))?(x)?' }\n");
    assert_int_equal(routing_ask(&r, "GET /item-42/a%2fb%20c"), 0);
    assert_slice_equal(routing_capture(&r, "kind"), "item");
    assert_slice_equal(routing_capture(&r, "id"), "42");
    assert_slice_equal(routing_capture(&r, "more"), "a%2Fb c");
    assert_int_equal(routing_ask(&r, "GET /item-42"), 0);
    assert_int_equal(r.match.capture_count, 2);
    assert_slice_equal(routing_capture(&r, "more"), "(none)");
    assert_int_equal(routing_ask(&r, "GET /item-x"), NO_ROUTE);
    assert_int_equal(routing_ask(&r, "GET /item-42\n"), NO_ROUTE);
    routing_done(&r);
}

static void a_regex_that_runs_wild_is_an_error_and_never_skipped(void **state)
{
    char request[128] = "GET /";
    struct routing r;
    memset(request + 5, 'a', 60);
    memcpy(request + 65, "!b", 3); /* else it is seen at once that there is no b */
    routing_build(
        &r, "- { regex: '/(a+)+b' }\n- {}\n- { path: /h, headers: { X-R: { regex: '(a+)+b' } } }\n- { prefix: /h }\n");
    assert_int_equal(routing_ask(&r, request), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_BAD_TARGET);
    routing_request(&r, "GET /h");
    routing_field(&r, "X-R", request + 5);
    assert_int_equal(routing_match(&r), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_BAD_TARGET);
    assert_int_equal(routing_ask(&r, "GET /b"), 1);
    routing_done(&r);
}

static void without_memory_a_match_says_so(void **state)
{
    struct routing r;
    routing_build(&r, "- { path: '/a/{x}' }\n- { regex: '/r.*' }\n- {}\n");
    r.arena->limit_bytes = r.arena->used_bytes;
    assert_int_equal(routing_ask(&r, "GET /a/x"), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_MEMORY);
    assert_int_equal(routing_ask(&r, "GET /%20"), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_MEMORY);
    assert_int_equal(routing_ask(&r, "GET /r"), NO_ROUTE);
    assert_int_equal(r.match.err, ERR_MEMORY);
    routing_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_takes_a_route_for_get_unless_one_names_head),
        cmocka_unit_test(a_wrong_method_is_told_which_are_right),
        cmocka_unit_test(a_route_without_methods_takes_methods_nobody_names),
        cmocka_unit_test(header_conditions_look_at_every_line_of_a_field),
        cmocka_unit_test(absent_holds_only_without_the_field),
        cmocka_unit_test(the_upgrade_asked_for_can_be_matched_as_a_header),
        cmocka_unit_test(query_parameters_compare_decoded),
        cmocka_unit_test(cookies_are_found_among_others_and_over_several_lines),
        cmocka_unit_test(captures_are_decoded_and_an_escaped_slash_stays_in_its_segment),
        cmocka_unit_test(a_match_without_captures_takes_nothing_from_the_arena),
        cmocka_unit_test(captures_outlive_the_router_and_its_configuration),
        cmocka_unit_test(each_route_of_a_pattern_names_its_captures_itself),
        cmocka_unit_test(captures_of_a_route_that_fell_through_are_forgotten),
        cmocka_unit_test(named_groups_of_a_regex_are_captures),
        cmocka_unit_test(a_regex_that_runs_wild_is_an_error_and_never_skipped),
        cmocka_unit_test(without_memory_a_match_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
