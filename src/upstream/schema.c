/*
 * The configuration of an upstream: its fields with their defaults and documentation, and the checks over several of
 * them.
 */
#include "balance/algorithms/algorithms.h"
#include "base/assert.h"
#include "base/sys.h"
#include "upstream/health_conf.h"
#include "upstream/state.h"

enum { WEIGHT_MAX = 1000, HOST_BYTES_MAX = 253, LABEL_BYTES_MAX = 63, REQUESTS_MAX = 1000000000 };

#define HOUR_MS 3600000

static int parse_target(struct conf *conf, const struct conf_node *node, void *ret_value);
static void note_set(struct conf *conf, const struct conf_node *node, void *value);
static void check_upstream(struct conf *conf, const struct conf_node *node, void *value);

static const struct conf_word algorithm_words[] = {
#define X(word, doc) { #word, ALGORITHM_##word, doc },
    ALGORITHM_TABLE(X)
#undef X
        CONF_END,
};

static const struct conf_word protocol_words[] = {
    { "http1", UPSTREAM_HTTP1, "HTTP/1.1, one request at a time on a connection." },
    { "h2", UPSTREAM_H2,
      "HTTP/2, many requests on one connection: over TLS where ALPN has to choose it, in cleartext with prior "
      "knowledge." },
    CONF_END,
};

/* The text stands for address, host and port together. */
static const struct conf_field target_fields[] = {
    { .name = "address",
      .type = { .kind = CONF_CUSTOM,
                .parse = parse_target,
                .size = offsetof(struct target_conf, weight),
                .pattern = "HOST:PORT" },
      .offset = CONF_AT(target_conf, address),
      .flags = CONF_REQUIRED,
      .doc = "Where the service listens: `10.0.0.1:9001`, `[2001:db8::1]:9001`, `users.internal:9001` or "
             "`unix:/run/users.sock`. A name stands for all addresses that it resolves to, each with the weight "
             "given here, and is resolved again when its answer expires." },
    { .name = "weight",
      .type = { .kind = CONF_INT, .max = WEIGHT_MAX },
      .offset = CONF_AT(target_conf, weight),
      .default_text = "1",
      .doc = "Its share of the requests, relative to the weights of the others. With 0 it drains: requests in "
             "progress end, and it gets no new ones." },
    CONF_END,
};

static const struct conf_struct target_schema = {
    .name = "target",
    .size = sizeof(struct target_conf),
    .fields = target_fields,
    .doc = "One address, or one name, of a service.",
    .shorthand = "address",
};

static const struct conf_type target_type = { .kind = CONF_STRUCT, .structure = &target_schema };

static const struct conf_field timeout_fields[] = {
    { .name = "connect",
      .type = { .kind = CONF_DURATION, .min = 1, .max = HOUR_MS },
      .offset = CONF_AT(upstream_timeouts, connect_timeout_ms),
      .default_text = "5s",
      .doc = "How long a target may take to accept a connection. Then the next target is tried." },
    { .name = "response",
      .type = { .kind = CONF_DURATION, .max = 24 * HOUR_MS },
      .offset = CONF_AT(upstream_timeouts, response_timeout_ms),
      .default_text = "60s",
      .doc = "How long the head of the answer may take once the request has been sent. `off` waits for ever. Calls of "
             "gRPC have this limit only where it is written down." },
    { .name = "body_idle",
      .type = { .kind = CONF_DURATION, .max = 24 * HOUR_MS },
      .offset = CONF_AT(upstream_timeouts, body_idle_timeout_ms),
      .default_text = "60s",
      .doc = "How long the body of an answer may stand still while the client is ready for more of it. `off` "
             "waits for ever. Calls of gRPC have this limit only where it is written down." },
    { .name = "send_idle",
      .type = { .kind = CONF_DURATION, .max = 24 * HOUR_MS },
      .offset = CONF_AT(upstream_timeouts, send_idle_timeout_ms),
      .default_text = "60s",
      .doc = "How long the service may take nothing of a request that is being sent. `off` waits for ever." },
    { .name = "idle",
      .type = { .kind = CONF_DURATION, .min = 1, .max = 24 * HOUR_MS },
      .offset = CONF_AT(upstream_timeouts, idle_timeout_ms),
      .default_text = "60s",
      .doc = "How long an idle connection is kept for the next request. Best a little shorter than the service's "
             "own keep-alive time." },
    CONF_END,
};

static const struct conf_struct timeouts_schema = {
    .name = "upstream_timeouts",
    .size = sizeof(struct upstream_timeouts),
    .fields = timeout_fields,
    .doc = "How long to wait for a service.",
    .validate = note_set,
};

static const struct conf_field upstream_fields[] = {
    { .name = "algorithm",
      .type = { .kind = CONF_ENUM, .words = algorithm_words },
      .offset = CONF_AT(upstream_conf, balance.algorithm),
      .default_text = "round_robin",
      .doc = "How a target is chosen for each request." },
    { .name = "hash",
      .type = { .kind = CONF_STRUCT, .structure = &hash_schema },
      .offset = CONF_AT(upstream_conf, balance.hash),
      .doc = "What `hash` and `ip_hash` place requests by, and how." },
    { .name = "slow_start",
      .type = { .kind = CONF_DURATION, .max = 24 * HOUR_MS },
      .offset = CONF_AT(upstream_conf, balance.slow_start_ms),
      .default_text = "off",
      .doc = "A target that becomes available, as one that is new or was out for its health, gets a tenth of its "
             "share at first and all of it after this time. It works with every algorithm." },
    { .name = "panic_threshold",
      .type = { .kind = CONF_PERCENT },
      .offset = CONF_AT(upstream_conf, balance.panic_percent),
      .default_text = "50%",
      .doc = "When less than this share of the targets is available, and no others can take over, their health is "
             "ignored: a check that fails everywhere says more about the check than about the services. `0` never "
             "ignores it; without an available target the answer then is 503." },
    { .name = "overprovision",
      .type = { .kind = CONF_NUMBER, .min = 1, .max = 100 },
      .offset = CONF_AT(upstream_conf, balance.overprovision),
      .default_text = "1.4",
      .doc = "A priority, or the gateway's own zone, serves all of its traffic until fewer than 1 in this number of "
             "its targets is available; then the next takes over what is beyond it." },
    { .name = "targets",
      .type = { .kind = CONF_LIST, .item = &target_type, .flags = CONF_NONEMPTY | CONF_LONE },
      .offset = CONF_AT(upstream_conf, targets),
      .flags = CONF_REQUIRED,
      .doc = "The services to choose from: addresses or names, at least one." },
    { .name = "protocol",
      .type = { .kind = CONF_ENUM, .words = protocol_words },
      .offset = CONF_AT(upstream_conf, protocol),
      .default_text = "http1",
      .doc = "What the targets speak. gRPC needs `h2`. Requests with `Upgrade` (WebSocket) go to an `h2` target as "
             "extended CONNECT (RFC 8441), which the target has to allow." },
    { .name = "timeouts",
      .type = { .kind = CONF_STRUCT, .structure = &timeouts_schema },
      .offset = CONF_AT(upstream_conf, timeouts),
      .doc = "How long to wait for a service." },
    { .name = "keep_alive_connections",
      .type = { .kind = CONF_INT, .max = REQUESTS_MAX },
      .offset = CONF_AT(upstream_conf, keep_alive_connections),
      .default_text = "2048",
      .doc = "Idle connections kept to each target for further requests, over all workers. 0 closes each after "
             "its request. Fewer than are busy at the height of the load means that connections are made and closed "
             "all the time." },
    { .name = "max_requests_per_connection",
      .type = { .kind = CONF_INT, .max = REQUESTS_MAX },
      .offset = CONF_AT(upstream_conf, max_requests_per_connection),
      .default_text = "0",
      .doc = "A connection is closed after so many requests. 0 is no limit." },
    { .name = "max_connections_per_target",
      .type = { .kind = CONF_INT, .max = REQUESTS_MAX },
      .offset = CONF_AT(upstream_conf, max_connections_per_target),
      .default_text = "0",
      .doc = "Connections to one target at once, over all workers, idle ones included. When all targets are at "
             "the limit, the answer is 503. 0 is no limit." },
    { .name = "max_requests_per_target",
      .type = { .kind = CONF_INT, .max = REQUESTS_MAX },
      .offset = CONF_AT(upstream_conf, max_requests_per_target),
      .default_text = "0",
      .doc = "Requests in progress on one target at once, over all workers. When all targets are at the limit, "
             "the answer is 503. 0 is no limit." },
    { .name = "proxy_protocol",
      .type = { .kind = CONF_ENUM, .words = proxy_protocol_words },
      .offset = CONF_AT(upstream_conf, proxy_protocol),
      .default_text = "off",
      .doc = "Begin each connection with a PROXY header that tells the client's address. Connections then serve "
             "requests of one client connection only." },
    { .name = "retry",
      .type = { .kind = CONF_STRUCT, .structure = &upstream_retry_schema },
      .offset = CONF_AT(upstream_conf, retry),
      .doc = "When and how often a request is tried again." },
    { .name = "tls",
      .type = { .kind = CONF_STRUCT, .structure = &upstream_tls_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, tls),
      .flags = CONF_POINTER,
      .doc = "TLS towards the targets; `on` suffices for most. Left out, it is plain." },
    { .name = "health_check",
      .type = { .kind = CONF_STRUCT, .structure = &health_check_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, health_check),
      .doc = "Liveness: a target whose probes fail is given up, and connections to it are closed. Left out, none are "
             "sent." },
    { .name = "readiness_check",
      .type = { .kind = CONF_STRUCT, .structure = &health_check_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, readiness_check),
      .doc = "Readiness: a target whose probes fail gets no new work but keeps its sessions, and is the first that is "
             "used again when too few are ready." },
    CONF_END,
};

const struct conf_struct upstream_schema = {
    .name = "upstream",
    .size = sizeof(struct upstream_conf),
    .fields = upstream_fields,
    .doc = "A named group of targets that serve the same requests, how to choose among them and how to talk to them.",
    .validate = check_upstream,
    .example = "upstreams:\n"
               "  users:\n"
               "    algorithm: least_connections\n"
               "    targets: [ 10.0.0.1:9001, { address: 10.0.0.2:9001, weight: 3 } ]\n"
               "    timeouts: { connect: 2s, response: 30s }\n",
};

/* RFC 1123 2.1, and underscores, which names inside clusters have. */
bool upstream_is_host_name(struct slice host)
{
    size_t label = 0;
    if (host.len > 0 && host.at[host.len - 1] == '.')
        host.len--;
    if (host.len == 0 || host.len > HOST_BYTES_MAX)
        return false;
    for (size_t i = 0; i < host.len; i++) {
        char c = host.at[i];
        bool inner = c == '-';
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (c == '.') {
            if (label == 0 || host.at[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!(plain || (inner && label > 0)) || ++label > LABEL_BYTES_MAX)
            return false;
    }
    return label > 0 && host.at[host.len - 1] != '-';
}

/* A last label of digits alone was meant to be an IPv4 address; resolvers disagree on what it is. */
static bool looks_like_ip(struct slice host)
{
    size_t digits = 0;
    while (digits < host.len && host.at[host.len - 1 - digits] >= '0' && host.at[host.len - 1 - digits] <= '9')
        digits++;
    return digits > 0 && (digits == host.len || host.at[host.len - 1 - digits] == '.');
}

static int parse_name(struct conf *conf, const struct conf_node *node, struct slice text, struct target_conf *target)
{
    if (!address_split(text, &target->host, &target->port)) {
        conf_error(conf, node, "expected HOST:PORT, got `%.*s`%s", SLICE_ARG(text),
                   strstr(text.at, "://") ? "; write the host and port without a scheme"
                                          : "; the port is missing or out of range");
        return -1;
    }
    if (!upstream_is_host_name(target->host)) {
        conf_error(conf, node, "`%.*s` is neither an address nor a host name", SLICE_ARG(target->host));
        return -1;
    }
    if (looks_like_ip(target->host)) {
        conf_error(conf, node, "`%.*s` is not an IPv4 address", SLICE_ARG(target->host));
        return -1;
    }
    target->host = arena_printf(conf_arena(conf), "%.*s", SLICE_ARG(target->host));
    return target->host.at ? 0 : -1;
}

static int parse_target(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    struct target_conf *target = ret_value;
    if (node->kind != NODE_SCALAR) {
        conf_error(conf, node, "expected HOST:PORT");
        return -1;
    }
    struct slice text = arena_printf(conf_arena(conf), "%.*s", SLICE_ARG(node->text)); /* a unix path points into it */
    if (!text.at) {
        conf_error(conf, node, "out of memory");
        return -1;
    }
    if (text.len == 0 || text.at[0] == ':') {
        conf_error(conf, node, "expected HOST:PORT, got `%.*s`; the host is missing", SLICE_ARG(text));
        return -1;
    }
    const char *why = NULL;
    struct address *address = &target->address;
    if (address_parse(text, address, &why) < 0) {
        *address = (struct address){ .family = AF_UNSPEC };
        if (text.at[0] == '[' || slice_starts(text, SLICE("unix:"))) {
            conf_error(conf, node, "`%.*s`: %s", SLICE_ARG(text), why ? why : "not an address");
            return -1;
        }
        if (parse_name(conf, node, text, target) < 0)
            return -1;
    } else {
        target->port = address->port;
    }
    if (address->family != AF_UNIX && target->port == 0) {
        conf_error(conf, node, "`%.*s`: the port may not be 0", SLICE_ARG(text));
        return -1;
    }
    return 0;
}

static bool is_set(const struct conf_node *node, const char *name)
{
    const struct conf_node *field = conf_get(node, name);
    return field && field->kind != NODE_NULL;
}

/* Streams of gRPC may be silent: for them what was not asked for does not count. */
static void note_set(struct conf *conf, const struct conf_node *node, void *value)
{
    struct upstream_timeouts *timeouts = value;
    timeouts->response_set = is_set(node, "response");
    timeouts->body_idle_set = is_set(node, "body_idle");
}

struct placed_target {
    const struct target_conf *target;
    const struct conf_node *node;
    size_t index;
};

static int compare_targets(const struct target_conf *a, const struct target_conf *b)
{
    if (a->address.family != b->address.family)
        return a->address.family < b->address.family ? -1 : 1;
    if (a->port != b->port)
        return a->port < b->port ? -1 : 1;
    if (a->address.family == AF_UNSPEC)
        return strcasecmp(a->host.at, b->host.at);
    if (a->address.family == AF_UNIX)
        return memcmp(a->address.path, b->address.path, a->address.port); /* equally long: that is its port */
    int order = memcmp(a->address.ip, b->address.ip, a->address.family == AF_INET ? 4 : 16);
    return order ? order : (a->address.scope > b->address.scope) - (a->address.scope < b->address.scope);
}

static int compare_placed(const void *a, const void *b)
{
    const struct placed_target *left = a, *right = b;
    int order = compare_targets(left->target, right->target);
    return order ? order : (left->index > right->index) - (left->index < right->index);
}

/* Sorted, so that ten thousand targets are checked as fast as they are read. */
static void report_doubles(struct conf *conf, struct placed_target *placed, size_t count)
{
    qsort(placed, count, sizeof *placed, compare_placed);
    for (size_t i = 1; i < count; i++)
        if (compare_targets(placed[i - 1].target, placed[i].target) == 0)
            conf_error(conf, placed[i].node,
                       "the same target stands at `targets[%zu]` already; give it a weight instead",
                       placed[i - 1].index);
}

/* A path says nothing of who has to be at its other end. */
static void check_names(struct conf *conf, const struct conf_node *node, const struct upstream_conf *upstream)
{
    const struct target_conf *targets = upstream->targets.items;
    if (!upstream_wants_tls(upstream) || !upstream->tls->verify || upstream->tls->server_name)
        return;
    for (size_t i = 0; i < upstream->targets.count; i++)
        if (targets[i].address.family == AF_UNIX) {
            conf_error(conf, conf_get(node, "tls"),
                       "a unix socket has no host name that the service's certificate could be for: add `server_name`");
            return;
        }
}

static void check_upstream(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct upstream_conf *upstream = value;
    const struct conf_node *list = conf_get(node, "targets");
    const struct target_conf *targets = upstream->targets.items;
    size_t count = upstream->targets.count;
    struct placed_target *placed = mem_alloc(count * sizeof *placed);
    if (!placed) {
        conf_error(conf, node, "out of memory");
        return;
    }
    int64_t weights = 0;
    const struct conf_node *item = list && list->kind == NODE_LIST ? list->first : list;
    for (size_t i = 0; i < count; i++) {
        placed[i] = (struct placed_target){ .target = &targets[i], .node = item, .index = i };
        weights += targets[i].weight;
        item = item ? item->next : NULL;
    }
    report_doubles(conf, placed, count);
    mem_free(placed);
    check_names(conf, node, upstream);
    hash_check(conf, node, &upstream->balance);
    health_check_fits(conf, node, "health_check", upstream->health_check, upstream);
    health_check_fits(conf, node, "readiness_check", upstream->readiness_check, upstream);
    if (weights == 0)
        conf_warn(conf, list, "every target has weight 0, so none will take a request");
}
