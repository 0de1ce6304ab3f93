/*
 * The configuration of health checks: defaults, what type is meant, and what contradicts itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "upstream/health_conf.h"
#include "upstream/upstream.h"

static struct conf *conf;
static struct upstream_conf loaded;

/* Of an upstream with that check and, behind it, further lines. */
static unsigned load(const char *check, const char *more)
{
    char text[512];
    if (conf)
        conf_free(conf);
    conf = conf_new(NULL);
    assert_non_null(conf);
    memset(&loaded, 0, sizeof loaded);
    const char *targets = strstr(more, "targets:") ? "" : "targets: [ '10.0.0.1:9001' ]\n";
    (void)snprintf(text, sizeof text, "%shealth_check: %s\n%s", targets, check, more);
    const struct conf_node *node = conf_parse_text(conf, "test.yaml", slice_from(text));
    assert_non_null(node);
    int r = conf_load(conf, node, &upstream_schema, &loaded);
    assert_int_equal(r == 0, conf_error_count(conf) == 0);
    return conf_error_count(conf);
}

static const struct health_check_conf *loads(const char *check, const char *more)
{
    if (load(check, more) > 0) {
        conf_print_diagnostics(conf, stderr, true);
        fail_msg("%s", check);
    }
    assert_non_null(loaded.health_check);
    return loaded.health_check;
}

static void refuses(const char *check, const char *more, const char *path, const char *words)
{
    unsigned errors = load(check, more);
    if (errors != 1 || strcmp(conf_diagnostics(conf)->path, path) != 0 ||
        !strstr(conf_diagnostics(conf)->message, words)) {
        conf_print_diagnostics(conf, stderr, true);
        fail_msg("%s: %u errors, expected one at %s with `%s`", check, errors, path, words);
    }
}

static void without_a_check_there_is_none(void **state)
{
    assert_int_equal(load("~", ""), 0);
    assert_null(loaded.health_check);
    assert_null(loaded.readiness_check);
}

static void the_type_follows_from_what_is_written(void **state)
{
    assert_int_equal(loads("{}", "")->type, PROBE_TCP);
    assert_int_equal(loads("{ interval: 5s }", "")->type, PROBE_TCP);
    assert_int_equal(loads("{ port: 9 }", "")->type, PROBE_TCP);
    assert_int_equal(loads("{ path: /health }", "")->type, PROBE_HTTP);
    assert_int_equal(loads("{ expect_status: 200 }", "")->type, PROBE_HTTP);
    assert_string_equal(loaded.health_check->path, "/");
    assert_int_equal(loads("{ service: users.Users }", "protocol: h2")->type, PROBE_GRPC);
    assert_int_equal(loads("{ type: grpc }", "protocol: h2")->type, PROBE_GRPC);
    assert_int_equal(loads("{ type: grpc, protocol: h2, port: 9 }", "")->type, PROBE_GRPC);
}

static void a_path_alone_will_do(void **state)
{
    const struct health_check_conf *check = loads("/health?deep", "readiness_check: /ready");
    assert_int_equal(check->type, PROBE_HTTP);
    assert_string_equal(check->path, "/health?deep");
    assert_int_equal(check->pace.interval_ms, 2000);
    assert_int_equal(check->pace.timeout_ms, 1000);
    assert_int_equal(check->pace.fast_interval_ms, 500);
    assert_int_equal(check->pace.unhealthy_after, 3);
    assert_int_equal(check->pace.healthy_after, 2);
    assert_true(check->pace.jitter_percent == 10);
    assert_true(check->tls && check->proxy_protocol);
    assert_string_equal(loaded.readiness_check->path, "/ready");
}

static void times_fit_into_the_interval_by_themselves(void **state)
{
    assert_int_equal(loads("{ interval: 300ms }", "")->pace.timeout_ms, 300);
    assert_int_equal(loaded.health_check->pace.fast_interval_ms, 300);
    assert_int_equal(loads("{ interval: 20s }", "")->pace.fast_interval_ms, 5000);
    refuses("{ interval: 1s, timeout: 2s }", "", "health_check.timeout", "`interval` (1000 ms)");
    refuses("{ interval: 1s, fast_interval: 2s }", "", "health_check.fast_interval", "longer than `interval`");
}

static void statuses_are_numbers_and_ranges(void **state)
{
    const struct health_check_conf *check = loads("{ expect_status: [ 200-204, 301, '400 - 401' ] }", "");
    assert_true(health_check_expects(check, 204) && health_check_expects(check, 301));
    assert_true(health_check_expects(check, 401));
    assert_false(health_check_expects(check, 205) || health_check_expects(check, 402));
    check = loads("/", "");
    assert_true(health_check_expects(check, 200) && health_check_expects(check, 399));
    assert_false(health_check_expects(check, 400));
    refuses("{ expect_status: [ 100 ] }", "", "health_check.expect_status[0]", "200 to 599");
    refuses("{ expect_status: 2xx }", "", "health_check.expect_status", "`200-299`");
    refuses("{ expect_status: 300-200 }", "", "health_check.expect_status", "is empty");
}

static void fields_of_another_type_are_refused(void **state)
{
    refuses("{ type: tcp, path: /x }", "", "health_check.path", "a check of type `tcp` has no `path`");
    refuses("{ type: tcp, host: x }", "", "health_check.host", "has no `host`");
    refuses("{ type: http, service: x }", "", "health_check.service", "a check of type `http` has no `service`");
    refuses("{ service: x, method: GET }", "protocol: h2", "health_check.method", "of type `grpc` has no `method`");
}

static void a_request_has_to_be_one_that_can_be_sent(void **state)
{
    refuses("health", "", "health_check", "`health` is no path");
    refuses("{ path: '/a b' }", "", "health_check.path", "no spaces");
    refuses("{ method: 'GE T' }", "", "health_check.method", "no method");
    refuses("{ method: CONNECT }", "", "health_check.method", "no method");
    refuses("{ method: HEAD, expect_body: x }", "", "health_check.expect_body", "has no body");
    refuses("{ host: 'a b' }", "", "health_check.host", "`a b` is no host");
    refuses("{ headers: { Host: x } }", "", "health_check.headers.Host", "write `host`");
    refuses("{ headers: { Connection: x } }", "", "health_check.headers.Connection", "belongs to the connection");
    refuses("{ headers: { 'a b': x } }", "", "health_check.headers[\"a b\"]", "is no field name");
    refuses("{ headers: { X-A: \"a\\nb\" } }", "", "health_check.headers.X-A", "no line breaks");
    refuses("{ address: localhost }", "", "health_check.address", "IP address without port");
    assert_int_equal(loads("{ path: /, headers: { X-A: b } }", "")->headers.count, 1);
}

static void a_check_fits_its_upstream(void **state)
{
    refuses("{ type: grpc }", "", "health_check", "gRPC needs HTTP/2");
    refuses("{ path: /, protocol: http1 }", "protocol: h2\ntls: on", "health_check.protocol", "add `tls: off`");
    (void)loads("{ path: /, protocol: http1, tls: off, port: 8081 }", "protocol: h2\ntls: on");
    refuses("{ port: 80 }", "targets: 'unix:/x'", "health_check.port", "a unix socket has no port");
    refuses("{ address: 10.0.0.1 }", "targets: 'unix:/x'", "health_check.address", "add the `port`");
    (void)loads("{ address: 10.0.0.1, port: 80 }", "targets: 'unix:/x'");
}

static void an_agent_is_a_port_and_some_times(void **state)
{
    (void)loads("{}", "agent_check: 9777");
    assert_int_equal(loaded.agent_check->type, PROBE_AGENT);
    assert_int_equal(loaded.agent_check->port, 9777);
    assert_int_equal(loaded.agent_check->pace.interval_ms, 2000);
    assert_false(loaded.agent_check->tls || loaded.agent_check->proxy_protocol);
    refuses("{}", "agent_check: { interval: 1s }", "agent_check", "`port` is missing");
    refuses("{}", "agent_check: { port: 1, interval: 1s, timeout: 2s }", "agent_check.timeout", "may not take longer");
    refuses("{}", "agent_check: 1\ntargets: 'unix:/x'", "agent_check", "a unix socket has no port");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_check_there_is_none),
        cmocka_unit_test(the_type_follows_from_what_is_written),
        cmocka_unit_test(a_path_alone_will_do),
        cmocka_unit_test(times_fit_into_the_interval_by_themselves),
        cmocka_unit_test(statuses_are_numbers_and_ranges),
        cmocka_unit_test(fields_of_another_type_are_refused),
        cmocka_unit_test(a_request_has_to_be_one_that_can_be_sent),
        cmocka_unit_test(a_check_fits_its_upstream),
        cmocka_unit_test(an_agent_is_a_port_and_some_times),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    conf_free(conf);
    return failed;
}
