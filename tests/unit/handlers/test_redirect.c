/*
 * The redirect handler: where it sends, and that no request can make it send elsewhere.
 */
#include "answering.h"
#include <ctype.h>

#include "base/assert.h"

struct redirection {
    const char *to; /* and further settings */
    const char *request;
    const char *location;
};

static void load(struct answering *a, const char *settings)
{
    char yaml[512];
    snprintf(yaml, sizeof(yaml), "{ match: { path: '/{id}/{rest...}' }, redirect: { %s } }", settings);
    answering_load(a, yaml);
    if (!a->type) {
        conf_print_diagnostics(a->conf, stderr, true);
        fail_msg("%s is refused", settings);
    }
}

/* As a client would have had to write it in its path. */
static struct slice escaped(const char *value, bool spans, char *buf)
{
    size_t len = 0;
    for (; *value; value++) {
        bool stays = isalnum((unsigned char)*value) || strchr("-._~!$&'()*+,;=:@", *value) || (*value == '/' && spans);
        len += (size_t)snprintf(buf + len, 4, stays ? "%c" : "%%%02X", (unsigned char)*value);
    }
    return slice_make(buf, len);
}

static void check(const struct redirection *d, const char *id, const char *rest)
{
    struct answering a;
    load(&a, d->to);
    char raw_id[256], raw_rest[256];
    a.captures[0] = (struct capture){ SLICE("id"), slice_from(id), escaped(id, false, raw_id) };
    a.captures[1] = (struct capture){ SLICE("rest"), slice_from(rest), escaped(rest, true, raw_rest) };
    a.capture_count = 2;
    answering_ask(&a, d->request);
    struct slice got = answering_field(&a, "Location");
    if (!slice_eq(got, slice_from(d->location)))
        fail_msg("%s, %s: expected `%s`, got `%.*s`", d->to, d->request, d->location, SLICE_ARG(got));
    answering_done(&a);
}

static void the_target_is_made_of_text_path_query_host_and_captures(void **state)
{
    static const struct redirection directions[] = {
        { "to: /new", "GET /old", "/new" },
        { "to: 'https://{host}{path}'", "GET /a/b", "https://gateway.example/a/b" },
        { "to: 'https://{host}:8443{path}'", "GET /", "https://gateway.example:8443/" },
        { "to: 'https://www.{host}/x'", "GET /", "https://www.gateway.example/x" },
        { "to: 'https://other.example{path}'", "GET /a?b=c", "https://other.example/a?b=c" },
        { "to: 'http://[::1]:8080{path}'", "GET /a", "http://[::1]:8080/a" },
        { "to: 'https://other.example'", "GET /a?b", "https://other.example?b" },
        { "to: '/users/{id}/files/{rest...}'", "GET /x", "/users/7/files/a/b%20c" },
        { "to: '/users/{id}'", "GET /x", "/users/7" },
        { "to: '{path}/'", "GET /a/b", "/a/b/" },
        { "to: '/find?q={id}&r={rest...}'", "GET /x", "/find?q=7&r=a/b%20c" },
    };
    for (size_t i = 0; i < ARRAY_LEN(directions); i++)
        check(&directions[i], "7", "a/b c");
}

static void the_query_is_kept_where_the_template_wants_it(void **state)
{
    static const struct redirection directions[] = {
        { "to: /new", "GET /old?a=1&b=%20", "/new?a=1&b=%20" },
        { "to: '/new?x=y'", "GET /old?a=1", "/new?x=y&a=1" },
        { "to: '/new#part'", "GET /old?a=1", "/new?a=1#part" },
        { "to: '/new?x=y#part'", "GET /old?a=1", "/new?x=y&a=1#part" },
        { "to: '/new#part?'", "GET /old?a=1", "/new?a=1#part?" },
        { "to: /new, keep_query: false", "GET /old?a=1", "/new" },
        { "to: '/new?old={query}'", "GET /old?a", "/new?old=a" },
        { "to: '/new?{query}&z'", "GET /old?a=1", "/new?a=1&z" },
        { "to: '/new'", "GET /old?", "/new" },
    };
    for (size_t i = 0; i < ARRAY_LEN(directions); i++)
        check(&directions[i], "7", "x");
}

static void no_request_leads_to_another_host(void **state)
{
    static const struct redirection directions[] = {
        { "to: '{path}'", "GET //evil.example/x", "/evil.example/x" },
        { "to: '{path}'", "GET ////evil.example", "/evil.example" },
        { "to: '{path}'", "GET /\\evil.example", "/%5Cevil.example" },
        { "to: '/{rest...}'", "GET /x", "/evil.example" },
        { "to: '/{id}'", "GET /x", "/%2Fevil.example" },
        { "to: 'https://good.example{path}'", "GET @evil.example", "https://good.example/@evil.example" },
        { "to: 'https://good.example{path}'", "GET .evil.example", "https://good.example/.evil.example" },
        { "to: 'https://{host}{path}'", "GET //evil.example", "https://gateway.example//evil.example" },
    };
    for (size_t i = 0; i < ARRAY_LEN(directions); i++)
        check(&directions[i], "/evil.example", "/evil.example");
}

static void captures_cannot_end_the_part_they_stand_in(void **state)
{
    static const struct redirection directions[] = {
        { "to: '/u/{id}'", "GET /x", "/u/a%0D%0AX-Evil:%201%3Fq%23f%25%2Fb" },
        { "to: '/u/{id...}'", "GET /x", "/u/a%0D%0AX-Evil:%201%3Fq%23f%25%2Fb" },
        { "to: '/u?q={id}'", "GET /x", "/u?q=a%0D%0AX-Evil:%201%3Fq%23f%25/b" },
        { "to: '/u?q={rest...}'", "GET /x", "/u?q=1%262%3D3%2B%E9%3B" },
        { "to: '/u#{id}'", "GET /x", "/u#a%0D%0AX-Evil:%201%3Fq%23f%25/b" },
        { "to: /n", "GET /x?a=\"<>\x01\xff", "/n?a=%22%3C%3E%01%FF" },
        { "to: '/a{path}'", "GET /\"<>{}|^`", "/a/%22%3C%3E%7B%7D%7C%5E%60" },
    };
    for (size_t i = 0; i < ARRAY_LEN(directions); i++)
        check(&directions[i], "a\r\nX-Evil: 1?q#f%/b", "1&2=3+\xe9;");
}

static void the_status_is_307_unless_told(void **state)
{
    static const struct {
        const char *settings;
        int status;
    } cases[] = {
        { "to: /a", 307 },
        { "to: /a, status: 301", 301 },
        { "to: /a, status: 302", 302 },
        { "to: /a, status: 303", 303 },
        { "to: /a, status: 308", 308 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct answering a;
        load(&a, cases[i].settings);
        answering_ask(&a, "POST /");
        assert_int_equal(a.response->status, cases[i].status);
        assert_int_equal(a.body.len, 0);
        answering_done(&a);
    }
}

static void a_host_that_is_none_is_a_bad_request(void **state)
{
    static const char *const hosts[] = {
        "a b", "evil.example/@good.example", "user@good.example", "", "[::1", "a:99999"
    };
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct answering a;
        load(&a, "to: 'https://{host}{path}'");
        a.request.authority = slice_make(hosts[i], strlen(hosts[i]));
        answering_ask(&a, "GET /");
        assert_int_equal(a.response->status, 400);
        assert_slice_equal(answering_field(&a, "Location"), "(none)");
        answering_done(&a);
    }
}

static void a_regex_group_that_took_no_part_leaves_nothing(void **state)
{
    struct answering a;
    answering_load(&a, "{ match: { regex: '/(?<kind>a)?.*' }, redirect: '/x/{kind}' }");
    assert_non_null(a.type);
    answering_ask(&a, "GET /b");
    assert_slice_equal(answering_field(&a, "Location"), "/x/");
    answering_done(&a);
}

static void targets_that_are_unsafe_or_wrong_are_refused(void **state)
{
    static const struct {
        const char *yaml, *message;
    } mistakes[] = {
        { "redirect: { to: //evil.example }", "leads to another host" },
        { "redirect: { to: users }", "expected `https://" },
        { "redirect: { to: 'ftp://a' }", "expected `https://" },
        { "redirect: { to: 'javascript:alert(1)' }", "expected `https://" },
        { "redirect: { to: '{query}' }", "expected `https://" },
        { "redirect: { to: 'https://' }", "is no host" },
        { "redirect: { to: 'https:///a' }", "is no host" },
        { "redirect: { to: 'https://user@a/' }", "is no host" },
        { "redirect: { to: 'https://{host}@evil.example/' }", "is no host" },
        { "{ match: { path: '/{id}' }, redirect: { to: 'https://{id}.example/' } }",
          "only `{host}` can be part of the host" },
        { "{ match: { path: '/{id}' }, redirect: { to: 'https://a.example{id}' } }",
          "only `{host}` can be part of the host" },
        { "redirect: { to: 'https://a{query}' }", "only `{host}` can be part of the host" },
        { "redirect: { to: \"/a\\r\\nX: b\" }", "percent-encoded" },
        { "redirect: { to: '/a b' }", "percent-encoded" },
        { "redirect: { to: '/a%zz' }", "percent-encoded" },
        { "redirect: { to: '/\\evil.example' }", "percent-encoded" },
        { "redirect: { to: '/{' }", "never closed" },
        { "redirect: { to: '/{}' }", "got `{}`" },
        { "redirect: { to: '/{a-b}' }", "got `{a-b}`" },
        { "{ match: { path: '/{id}' }, redirect: { to: '/{ids}' } }", "`{ids}` is no capture" },
        { "{ match: { path: '/{id}' }, redirect: '/{i}' }", "`{i}` is no capture" },
        { "{ match: { prefix: / }, redirect: { to: '/{id}' } }", "`{id}` is no capture" },
        { "{ match: { regex: '/(?<id>.)' }, redirect: { to: '/{d}' } }", "`{d}` is no capture" },
        { "redirect: { to: /a, status: 304 }", "got 304" },
        { "redirect: { to: '' }", "" },
        { "redirect: {}", "`to`" },
    };
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct answering a;
        answering_load(&a, mistakes[i].yaml);
        if (a.type || !answering_told(&a, mistakes[i].message)) {
            conf_print_diagnostics(a.conf, stderr, true);
            fail_msg("%s does not say `%s`", mistakes[i].yaml, mistakes[i].message);
        }
        answering_done(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_target_is_made_of_text_path_query_host_and_captures),
        cmocka_unit_test(the_query_is_kept_where_the_template_wants_it),
        cmocka_unit_test(no_request_leads_to_another_host),
        cmocka_unit_test(captures_cannot_end_the_part_they_stand_in),
        cmocka_unit_test(the_status_is_307_unless_told),
        cmocka_unit_test(a_host_that_is_none_is_a_bad_request),
        cmocka_unit_test(a_regex_group_that_took_no_part_leaves_nothing),
        cmocka_unit_test(targets_that_are_unsafe_or_wrong_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
