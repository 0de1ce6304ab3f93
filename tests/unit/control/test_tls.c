/*
 * TLS in the configuration: what it comes to, what is refused and where, and what a reload takes over from the snapshot
 * in force.
 */
#include "configuring.h"

#include <unistd.h>

#include "../tls/certificates.h"
#include "base/assert.h"
#include "base/hash.h"
#include "control/secured.h"
#include "observe/metrics.h"
#include "tls/tls.h"
#include "upstream/upstream.h"

static int begin(void **state)
{
    hash_seed();
    metrics_init(1);
    if (tls_start() < 0 || certificates_begin(state) < 0)
        return -1;
    certificate_make("a", "ec", "DNS:a.example", NULL);
    certificate_make("b", "ec", "DNS:b.example", NULL);
    certificate_make_expired("old", "DNS:old.example");
    return 0;
}

static int end(void **state)
{
    metrics_done();
    return certificates_end(state);
}

/* A configuration with one listener; `%c` and `%k` in its TLS are paths of a's certificate and key. */
static const char *with_listener(const char *tls)
{
    static char yaml[4096];
    size_t len = (size_t)snprintf(yaml, sizeof(yaml), "listeners:\n  - address: 127.0.0.1:0\n    tls: ");
    for (; *tls; tls++) {
        const char *path = NULL;
        if (tls[0] == '%' && tls[1] == 'c')
            path = certificate_path("a", ".pem");
        else if (tls[0] == '%' && tls[1] == 'k')
            path = certificate_path("a", ".key");
        else if (tls[0] == '%' && tls[1] == 'o')
            path = certificate_path("b", ".key");
        else if (tls[0] == '%' && tls[1] == 'e')
            path = certificate_path("old", ".pem");
        else if (tls[0] == '%' && tls[1] == 'E')
            path = certificate_path("old", ".key");
        else if (tls[0] == '%' && tls[1] == 'a')
            path = certificate_path("ca", ".pem");
        if (path)
            tls++;
        len += (size_t)(path ? snprintf(yaml + len, sizeof(yaml) - len, "%s", path)
                             : snprintf(yaml + len, sizeof(yaml) - len, "%c", *tls));
    }
    snprintf(yaml + len, sizeof(yaml) - len, "\nroutes: [ { respond: 204 } ]\n");
    return yaml;
}

static struct snapshot *build(struct configured *c, const char *yaml, const struct snapshot *previous)
{
    const struct snapshot_context context = { .previous = previous, .cells = 1 };
    configure(c, yaml);
    return snapshot_build(c->conf, c->root, &c->settings, &context);
}

static void a_certificate_and_its_key_are_enough(void **state)
{
    struct configured c;
    struct snapshot *s = build(&c, with_listener("{ certificates: { cert: %c, key: %k } }"), NULL);
    assert_non_null(s);
    const struct listener_conf *listener = s->settings.listeners.items;
    assert_int_equal(listener->tls->min_version, TLS_VERSION_1_2);
    assert_int_equal(listener->tls->max_version, TLS_VERSION_1_3);
    assert_int_equal(listener->tls->alpn.count, 2);
    assert_true(listener->tls->tickets);
    assert_null(listener->tls->client_certificates);
    assert_true(s->servers[0].secure);
    assert_false(s->server.secure);
    assert_int_equal(tls_material_role(s->secured_listeners[0].material), TLS_SERVER);
    snapshot_drop(s);
    configured_done(&c);
}

static void what_is_wrong_is_told_in_its_place(void **state)
{
    static const struct {
        const char *tls, *path, *told;
    } cases[] = {
        { "{ }", "listeners[0].tls", "certificates" },
        { "{ certificates: [] }", "listeners[0].tls.certificates", "" },
        { "{ certificates: { key: %k } }", "listeners[0].tls.certificates", "`cert`" },
        { "{ certificates: { cert: /nowhere/x.pem, key: %k } }", "listeners[0].tls.certificates.cert",
          "there is no such file" },
        { "{ certificates: { cert: %c, key: %o } }", "listeners[0].tls.certificates.key", "does not belong" },
        { "{ certificates: { cert: %c } }", "listeners[0].tls.certificates.cert", "no private key" },
        { "{ certificates: { cert: %k, key: %k } }", "listeners[0].tls.certificates.cert", "no certificate" },
        { "{ ciphers: NONE, certificates: { cert: %c, key: %k } }", "listeners[0].tls.ciphers", "`NONE`" },
        { "{ curves: NONE, certificates: { cert: %c, key: %k } }", "listeners[0].tls.curves", "`NONE`" },
        { "{ min_version: 1.1, certificates: { cert: %c, key: %k } }", "listeners[0].tls.min_version", "1.2" },
        { "{ min_version: 1.3, max_version: 1.2, certificates: { cert: %c, key: %k } }", "listeners[0].tls.min_version",
          "no version is left" },
        { "{ alpn: h3, certificates: { cert: %c, key: %k } }", "listeners[0].tls.alpn", "h3" },
        { "{ client_certificates: { mode: optional }, certificates: { cert: %c, key: %k } }",
          "listeners[0].tls.client_certificates", "`ca`" },
        { "{ client_certificates: { ca: %a, names: x }, certificates: { cert: %c, key: %k } }",
          "listeners[0].tls.client_certificates.names", "`x`" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct configured c;
        struct snapshot *s = build(&c, with_listener(cases[i].tls), NULL);
        const struct conf_diagnostic *d = conf_diagnostics(c.conf);
        if (conf_error_count(c.conf) != 1 || strcmp(d->path, cases[i].path) != 0 ||
            !strstr(d->message, cases[i].told)) {
            conf_print_diagnostics(c.conf, stderr, true);
            fail_msg("%s: expected %s: %s", cases[i].tls, cases[i].path, cases[i].told);
        }
        if (s)
            snapshot_drop(s);
        configured_done(&c);
    }
}

static void an_expired_certificate_is_a_warning(void **state)
{
    struct configured c;
    struct snapshot *s = build(&c, with_listener("{ certificates: { cert: %e, key: %E } }"), NULL);
    assert_non_null(s);
    assert_true(configured_told(&c, "expired"));
    assert_int_equal(conf_error_count(c.conf), 0);
    snapshot_drop(s);
    configured_done(&c);
}

static void files_that_give_the_same_are_the_same_material(void **state)
{
    static const char plain[] = "{ certificates: { cert: %c, key: %k } }";
    struct configured c, d, e;
    struct snapshot *first = build(&c, with_listener(plain), NULL);
    first->secured_listeners[0].published = true;
    struct snapshot *second = build(&d, with_listener(plain), first);
    assert_ptr_equal(second->secured_listeners[0].material, first->secured_listeners[0].material);
    assert_true(second->secured_listeners[0].published);
    struct snapshot *other =
        build(&e, with_listener("{ min_version: 1.3, certificates: { cert: %c, key: %k } }"), first);
    assert_ptr_not_equal(other->secured_listeners[0].material, first->secured_listeners[0].material);
    assert_false(other->secured_listeners[0].published);
    snapshot_drop(first);
    snapshot_drop(second);
    snapshot_drop(other);
    configured_done(&c);
    configured_done(&d);
    configured_done(&e);
}

static void files_that_have_gone_leave_what_is_in_force_unless_the_settings_change(void **state)
{
    static const char gone[] = "{ certificates: { cert: %c, key: %k } }";
    struct configured c, d, e;
    char hidden[512];
    struct snapshot *first = build(&c, with_listener(gone), NULL);
    snprintf(hidden, sizeof(hidden), "%s.hidden", certificate_path("a", ".key"));
    assert_int_equal(rename(certificate_path("a", ".key"), hidden), 0);
    struct snapshot *second = build(&d, with_listener(gone), first);
    assert_non_null(second);
    assert_ptr_equal(second->secured_listeners[0].material, first->secured_listeners[0].material);
    struct snapshot *third = build(&e, with_listener("{ session: 1h, certificates: { cert: %c, key: %k } }"), first);
    assert_null(third);
    assert_true(configured_told(&e, "there is no such file"));
    assert_int_equal(rename(hidden, certificate_path("a", ".key")), 0);
    snapshot_drop(first);
    snapshot_drop(second);
    configured_done(&c);
    configured_done(&d);
    configured_done(&e);
}

#define UPSTREAM(targets, tls)                                                                                         \
    "listeners: [ '127.0.0.1:0' ]\nupstreams:\n  up: { targets: [ " targets " ], tls: " tls                            \
    " }\nroutes: [ { proxy: up } ]\n"

static void an_upstream_has_a_material_of_its_own(void **state)
{
    struct configured c, d, e;
    struct snapshot *s = build(&c, UPSTREAM("'10.0.0.1:1'", "{ verify: off }"), NULL);
    assert_non_null(s);
    struct upstream *upstream = s->upstreams[0].object;
    assert_ptr_equal(upstream_material(upstream), s->secured_upstreams[0].material);
    assert_int_equal(tls_material_role(upstream_material(upstream)), TLS_CLIENT);
    s->secured_upstreams[0].published = true;
    struct snapshot *same = build(&d, UPSTREAM("'10.0.0.1:1'", "{ verify: off }"), s);
    assert_ptr_equal(same->upstreams[0].object, upstream);
    assert_true(same->secured_upstreams[0].published);
    struct snapshot *changed = build(&e, UPSTREAM("'10.0.0.2:1'", "{ verify: off }"), s);
    assert_ptr_not_equal(changed->upstreams[0].object, upstream);
    assert_ptr_equal(changed->secured_upstreams[0].material, s->secured_upstreams[0].material);
    assert_false(changed->secured_upstreams[0].published); /* no worker has it for this object */
    snapshot_drop(s);
    snapshot_drop(same);
    snapshot_drop(changed);
    configured_done(&c);
    configured_done(&d);
    configured_done(&e);
}

static void what_upstreams_cannot_mean_is_refused(void **state)
{
    static const struct {
        const char *yaml, *told;
    } cases[] = {
        { UPSTREAM("'10.0.0.1:1'", "{ key: a.key }"), "a key without its certificate" },
        { UPSTREAM("'10.0.0.1:1'", "{ server_name: 'a b' }"), "neither a host name nor an IP address" },
        { UPSTREAM("'unix:/run/a.sock'", "on"), "add `server_name`" },
        { UPSTREAM("'10.0.0.1:1'", "{ ca: /nowhere/ca.pem }"), "there is no such file" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct configured c;
        struct snapshot *s = build(&c, cases[i].yaml, NULL);
        if (conf_error_count(c.conf) == 0 || !configured_told(&c, cases[i].told)) {
            conf_print_diagnostics(c.conf, stderr, true);
            fail_msg("%s: expected %s", cases[i].yaml, cases[i].told);
        }
        if (s)
            snapshot_drop(s);
        configured_done(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_and_its_key_are_enough),
        cmocka_unit_test(what_is_wrong_is_told_in_its_place),
        cmocka_unit_test(an_expired_certificate_is_a_warning),
        cmocka_unit_test(files_that_give_the_same_are_the_same_material),
        cmocka_unit_test(files_that_have_gone_leave_what_is_in_force_unless_the_settings_change),
        cmocka_unit_test(an_upstream_has_a_material_of_its_own),
        cmocka_unit_test(what_upstreams_cannot_mean_is_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
