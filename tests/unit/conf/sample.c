/* The tables of sample.h. */
#include "sample.h"

#include <arpa/inet.h>

static int parse_address(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    struct sample_address *address = ret_value;
    struct slice port = node->text;
    char ip[INET_ADDRSTRLEN];
    int64_t number;
    struct in_addr in;
    struct slice host = slice_cut(&port, ':');
    if (node->kind == NODE_SCALAR && host.len < sizeof(ip) && slice_to_u63(port, &number) && number > 0 &&
        number < 65536) {
        (void)snprintf(ip, sizeof(ip), "%.*s", SLICE_ARG(host));
        if (inet_pton(AF_INET, ip, &in) == 1) {
            *address = (struct sample_address){ ntohl(in.s_addr), (uint16_t)number };
            return 0;
        }
    }
    conf_error(conf, node, "expected an address such as `10.0.0.1:9001`");
    return -1;
}

/* ---- upstreams ---- */

static const struct conf_field target_fields[] = {
    { "address",
      { CONF_CUSTOM, .parse = parse_address, .size = sizeof(struct sample_address), .pattern = "IP:PORT" },
      CONF_AT(sample_target, address),
      CONF_REQUIRED,
      .doc = "Where it listens." },
    { "weight",
      { CONF_INT, .max = 100 },
      CONF_AT(sample_target, weight),
      .default_text = "1",
      .doc = "Its share; 0 drains." },
    CONF_END,
};
static const struct conf_struct target_schema = {
    "target", sizeof(struct sample_target), target_fields, "One server.", .shorthand = "address",
};
const struct conf_type sample_target_type = { CONF_STRUCT, .structure = &target_schema };

static void validate_check(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct sample_check *check = value;
    if (check->timeout_ms > check->interval_ms)
        conf_error(conf, conf_get(node, "timeout"),
                   "a check would overlap the next: `timeout` is longer than `interval`");
}
static const struct conf_field check_fields[] = {
    { "interval",
      { CONF_DURATION, .min = 100, .max = 3600000 },
      CONF_AT(sample_check, interval_ms),
      .default_text = "2s",
      .doc = "From one check to the next." },
    { "timeout",
      { CONF_DURATION, .min = 10 },
      CONF_AT(sample_check, timeout_ms),
      .default_text = "1s",
      .doc = "For an answer." },
    CONF_END,
};
static const struct conf_struct check_schema = {
    "health_check",
    sizeof(struct sample_check),
    check_fields,
    "Asks targets whether they are well.",
    .validate = validate_check,
};

static const struct conf_field upstream_fields[] = {
    { "targets",
      { CONF_LIST, .item = &sample_target_type, .max = 3 },
      CONF_AT(sample_upstream, targets),
      CONF_REQUIRED | CONF_NONEMPTY,
      .doc = "The servers that requests go to. At least one." },
    { "health_check",
      { CONF_STRUCT, .structure = &check_schema },
      CONF_AT(sample_upstream, check),
      CONF_POINTER,
      .doc = "None when left out." },
    { "probe", { CONF_STRUCT, .structure = &check_schema }, CONF_AT(sample_upstream, probe), .doc = "Always on." },
    CONF_END,
};
const struct conf_struct sample_upstream_schema = {
    "upstream",
    sizeof(struct sample_upstream),
    upstream_fields,
    "A service: servers that answer the same.",
    .example = "targets: [10.0.0.1:9001, { address: 10.0.0.2:9001, weight: 3 }]\nhealth_check: { interval: 2s }\n",
};
const struct conf_type sample_upstream_type = { CONF_STRUCT, .structure = &sample_upstream_schema };

/* ---- policies and handlers ---- */

static const struct conf_field limit_fields[] = {
    { "rate", { CONF_INT, .min = 1 }, CONF_AT(sample_limit, rate), CONF_REQUIRED, .doc = "Requests a second." },
    { "share",
      { CONF_PERCENT },
      CONF_AT(sample_limit, share_percent),
      .default_text = "100%",
      .doc = "Of the requests | all." },
    CONF_END,
};
static const struct conf_struct limit_schema = { "limit", sizeof(struct sample_limit), limit_fields,
                                                 "Refuses what is too much." };
static const struct conf_variant policies[] = { { "limit", &limit_schema }, { "trace", NULL }, CONF_END };
static const struct conf_registry policy_registry = { "policy", policies };
const struct conf_type sample_policy_type = { CONF_UNION, .registry = &policy_registry };

static const struct conf_field proxy_fields[] = {
    { "upstream",
      { CONF_REF, .names = "upstream" },
      CONF_AT(sample_proxy, upstream),
      CONF_REQUIRED,
      .doc = "Who answers." },
    CONF_END,
};
static const struct conf_struct proxy_schema = {
    "proxy", sizeof(struct sample_proxy), proxy_fields, "Passes the request on.", .shorthand = "upstream",
};
static const struct conf_field respond_fields[] = {
    { "status",
      { CONF_INT, .min = 200, .max = 599 },
      CONF_AT(sample_respond, status),
      .default_text = "200",
      .doc = "The status." },
    { "body", { CONF_STRING }, CONF_AT(sample_respond, body), .doc = "The text." },
    CONF_END,
};
static const struct conf_struct respond_schema = { "respond", sizeof(struct sample_respond), respond_fields,
                                                   "Answers by itself." };
static const struct conf_variant handlers[] = { { "proxy", &proxy_schema }, { "respond", &respond_schema }, CONF_END };
static const struct conf_registry handler_registry = { "handler", handlers };

/* ---- routes ---- */

static const struct conf_field route_fields[] = {
    { "path",
      { CONF_STRING },
      CONF_AT(sample_route, path),
      CONF_REQUIRED | CONF_NONEMPTY,
      .doc = "The path it answers." },
    { "policies", { CONF_LIST, .item = &sample_policy_type }, CONF_AT(sample_route, policies), .doc = "In order." },
    { "handler",
      { CONF_UNION, .registry = &handler_registry },
      CONF_AT(sample_route, handler),
      CONF_REQUIRED | CONF_INLINE,
      .doc = "What answers." },
    { "children",
      { CONF_LIST, .item = &sample_route_type },
      CONF_AT(sample_route, children),
      .doc = "Routes below it." },
    CONF_END,
};
static const struct conf_struct route_schema = {
    "route", sizeof(struct sample_route), route_fields, "From a path to a handler.", .depth_max = 3,
};
const struct conf_type sample_route_type = { CONF_STRUCT, .structure = &route_schema };

static const struct conf_struct filter_schema;
static const struct conf_field filter_fields[] = {
    { "word", { CONF_STRING }, CONF_AT(sample_filter, word), .doc = "To look for." },
    { "not",
      { CONF_STRUCT, .structure = &filter_schema },
      CONF_AT(sample_filter, not_filter),
      CONF_POINTER,
      .doc = "The opposite." },
    CONF_END,
};
static const struct conf_struct filter_schema = { "filter", sizeof(struct sample_filter), filter_fields, "Nested.",
                                                  .depth_max = 3 };

/* ---- the root ---- */

static const struct conf_word modes[] = {
    { "fast", MODE_FAST, "Less checking." },
    { "safe", MODE_SAFE, "More checking." },
    { "off", MODE_OFF, "None at all." },
    { NULL },
};
const struct conf_type sample_tag_type = { CONF_STRING }, sample_label_type = { CONF_STRING };

static const struct conf_field fields[] = {
    { "enabled", { CONF_BOOL }, CONF_AT(sample, enabled), .default_text = "true", .doc = "Whether it runs." },
    { "workers", { CONF_INT, .min = 1, .max = 64 }, CONF_AT(sample, workers), .default_text = "2", .doc = "Threads." },
    { "factor",
      { CONF_NUMBER, .min = -10, .max = 10 },
      CONF_AT(sample, factor),
      .default_text = "1.5",
      .doc = "A number." },
    { "size", { CONF_BYTES, .max = 1 << 30 }, CONF_AT(sample, size_bytes), .default_text = "64KiB", .doc = "A size." },
    { "timeout",
      { CONF_DURATION, .max = 86400000 },
      CONF_AT(sample, timeout_ms),
      .default_text = "30s",
      .doc = "A time." },
    { "share", { CONF_PERCENT }, CONF_AT(sample, share_percent), .default_text = "20%", .doc = "A part." },
    { "name", { CONF_STRING }, CONF_AT(sample, name), .doc = "A text." },
    { "secret", { CONF_SECRET }, CONF_AT(sample, secret), .doc = "A secret." },
    { "mode", { CONF_ENUM, .words = modes }, CONF_AT(sample, mode), .default_text = "safe", .doc = "How it works." },
    { "tags", { CONF_LIST, .item = &sample_tag_type }, CONF_AT(sample, tags), CONF_LONE, "[a, b]", "Some words." },
    { "labels",
      { CONF_MAP, .item = &sample_label_type, .max = 4 },
      CONF_AT(sample, labels),
      .doc = "Names with texts." },
    { "upstreams",
      { CONF_MAP, .item = &sample_upstream_type, .names = "upstream" },
      CONF_AT(sample, upstreams),
      CONF_DECLARES,
      .doc = "Services by name." },
    { "routes",
      { CONF_LIST, .item = &sample_route_type },
      CONF_AT(sample, routes),
      .doc = "From requests to services." },
    { "filter",
      { CONF_STRUCT, .structure = &filter_schema },
      CONF_AT(sample, filter),
      CONF_POINTER,
      .doc = "Nested filters." },
    CONF_END,
};
const struct conf_struct sample_schema = { "configuration", sizeof(struct sample), fields, "All of it." };
