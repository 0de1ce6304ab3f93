/*
 * The configuration of upstreams: defaults, forms of targets, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balance/algorithms/algorithms.h"
#include "upstream/hedge.h"
#include "upstream/upstream.h"

static struct conf *conf;
static struct upstream_conf loaded;

/* The number of errors. */
static unsigned load(const char *text)
{
    if (conf)
        conf_free(conf);
    conf = conf_new(NULL);
    assert_non_null(conf);
    memset(&loaded, 0, sizeof loaded);
    const struct conf_node *node = conf_parse_text(conf, "test.yaml", slice_from(text));
    assert_non_null(node);
    int r = conf_load(conf, node, &upstream_schema, &loaded);
    assert_int_equal(r == 0, conf_error_count(conf) == 0);
    return conf_error_count(conf);
}

static void loads(const char *text)
{
    if (load(text) == 0)
        return;
    conf_print_diagnostics(conf, stderr, true);
    fail_msg("%s", text);
}

/* One error, at that path, whose message has those words. */
static void refuses(const char *text, const char *path, const char *words)
{
    unsigned errors = load(text);
    if (errors != 1 || strcmp(conf_diagnostics(conf)->path, path) != 0 ||
        !strstr(conf_diagnostics(conf)->message, words)) {
        conf_print_diagnostics(conf, stderr, true);
        fail_msg("%s: %u errors, expected one at %s with `%s`", text, errors, path, words);
    }
}

static const struct target_conf *target_at(size_t index)
{
    assert_true(index < loaded.targets.count);
    return (const struct target_conf *)loaded.targets.items + index;
}

static void targets_alone_are_enough(void **state)
{
    loads("targets: [ '10.0.0.1:9001' ]");
    assert_int_equal(loaded.balance.algorithm, ALGORITHM_round_robin);
    assert_int_equal(loaded.timeouts.connect_timeout_ms, 5000);
    assert_int_equal(loaded.timeouts.response_timeout_ms, 60000);
    assert_int_equal(loaded.timeouts.body_idle_timeout_ms, 60000);
    assert_int_equal(loaded.timeouts.send_idle_timeout_ms, 60000);
    assert_int_equal(loaded.timeouts.idle_timeout_ms, 60000);
    assert_int_equal(loaded.keep_alive_connections, 2048);
    assert_int_equal(loaded.max_requests_per_connection, 0);
    assert_int_equal(loaded.max_connections_per_target, 0);
    assert_int_equal(loaded.max_requests_per_target, 0);
    assert_int_equal(loaded.retry.attempts, 3);
    assert_true(loaded.retry.budget_percent == 20);
    assert_int_equal(loaded.retry.backoff_ms, 25);
    assert_int_equal(loaded.retry.backoff_max_ms, 250);
}

static void every_field_is_read(void **state)
{
    loads("algorithm: least_connections\n"
          "targets: [ { address: a.internal:80, weight: 7 } ]\n"
          "timeouts: { connect: 1s, response: off, body_idle: 2s, send_idle: 3s, idle: 4s }\n"
          "keep_alive_connections: 5\n"
          "max_requests_per_connection: 6\n"
          "max_connections_per_target: 7\n"
          "max_requests_per_target: 8\n"
          "retry: { attempts: 1, budget: 9.5%, backoff: 10ms, backoff_max: 11ms }\n");
    assert_int_equal(loaded.balance.algorithm, ALGORITHM_least_connections);
    assert_int_equal(target_at(0)->weight, 7);
    assert_int_equal(loaded.timeouts.connect_timeout_ms, 1000);
    assert_int_equal(loaded.timeouts.response_timeout_ms, 0);
    assert_int_equal(loaded.timeouts.body_idle_timeout_ms, 2000);
    assert_int_equal(loaded.timeouts.send_idle_timeout_ms, 3000);
    assert_int_equal(loaded.timeouts.idle_timeout_ms, 4000);
    assert_int_equal(loaded.keep_alive_connections, 5);
    assert_int_equal(loaded.max_requests_per_connection, 6);
    assert_int_equal(loaded.max_connections_per_target, 7);
    assert_int_equal(loaded.max_requests_per_target, 8);
    assert_int_equal(loaded.retry.attempts, 1);
    assert_true(loaded.retry.budget_percent == 9.5);
    assert_int_equal(loaded.retry.backoff_ms, 10);
    assert_int_equal(loaded.retry.backoff_max_ms, 11);
}

static void a_lone_target_needs_no_list(void **state)
{
    loads("targets: 10.0.0.1:9001");
    assert_int_equal(loaded.targets.count, 1);
}

static void targets_are_addresses_names_or_unix_paths(void **state)
{
    loads("targets: [ '10.0.0.1:1', '[2001:db8::1]:2', 'users_v2.internal:3', 'localhost.:4', 'unix:/run/x.sock', "
          "{ address: '10.0.0.2:5', weight: 0 } ]");
    assert_int_equal(target_at(0)->address.family, AF_INET);
    assert_int_equal(target_at(0)->port, 1);
    assert_int_equal(target_at(0)->weight, 1);
    assert_int_equal(target_at(0)->host.len, 0);
    assert_int_equal(target_at(1)->address.family, AF_INET6);
    assert_int_equal(target_at(2)->address.family, AF_UNSPEC);
    assert_string_equal(target_at(2)->host.at, "users_v2.internal");
    assert_int_equal(target_at(2)->port, 3);
    assert_int_equal(target_at(2)->weight, 1);
    assert_int_equal(target_at(3)->host.len, 10);
    assert_int_equal(target_at(4)->address.family, AF_UNIX);
    assert_string_equal(target_at(4)->address.path, "/run/x.sock");
    assert_int_equal(target_at(5)->weight, 0);
}

static void what_is_no_target_is_refused_with_a_reason(void **state)
{
    refuses("targets: [ 'users.internal' ]", "targets[0]", "port is missing");
    refuses("targets: [ 'http://users.internal:80' ]", "targets[0]", "without a scheme");
    refuses("targets: [ ':80' ]", "targets[0]", "host is missing");
    refuses("targets: [ 'a:80', 'a..b:80' ]", "targets[1]", "neither an address nor a host name");
    refuses("targets: [ '-a.b:80' ]", "targets[0]", "neither an address nor a host name");
    refuses("targets: [ 'a-.b:80' ]", "targets[0]", "neither an address nor a host name");
    refuses("targets: [ 'a b:80' ]", "targets[0]", "neither an address nor a host name");
    refuses("targets: [ '10.0.0.300:80' ]", "targets[0]", "not an IPv4 address");
    refuses("targets: [ '10.1:80' ]", "targets[0]", "not an IPv4 address");
    refuses("targets: [ '10.0.0.1:70000' ]", "targets[0]", "port");
    refuses("targets: [ '10.0.0.1:0' ]", "targets[0]", "port");
    refuses("targets: [ '[::1:80' ]", "targets[0]", "[::1:80");
    refuses("targets: [ { weight: 1 } ]", "targets[0]", "address");
    refuses("targets: [ { address: 'a:80', weight: 1001 } ]", "targets[0].weight", "1000");
    refuses("targets: [ { address: 'a:80', weight: -1 } ]", "targets[0].weight", "0");
}

static void at_least_one_target_is_required(void **state)
{
    refuses("targets: []", "targets", "at least one");
    assert_int_equal(load("algorithm: round_robin"), 1);
}

static void the_same_target_twice_is_refused_where_it_comes_again(void **state)
{
    refuses("targets: [ '10.0.0.1:80', 'a:80', '10.0.0.1:80' ]", "targets[2]", "`targets[0]`");
    refuses("targets: [ 'b:81', 'Users:80', { address: 'users:80', weight: 2 } ]", "targets[2]", "`targets[1]`");
    refuses("targets: [ 'unix:/a', 'unix:/b', 'unix:/a' ]", "targets[2]", "`targets[0]`");
    refuses("targets: [ '[::1]:80', '[0:0::1]:80' ]", "targets[1]", "`targets[0]`");
    loads("targets: [ '10.0.0.1:80', '10.0.0.1:81', '10.0.0.2:80', 'a:80', 'a:81', 'b:80', '[::1]:80', '[::2]:80' ]");
}

static void weights_of_zero_alone_are_warned_of(void **state)
{
    loads("targets: [ { address: 'a:80', weight: 0 } ]");
    assert_non_null(conf_diagnostics(conf));
    assert_int_equal(conf_diagnostics(conf)->severity, CONF_WARNING);
    loads("targets: [ { address: 'a:80', weight: 0 }, 'b:80' ]");
    assert_null(conf_diagnostics(conf));
}

/* One warning, at that path, whose message has those words; words NULL: none. */
static void warns(const char *text, const char *path, const char *words)
{
    loads(text);
    const struct conf_diagnostic *d = conf_diagnostics(conf);
    if (!words && !d)
        return;
    if (!words || !d || d->severity != CONF_WARNING || d->next || strcmp(d->path, path) != 0 ||
        !strstr(d->message, words)) {
        conf_print_diagnostics(conf, stderr, true);
        fail_msg("%s: expected a warning at %s with `%s`", text, path, words ? words : "nothing");
    }
}

static void settings_that_can_have_no_effect_are_warned_of(void **state)
{
    warns("{ targets: ['10.0.0.1:1'], hedge: 50ms }", "hedge", "one target");
    warns("{ targets: ['a:1'], hedge: 50ms, outlier_detection: on }", "", NULL); /* a name may have many */
    warns("{ targets: ['10.0.0.1:1'], outlier_detection: on }", "outlier_detection", "one target");
    warns("{ targets: ['a:1'], hedge: 60s }", "hedge", "timeouts.response");
    warns("{ targets: ['a:1'], hedge: 2s, retry: { per_try_timeout: 1s } }", "hedge", "per_try_timeout");
    warns("{ targets: ['a:1'], hedge: p95, retry: { per_try_timeout: 1s } }", "", NULL);
    warns("{ targets: ['a:1'], hedge: 90s, timeouts: { response: off } }", "", NULL);
    warns("{ targets: ['a:1'], circuit_breaker: { latency: 1m } }", "circuit_breaker", "timeouts.response");
    warns("{ targets: ['a:1'], target_circuit_breaker: { latency: 59s } }", "", NULL);
    warns("{ targets: ['a:1'], max_requests: 10, max_requests_per_target: 11 }", "max_requests_per_target", "(10)");
    warns("{ targets: ['a:1'], max_connections: 10, max_connections_per_target: 10 }", "", NULL);
    warns("{ targets: ['a:1', { address: 'b:1', max_requests: 9 }], max_requests: 8 }", "targets", "together");
}

static void unknown_algorithms_get_a_suggestion(void **state)
{
    refuses("{ algorithm: round_robbin, targets: [ 'a:80' ] }", "algorithm", "round_robin");
}

static void retries_that_make_no_sense_are_refused(void **state)
{
    refuses("{ targets: [ 'a:80' ], retry: { backoff: 1s, backoff_max: 10ms } }", "retry.backoff_max", "shorter");
    refuses("{ targets: [ 'a:80' ], retry: { backoff: 1s } }", "retry", "shorter");
    refuses("{ targets: [ 'a:80' ], retry: { attempts: 0 } }", "retry.attempts", "1");
    refuses("{ targets: [ 'a:80' ], timeouts: { connect: 0 } }", "timeouts.connect", "");
}

static int let_go(void **state)
{
    if (conf)
        conf_free(conf);
    conf = NULL;
    return 0;
}

static void statuses_to_try_again_are_numbers_and_words(void **state)
{
    loads("{ targets: ['10.0.0.1:1'], retry: { on: [502, 599, unavailable, internal, non_idempotent] } }");
    const struct retry_set *set = &loaded.retry.set;
    assert_true(set->any && set->statuses && set->non_idempotent);
    assert_true(retry_set_has_status(set, 502) && retry_set_has_status(set, 599));
    assert_false(retry_set_has_status(set, 503) || retry_set_has_status(set, 200) || retry_set_has_status(set, 999));
    assert_true(retry_set_has_call(set, GRPC_STATUS_UNAVAILABLE) && retry_set_has_call(set, GRPC_STATUS_INTERNAL));
    assert_false(retry_set_has_call(set, GRPC_STATUS_OK) || retry_set_has_call(set, GRPC_STATUS_ABSENT));
    assert_int_equal(loaded.retry.wait_max_ms, 1000);
    loads("{ targets: ['10.0.0.1:1'], retry: { on: aborted } }");
    assert_true(retry_set_has_call(&loaded.retry.set, GRPC_STATUS_ABORTED) && !loaded.retry.set.statuses);
    loads("targets: ['10.0.0.1:1']");
    assert_false(loaded.retry.set.any);
}

static void what_is_no_status_to_try_again_is_refused(void **state)
{
    static const char *const wrong[] = { "399", "600", "200", "ok", "UNAVAILABLE", "4xx", "''", "-1", "[ [502] ]" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char text[100];
        (void)snprintf(text, sizeof(text), "{ targets: ['10.0.0.1:1'], retry: { on: %s } }", wrong[i]);
        if (load(text) != 1)
            fail_msg("`%s` was taken", wrong[i]);
    }
    refuses("{ targets: ['10.0.0.1:1'], retry: { on: [502, never] } }", "retry.on[1]", "`unavailable`");
    refuses("{ targets: ['10.0.0.1:1'], retry: { on: [unavailable, non_idempotent] } }", "retry.on", "HTTP status");
}

static void words_stand_for_failures_and_statuses(void **state)
{
    loads("{ targets: ['10.0.0.1:1'], retry: { on: [connect_failure, refused_stream, reset, timeout] } }");
    const struct retry_set *set = &loaded.retry.set;
    assert_true(set->resets && set->timeouts && !set->any && !set->non_idempotent);
    loads("{ targets: ['10.0.0.1:1'], retry: { on: 5xx, per_try_timeout: 2s, budget_min: 0 } }");
    assert_true(retry_set_has_status(set, 500) && retry_set_has_status(set, 599) && !retry_set_has_status(set, 499));
    assert_true(loaded.retry.per_try_ms == 2000 && loaded.retry.budget_min == 0);
    loads("{ targets: ['10.0.0.1:1'], retry: { on: [gateway_error, reset, non_idempotent] } }");
    assert_true(retry_set_has_status(set, 502) && retry_set_has_status(set, 504) && !retry_set_has_status(set, 500));
    loads("{ targets: ['10.0.0.1:1'] }");
    assert_true(loaded.retry.per_try_ms == 0 && loaded.retry.budget_min == 3 && !loaded.hedge);
}

static void hedges_come_after_a_time_or_a_quantile(void **state)
{
    loads("{ targets: ['10.0.0.1:1'], hedge: p95 }");
    assert_true(loaded.hedge->after.percent == 95 && loaded.hedge->max == 1 && !loaded.hedge->non_idempotent);
    loads("{ targets: ['10.0.0.1:1'], hedge: { after: 50ms, max: 2, non_idempotent: true } }");
    assert_true(loaded.hedge->after.percent == 0 && loaded.hedge->after.ms == 50 && loaded.hedge->max == 2);
    refuses("{ targets: ['10.0.0.1:1'], hedge: { max: 1 } }", "hedge", "after");
    refuses("{ targets: ['10.0.0.1:1'], hedge: p30 }", "hedge", "p50");
    refuses("{ targets: ['10.0.0.1:1'], hedge: p95x }", "hedge", "p99");
    refuses("{ targets: ['10.0.0.1:1'], hedge: { after: soon } }", "hedge.after", "50ms");
    refuses("{ targets: ['10.0.0.1:1'], hedge: { after: 10ms, max: 3 } }", "hedge.max", "2");
}

static void what_is_written_down_of_timeouts_is_known(void **state)
{
    loads("{ targets: ['10.0.0.1:1'], timeouts: { response: 60s, connect: 1s } }");
    assert_true(loaded.timeouts.response_set && !loaded.timeouts.body_idle_set);
    loads("{ targets: ['10.0.0.1:1'], timeouts: { body_idle: 1s, response: } }");
    assert_true(!loaded.timeouts.response_set && loaded.timeouts.body_idle_set);
    loads("targets: ['10.0.0.1:1']");
    assert_true(!loaded.timeouts.response_set && !loaded.timeouts.body_idle_set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_alone_are_enough),
        cmocka_unit_test(every_field_is_read),
        cmocka_unit_test(a_lone_target_needs_no_list),
        cmocka_unit_test(targets_are_addresses_names_or_unix_paths),
        cmocka_unit_test(what_is_no_target_is_refused_with_a_reason),
        cmocka_unit_test(at_least_one_target_is_required),
        cmocka_unit_test(the_same_target_twice_is_refused_where_it_comes_again),
        cmocka_unit_test(weights_of_zero_alone_are_warned_of),
        cmocka_unit_test(settings_that_can_have_no_effect_are_warned_of),
        cmocka_unit_test(unknown_algorithms_get_a_suggestion),
        cmocka_unit_test(retries_that_make_no_sense_are_refused),
        cmocka_unit_test(statuses_to_try_again_are_numbers_and_words),
        cmocka_unit_test(what_is_no_status_to_try_again_is_refused),
        cmocka_unit_test(words_stand_for_failures_and_statuses),
        cmocka_unit_test(hedges_come_after_a_time_or_a_quantile),
        cmocka_unit_test(what_is_written_down_of_timeouts_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, let_go);
}
