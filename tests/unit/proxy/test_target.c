/*
 * The path and the host that a service sees: templates compiled, filled with a route's captures, put in a prefix's
 * place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "base/sys.h"
#include "handlers/proxy/proxy.h"

struct bench {
    struct conf *conf;
    struct memory memory;
    struct exchange x;
    struct message request;
    struct proxy proxy;
    struct proxying p;
    int rc;
};

/* `route` holds a match and `proxy: { upstream, path, host }`, of which path and host count here. */
static void compile(struct bench *b, const char *route)
{
    memset(b, 0, sizeof(*b));
    b->conf = conf_new(NULL);
    const struct conf_node *root = conf_parse_text(b->conf, "test.yaml", slice_from(route));
    assert_non_null(root);
    const struct conf_node *node = conf_get(root, "proxy");
    const struct conf_node *path = conf_get(node, "path"), *host = conf_get(node, "host");
    const struct proxy_conf settings = { .path = path ? path->text.at : NULL,
                                         .host = host ? host->text.at : "preserve" };
    b->rc = target_compile(b->conf, node, &settings, &b->proxy);
    assert_int_equal(memory_init(&b->memory, NULL, 0), 0);
    b->x.arena = arena_new(&b->memory, SIZE_MAX);
    b->x.request = &b->request;
    b->request.path = SLICE("/as/it/came");
    b->request.authority = SLICE("client.example");
    b->p.x = &b->x;
    b->p.proxy = &b->proxy;
}

static void done(struct bench *b)
{
    mem_free(b->proxy.parts);
    arena_free(b->x.arena);
    memory_done(&b->memory);
    conf_free(b->conf);
}

static void assert_text(struct slice got, const char *wanted, const char *what)
{
    if (!slice_eq(got, slice_from(wanted)))
        fail_msg("%s: %.*s", what, SLICE_ARG(got));
}

static void captures_go_in_as_they_stood_in_the_path(void **state)
{
    static const struct {
        const char *route, *path;
    } cases[] = {
        { "{ match: { path: '/u/{id}' }, proxy: { upstream: a } }", "/as/it/came" },
        { "{ match: { path: '/u/{id}' }, proxy: { upstream: a, path: /fixed } }", "/fixed" },
        { "{ match: { path: '/u/{id}' }, proxy: { upstream: a, path: '/users/{id}' } }", "/users/a%20b" },
        { "{ match: { path: '/u/{id}' }, proxy: { upstream: a, path: '/{id}/x/{id}' } }", "/a%20b/x/a%20b" },
        { "{ match: { path: '/u/{id}/{more...}' }, proxy: { upstream: a, path: '/{more...}' } }", "/c/d" },
        { "{ match: { path: '/u/{id}/{more...}' }, proxy: { upstream: a, path: '/{more}-{id}' } }", "/c/d-a%20b" },
        { "{ match: { regex: '^/(?<id>a)|(?<no>b)' }, proxy: { upstream: a, path: '/{no}{id}' } }", "/a%20b" },
    };
    static struct capture captures[] = {
        { { "id", 2 }, { "a b", 3 }, { "a%20b", 5 } },
        { { "more", 4 }, { "c/d", 3 }, { "c/d", 3 } },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        compile(&b, cases[i].route);
        if (b.rc < 0)
            fail_msg("refused: %s", cases[i].route);
        b.x.captures = captures;
        b.x.capture_count = ARRAY_LEN(captures);
        assert_int_equal(target_shape(&b.p), 0);
        assert_text(b.p.head.path, cases[i].path, cases[i].route);
        assert_text(b.request.path, "/as/it/came", "the request itself");
        done(&b);
    }
}

static void a_path_takes_the_prefixes_place(void **state)
{
    static const struct {
        const char *path, *rest, *wanted;
    } cases[] = {
        { "/", "", "/" },         { "/", "/", "/" },         { "/", "/x/y", "/x/y" }, { "/v2", "", "/v2" },
        { "/v2", "/x", "/v2/x" }, { "/v2/", "/x", "/v2/x" }, { "/v2/", "", "/v2/" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        char route[128];
        snprintf(route, sizeof(route), "{ match: { prefix: /api }, proxy: { upstream: a, path: %s } }", cases[i].path);
        compile(&b, route);
        b.x.rest = slice_from(cases[i].rest);
        assert_int_equal(target_shape(&b.p), 0);
        assert_text(b.p.head.path, cases[i].wanted, route);
        done(&b);
    }
}

static void the_host_is_the_clients_the_targets_or_one_by_name(void **state)
{
    static const struct {
        const char *host, *came, *sent;
        bool names_target;
    } cases[] = {
        { "preserve", "client.example", "client.example", false },
        { "preserve", "", "", true }, /* HTTP/1.0: the service is owed one */
        { "target", "client.example", "client.example", true },
        { "svc.internal:81", "client.example", "svc.internal:81", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        char route[128];
        snprintf(route, sizeof(route), "{ proxy: { upstream: a, host: '%s' } }", cases[i].host);
        compile(&b, route);
        b.request.authority = slice_from(cases[i].came);
        assert_int_equal(target_shape(&b.p), 0);
        assert_text(b.p.head.authority, cases[i].sent, route);
        assert_int_equal(b.p.names_target, cases[i].names_target);
        done(&b);
    }
}

static void what_can_never_be_filled_is_refused_at_load(void **state)
{
    static const char *const settings[] = {
        "path: users",      "path: '/u?x=1'", "path: '/u#x'", "path: '/{id'", "path: '/{}'",     "path: '/{1x}'",
        "path: '/{other}'", "path: '/{i d}'", "host: ''",     "host: 'a b'",  "host: \"a\\nb\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        struct bench b;
        char route[128];
        snprintf(route, sizeof(route), "{ match: { path: '/u/{id}' }, proxy: { upstream: a, %s } }", settings[i]);
        compile(&b, route);
        if (b.rc == 0 || conf_error_count(b.conf) != 1)
            fail_msg("taken: %s", settings[i]);
        done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captures_go_in_as_they_stood_in_the_path),
        cmocka_unit_test(a_path_takes_the_prefixes_place),
        cmocka_unit_test(the_host_is_the_clients_the_targets_or_one_by_name),
        cmocka_unit_test(what_can_never_be_filled_is_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
