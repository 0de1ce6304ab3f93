/*
 * The configuration of health checks: fields, defaults, and what contradicts itself.
 *
 * What kind of check is meant is said by what is written: a path or an expected status is HTTP, a `service` is gRPC,
 * and intervals alone are a connection that can be opened.
 */
#include "upstream/health_conf.h"

#include "base/assert.h"
#include "http/fields.h"
#include "http/message.h"
#include "http/uri.h"
#include "upstream/upstream.h"

#define HOUR_MS 3600000

enum {
    INTERVAL_MIN_MS = 10,
    FAST_DEFAULT_MS = 500, /* or a quarter of the interval, if that is longer */
    STATUS_MIN = 200,
    HEADERS_MAX = 32,
    RANGES_MAX = 32,
};

static int parse_range(struct conf *conf, const struct conf_node *node, void *ret_value);
static void validate_check(struct conf *conf, const struct conf_node *node, void *value);

static const struct conf_word type_words[] = {
    { "tcp", PROBE_TCP, "A connection can be opened, with its TLS handshake where the upstream has TLS." },
    { "http", PROBE_HTTP, "A request is answered as expected." },
    { "grpc", PROBE_GRPC, "`grpc.health.v1.Health/Check` says `SERVING`." },
    CONF_END,
};

static const struct conf_word check_protocol_words[] = {
    { "upstream", PROBE_AS_UPSTREAM, "What the upstream's `protocol` says." },
    { "http1", PROBE_HTTP1, "HTTP/1.1." },
    { "h2", PROBE_H2, "HTTP/2." },
    CONF_END,
};

const struct conf_type health_header_type = { .kind = CONF_STRING };

static const struct conf_type range_type = {
    .kind = CONF_CUSTOM,
    .parse = parse_range,
    .size = sizeof(struct status_range),
    .pattern = "STATUS or FROM-TO",
};

static const struct conf_field check_fields[] = {
    { .name = "type",
      .type = { .kind = CONF_ENUM, .words = type_words },
      .offset = CONF_AT(health_check_conf, type),
      .doc = "What is asked. Left out, it follows from the rest: `http` where a field of HTTP stands, `grpc` where "
             "`service` does, else `tcp`." },
    { .name = "path",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(health_check_conf, path),
      .doc = "HTTP: what is requested, a query included. `/` where another field makes it an HTTP check." },
    { .name = "method",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(health_check_conf, method),
      .doc = "HTTP: the request's method; `GET` when left out. It has no body." },
    { .name = "host",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(health_check_conf, host),
      .doc = "HTTP and gRPC: the `Host` (`:authority`) of the request. Left out, the target as it stands in the "
             "configuration." },
    { .name = "headers",
      .type = { .kind = CONF_MAP, .item = &health_header_type, .max = HEADERS_MAX },
      .offset = CONF_AT(health_check_conf, headers),
      .doc = "HTTP and gRPC: further fields of the request. `User-Agent` is `maitred-health/VERSION` unless it stands "
             "here." },
    { .name = "expect_status",
      .type = { .kind = CONF_LIST, .item = &range_type, .max = RANGES_MAX, .flags = CONF_LONE },
      .offset = CONF_AT(health_check_conf, expect_status),
      .doc = "HTTP: the statuses that will do, `200` or `200-299`. Left out, `200-399`." },
    { .name = "expect_body",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(health_check_conf, expect_body),
      .doc = "HTTP: a text that the first 64 KiB of the answer's body have to hold. Left out, the body is not read." },
    { .name = "service",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(health_check_conf, service),
      .doc = "gRPC: the service that is asked about. Left out, the server as a whole." },
    { .name = "port",
      .type = { .kind = CONF_INT, .min = 1, .max = 65535 },
      .offset = CONF_AT(health_check_conf, port),
      .doc = "Another port than the target's." },
    { .name = "address",
      .type = { .kind = CONF_CUSTOM, .parse = health_parse_ip, .size = sizeof(struct address), .pattern = "IP" },
      .offset = CONF_AT(health_check_conf, address),
      .doc = "Another address than the target's, for a watchdog that speaks for the service." },
    { .name = "protocol",
      .type = { .kind = CONF_ENUM, .words = check_protocol_words },
      .offset = CONF_AT(health_check_conf, protocol),
      .default_text = "upstream",
      .doc = "HTTP: what the checked port speaks." },
    { .name = "tls",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(health_check_conf, tls),
      .default_text = "true",
      .doc = "Whether the checked port speaks TLS where the upstream does, with the same certificates and checks." },
    { .name = "proxy_protocol",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(health_check_conf, proxy_protocol),
      .default_text = "true",
      .doc = "Whether probes begin with a PROXY header (of kind LOCAL) where the upstream's connections do." },
    { .name = "interval",
      .type = { .kind = CONF_DURATION, .min = INTERVAL_MIN_MS, .max = 24 * HOUR_MS },
      .offset = CONF_AT(health_check_conf, pace.interval_ms),
      .default_text = "2s",
      .doc = "From one probe of a target to its next." },
    { .name = "timeout",
      .type = { .kind = CONF_DURATION, .min = 1, .max = HOUR_MS },
      .offset = CONF_AT(health_check_conf, pace.timeout_ms),
      .default_text = "1s",
      .doc = "How long a probe may take in all; at most the interval, and by default no more than that." },
    { .name = "unhealthy_after",
      .type = { .kind = CONF_INT, .min = 1, .max = 1000 },
      .offset = CONF_AT(health_check_conf, pace.unhealthy_after),
      .default_text = "3",
      .doc = "Failures in a row that make a target unhealthy. The very first probe of a target decides alone." },
    { .name = "healthy_after",
      .type = { .kind = CONF_INT, .min = 1, .max = 1000 },
      .offset = CONF_AT(health_check_conf, pace.healthy_after),
      .default_text = "2",
      .doc = "Passes in a row that make it healthy again." },
    { .name = "fast_interval",
      .type = { .kind = CONF_DURATION, .min = INTERVAL_MIN_MS, .max = 24 * HOUR_MS },
      .offset = CONF_AT(health_check_conf, pace.fast_interval_ms),
      .doc = "The interval while probes contradict what is known of the target. Left out, a quarter of `interval` but "
             "not below 500 ms, and never above `interval`." },
    { .name = "jitter",
      .type = { .kind = CONF_PERCENT },
      .offset = CONF_AT(health_check_conf, pace.jitter_percent),
      .default_text = "10%",
      .doc = "Each wait is drawn from so much less to so much more, so that probes of many targets and many gateways "
             "do not fall into step." },
    CONF_END,
};

const struct conf_struct health_check_schema = {
    .name = "health_check",
    .size = sizeof(struct health_check_conf),
    .fields = check_fields,
    .shorthand = "path",
    .validate = validate_check,
    .doc = "Probes that the gateway itself sends to each target. A path alone will do: `health_check: /health`.",
    .example = "upstreams:\n"
               "  users:\n"
               "    targets: [ 10.0.0.1:9001, 10.0.0.2:9001 ]\n"
               "    health_check: { path: /health, interval: 2s, unhealthy_after: 3, healthy_after: 2 }\n"
               "    readiness_check: { path: /ready, expect_status: 200 }\n",
};

/* ---- values ---- */

static int parse_range(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    return status_range_parse(conf, node, STATUS_MIN, "200-299", ret_value);
}

int health_parse_ip(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    struct slice text = node->kind == NODE_SCALAR ? node->text : SLICE_EMPTY;
    if (address_parse_ip(text, ret_value) == 0)
        return 0;
    conf_error(conf, node, "expected an IP address without port, got `%.*s`; the port is `port`", SLICE_ARG(text));
    return -1;
}

/* ---- what contradicts itself ---- */

static const char *const http_only[] = { "path", "method", "expect_status", "expect_body", NULL };
static const char *const requests_only[] = { "host", "headers", "protocol", NULL };

static bool any_written(const struct conf_node *node, const char *const *names)
{
    for (; *names; names++)
        if (conf_get(node, *names))
            return true;
    return false;
}

static void refuse_fields(struct conf *conf, const struct conf_node *node, const char *const *names, const char *type)
{
    for (; *names; names++)
        if (conf_get(node, *names))
            conf_error(conf, conf_get(node, *names), "a check of type `%s` has no `%s`", type, *names);
}

static void decide_type(struct conf *conf, const struct conf_node *node, struct health_check_conf *check)
{
    static const char *const grpc_only[] = { "service", NULL };
    if (check->type == PROBE_UNSAID && check->service)
        check->type = PROBE_GRPC;
    if (check->type == PROBE_UNSAID)
        check->type =
            check->path || any_written(node, http_only) || any_written(node, requests_only) ? PROBE_HTTP : PROBE_TCP;
    if (check->type != PROBE_HTTP)
        refuse_fields(conf, node, http_only, check->type == PROBE_TCP ? "tcp" : "grpc");
    if (check->type != PROBE_GRPC)
        refuse_fields(conf, node, grpc_only, check->type == PROBE_TCP ? "tcp" : "http");
    if (check->type == PROBE_TCP)
        refuse_fields(conf, node, requests_only, "tcp");
    if (check->type == PROBE_HTTP && !check->path)
        check->path = "/";
}

static void check_request(struct conf *conf, const struct conf_node *node, struct health_check_conf *check)
{
    const struct conf_node *path = conf_get(node, "path") ? conf_get(node, "path") : node;
    if (check->path && (check->path[0] != '/' || !uri_target_valid(slice_from(check->path))))
        conf_error(conf, path, "`%s` is no path: it begins with `/` and has no spaces or line breaks", check->path);
    struct slice method = slice_from(check->method), host;
    uint16_t port;
    if (method.len > 0 && (!field_name_valid(method) || slice_eq(method, SLICE("CONNECT"))))
        conf_error(conf, conf_get(node, "method"), "`%s` is no method that a check can use", check->method);
    if (slice_eq(method, SLICE("HEAD")) && check->expect_body)
        conf_error(conf, conf_get(node, "expect_body"), "an answer to `HEAD` has no body");
    if (check->expect_body && strlen(check->expect_body) > EXPECT_BODY_MAX)
        conf_error(conf, conf_get(node, "expect_body"), "at most %d bytes are looked for", EXPECT_BODY_MAX);
    if (check->host && uri_parse_authority(slice_from(check->host), &host, &port) < 0)
        conf_error(conf, conf_get(node, "host"), "`%s` is no host", check->host);
    if (check->service && strlen(check->service) > GRPC_SERVICE_MAX)
        conf_error(conf, conf_get(node, "service"), "a service's name has at most %d bytes", GRPC_SERVICE_MAX);
}

/* What belongs to the connection, or to the message's frame, is the codec's. */
static bool is_the_codecs(enum field_id id)
{
    switch (id) {
    case FIELD_CONTENT_LENGTH:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_UPGRADE:
    case FIELD_TE:
    case FIELD_TRAILER:
    case FIELD_EXPECT:
    case FIELD_HTTP2_SETTINGS:
        return true;
    default:
        return false;
    }
}

static void check_headers(struct conf *conf, const struct health_check_conf *check)
{
    for (size_t i = 0; i < check->headers.count; i++) {
        const struct conf_entry *entry = conf_entry_at(&check->headers, &health_header_type, i);
        struct slice name = slice_from(entry->key);
        if (!field_name_valid(name))
            conf_error(conf, entry->node, "`%s` is no field name", entry->key);
        else if (field_id(name) == FIELD_HOST)
            conf_error(conf, entry->node, "write `host` instead");
        else if (is_the_codecs(field_id(name)))
            conf_error(conf, entry->node, "`%s` belongs to the connection and cannot be set", entry->key);
        if (!field_value_valid(slice_from(*(const char *const *)entry->value)))
            conf_error(conf, entry->node, "a field's value has no line breaks and no control characters");
    }
}

void health_check_pace(struct conf *conf, const struct conf_node *node, struct health_pace *pace)
{
    const struct conf_node *timeout = conf_get(node, "timeout"), *fast = conf_get(node, "fast_interval");
    if (!timeout)
        pace->timeout_ms = MIN(pace->timeout_ms, pace->interval_ms);
    else if (pace->timeout_ms > pace->interval_ms)
        conf_error(conf, timeout, "a probe may not take longer (%lld ms) than `interval` (%lld ms): make that longer",
                   (long long)pace->timeout_ms, (long long)pace->interval_ms);
    if (!fast)
        pace->fast_interval_ms = MIN(MAX(pace->interval_ms / 4, (int64_t)FAST_DEFAULT_MS), pace->interval_ms);
    else if (pace->fast_interval_ms > pace->interval_ms)
        conf_error(conf, fast, "`fast_interval` is longer than `interval`");
}

static void validate_check(struct conf *conf, const struct conf_node *node, void *value)
{
    struct health_check_conf *check = value;
    decide_type(conf, node, check);
    check_request(conf, node, check);
    check_headers(conf, check);
    health_check_pace(conf, node, &check->pace);
}

/* ---- beside the upstream ---- */

bool health_check_uses_tls(const struct health_check_conf *check, const struct upstream_conf *upstream)
{
    return check->tls && upstream_wants_tls(upstream);
}

bool health_check_uses_h2(const struct health_check_conf *check, const struct upstream_conf *upstream)
{
    return check->protocol == PROBE_H2 || (check->protocol == PROBE_AS_UPSTREAM && upstream->protocol == UPSTREAM_H2);
}

bool health_check_expects(const struct health_check_conf *check, unsigned status)
{
    if (check->expect_status.count == 0)
        return status >= 200 && status <= 399;
    return status_ranges_have(&check->expect_status, status);
}

static bool has_unix_target(const struct upstream_conf *upstream)
{
    const struct target_conf *targets = upstream->targets.items;
    for (size_t i = 0; i < upstream->targets.count; i++)
        if (targets[i].address.family == AF_UNIX)
            return true;
    return false;
}

/* The field, or what holds it in short. */
static const struct conf_node *place_of(const struct conf_node *node, const char *name)
{
    const struct conf_node *field = conf_get(node, name);
    return field ? field : node;
}

void health_check_fits(struct conf *conf, const struct conf_node *upstream_node, const char *name,
                       const struct health_check_conf *check, const struct upstream_conf *upstream)
{
    const struct conf_node *node = conf_get(upstream_node, name);
    if (!check)
        return;
    if (check->type == PROBE_GRPC && !health_check_uses_h2(check, upstream))
        conf_error(conf, node, "gRPC needs HTTP/2: add `protocol: h2` to the upstream, or to the check alone");
    if (health_check_uses_tls(check, upstream) &&
        health_check_uses_h2(check, upstream) != (upstream->protocol == UPSTREAM_H2))
        conf_error(conf, place_of(node, "protocol"),
                   "over TLS a check speaks what the upstream does; add `tls: off` if the checked port is a plain one");
    if (check->port && check->address.family == AF_UNSPEC && has_unix_target(upstream))
        conf_error(conf, place_of(node, "port"), "a unix socket has no port: add the `address` that is to be checked");
    if (!check->port && check->address.family != AF_UNSPEC && has_unix_target(upstream))
        conf_error(conf, place_of(node, "address"), "a unix socket has no port: add the `port` that is to be checked");
}
