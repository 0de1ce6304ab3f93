/*
 * Fields and checks of circuit breakers.
 */
#include "balance/breaker_conf.h"

#include "balance/status_range.h"

#include "base/assert.h"

enum { STATUS_MIN = 100, RANGES_MAX = 32, PROBES_MAX = 100 };
enum { WINDOW_MS_MIN = 1000, OPEN_MS_MIN = 100, HOUR_MS = 3600000 };

static int parse_statuses(struct conf *conf, const struct conf_node *node, void *ret_value);
static void check_latency(struct conf *conf, const struct conf_node *node, void *value);
static void check_breaker(struct conf *conf, const struct conf_node *node, void *value);

static const struct conf_field latency_fields[] = {
    { .name = "above",
      .type = { .kind = CONF_DURATION, .min = 1, .max = HOUR_MS },
      .offset = CONF_AT(breaker_latency, above_ms),
      .flags = CONF_REQUIRED,
      .doc = "An answer whose head takes longer than this is slow; so is a try that fails after it." },
    { .name = "ratio",
      .type = { .kind = CONF_PERCENT },
      .offset = CONF_AT(breaker_latency, percent),
      .default_text = "50%",
      .doc = "The breaker opens when so many of the tries in the window were slow. `5%` stands for the 95th "
             "percentile." },
    CONF_END,
};

static const struct conf_struct latency_schema = {
    .name = "circuit_breaker_latency",
    .size = sizeof(struct breaker_latency),
    .fields = latency_fields,
    .shorthand = "above",
    .validate = check_latency,
    .doc = "Opening a circuit breaker for slow answers.",
};

static const struct conf_type statuses_type = {
    .kind = CONF_CUSTOM,
    .parse = parse_statuses,
    .size = sizeof(struct status_range),
    .pattern = "STATUS or FROM-TO",
};

static const struct conf_field breaker_fields[] = {
    { .name = "enabled",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(breaker_conf, on),
      .default_text = "true",
      .doc = "`circuit_breaker: on` is one with all defaults." },
    { .name = "window",
      .type = { .kind = CONF_DURATION, .min = WINDOW_MS_MIN, .max = HOUR_MS },
      .offset = CONF_AT(breaker_conf, window_ms),
      .default_text = "10s",
      .doc = "How far back tries are counted, in ten steps." },
    { .name = "failure_ratio",
      .type = { .kind = CONF_PERCENT },
      .offset = CONF_AT(breaker_conf, failure_percent),
      .default_text = "50%",
      .doc = "It opens when so many of the tries in the window failed. `0` goes without." },
    { .name = "min_requests",
      .type = { .kind = CONF_INT, .min = 1, .max = 1000000 },
      .offset = CONF_AT(breaker_conf, min_requests),
      .default_text = "20",
      .doc = "Fewer tries in the window say nothing about a share." },
    { .name = "consecutive_failures",
      .type = { .kind = CONF_INT, .max = 1000000 },
      .offset = CONF_AT(breaker_conf, consecutive_failures),
      .default_text = "0",
      .doc = "It opens after so many failures in a row, whatever their share. `0` goes without." },
    { .name = "latency",
      .type = { .kind = CONF_STRUCT, .structure = &latency_schema },
      .offset = CONF_AT(breaker_conf, latency),
      .doc = "It opens when answers are slow. Left out, it goes without." },
    { .name = "failure_statuses",
      .type = { .kind = CONF_LIST, .item = &statuses_type, .max = RANGES_MAX, .flags = CONF_LONE },
      .offset = CONF_AT(breaker_conf, statuses),
      .doc = "Answers that are failures: `503`, `[ 429, 500-599 ]`. Left out, `500-599`. Of a call of gRPC it is the "
             "HTTP status that says the same. A try without an answer is always one." },
    { .name = "open_for",
      .type = { .kind = CONF_DURATION, .min = OPEN_MS_MIN, .max = 24 * HOUR_MS },
      .offset = CONF_AT(breaker_conf, open_ms),
      .default_text = "10s",
      .doc = "How long nothing is sent before probes are let through." },
    { .name = "open_max",
      .type = { .kind = CONF_DURATION, .max = 24 * HOUR_MS },
      .offset = CONF_AT(breaker_conf, open_max_ms),
      .default_text = "0",
      .doc = "Each time it opens again without having closed in between it stays open twice as long, up to this. `0` "
             "is always `open_for`." },
    { .name = "probes",
      .type = { .kind = CONF_INT, .min = 1, .max = PROBES_MAX },
      .offset = CONF_AT(breaker_conf, probes),
      .default_text = "3",
      .doc = "How many requests are let through at once to see whether it works again. All have to succeed; the first "
             "that fails opens it again." },
    { .name = "ramp",
      .type = { .kind = CONF_DURATION, .max = HOUR_MS },
      .offset = CONF_AT(breaker_conf, ramp_ms),
      .default_text = "10s",
      .doc = "After the probes the share that is let through rises from a tenth to all within this time. `0` lets all "
             "through at once." },
    CONF_END,
};

const struct conf_struct breaker_schema = {
    .name = "circuit_breaker",
    .size = sizeof(struct breaker_conf),
    .fields = breaker_fields,
    .shorthand = "enabled",
    .validate = check_breaker,
    .doc = "When to stop trying for a while: before an upstream as a whole (`circuit_breaker`), or before each target "
           "(`target_circuit_breaker`).",
    .example = "upstreams:\n"
               "  users:\n"
               "    targets: [ 10.0.0.1:9001, 10.0.0.2:9001 ]\n"
               "    circuit_breaker: { failure_ratio: 50%, min_requests: 20, latency: { above: 2s, ratio: 50% } }\n"
               "    target_circuit_breaker: { consecutive_failures: 5, open_for: 5s, open_max: 1m }\n",
};

static int parse_statuses(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    return status_range_parse(conf, node, STATUS_MIN, "500-599", ret_value);
}

static void check_latency(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct breaker_latency *latency = value;
    if (latency->percent == 0)
        conf_error(conf, conf_get(node, "ratio"),
                   "with `0%%` the first answer would open it; leave `latency` out to go "
                   "without");
}

static void check_breaker(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct breaker_conf *breaker = value;
    if (!breaker->on)
        return;
    if (breaker->failure_percent == 0 && breaker->consecutive_failures == 0 && breaker->latency.above_ms == 0)
        conf_error(conf, node,
                   "nothing would ever open it: give `failure_ratio`, `consecutive_failures` or `latency`, "
                   "or write `enabled: false`");
    if (breaker->open_max_ms != 0 && breaker->open_max_ms < breaker->open_ms)
        conf_error(conf, conf_get(node, "open_max"), "it is below `open_for`, where the growth begins");
}

bool breaker_conf_fails(const struct breaker_conf *conf, unsigned status)
{
    return conf->statuses.count == 0 ? status >= 500 : status_ranges_have(&conf->statuses, status);
}
