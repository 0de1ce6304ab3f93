/*
 * The configuration of an upstream: its fields with their defaults and documentation, and the checks over several of
 * them.
 */
#include "balance/algorithms/algorithms.h"
#include "base/assert.h"
#include "base/sys.h"
#include "http/template.h"
#include "upstream/fallback.h"
#include "upstream/health_conf.h"
#include "upstream/state.h"
#include "upstream/sticky.h"
#include "upstream/targets.h"

enum { REQUESTS_MAX = 1000000000 };

#define HOUR_MS 3600000

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
    { .name = "max_connections",
      .type = { .kind = CONF_INT, .max = REQUESTS_MAX },
      .offset = CONF_AT(upstream_conf, max_connections),
      .default_text = "0",
      .doc = "Connections to all targets together at once, over all workers, idle ones included. 0 is no limit." },
    { .name = "max_requests",
      .type = { .kind = CONF_INT, .max = REQUESTS_MAX },
      .offset = CONF_AT(upstream_conf, max_requests),
      .default_text = "0",
      .doc = "Requests in progress on all targets together at once, over all workers. At the limit the answer is 503 "
             "(`upstream_full`), unless there is a `queue`. 0 is no limit." },
    { .name = "adaptive_concurrency",
      .type = { .kind = CONF_STRUCT, .structure = &adaptive_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, balance.adaptive),
      .doc = "A limit on the upstream's requests that finds itself, within `max_requests` if that is given. Left out, "
             "there is none." },
    { .name = "queue",
      .type = { .kind = CONF_STRUCT, .structure = &queue_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, queue),
      .doc = "Requests that find a limit reached wait for their turn. Left out, they are answered with 503 at once." },
    { .name = "max_connections_per_target",
      .type = { .kind = CONF_INT, .max = REQUESTS_MAX },
      .offset = CONF_AT(upstream_conf, max_connections_per_target),
      .default_text = "0",
      .doc = "Connections to one target at once, over all workers, idle ones included. When all targets are at "
             "the limit, the answer is 503, unless there is a `queue`. 0 is no limit." },
    { .name = "max_requests_per_target",
      .type = { .kind = CONF_INT, .max = REQUESTS_MAX },
      .offset = CONF_AT(upstream_conf, max_requests_per_target),
      .default_text = "0",
      .doc = "Requests in progress on one target at once, over all workers. When all targets are at the limit, "
             "the answer is 503, unless there is a `queue`. 0 is no limit." },
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
    { .name = "hedge",
      .type = { .kind = CONF_STRUCT, .structure = &hedge_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, hedge),
      .doc = "Ask another target as well when an answer takes longer than usual. Left out, none is." },
    { .name = "deadline_header",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(upstream_conf, deadline_header),
      .doc = "A field that tells the service with each try how many milliseconds are left of the exchange's time "
             "(`timeouts.exchange`, or the route's `timeout`), as a decimal number. What the client sent under this "
             "name is dropped. `grpc-timeout` is sent to calls of gRPC anyway." },
    { .name = "tls",
      .type = { .kind = CONF_STRUCT, .structure = &upstream_tls_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, tls),
      .flags = CONF_POINTER,
      .doc = "TLS towards the targets; `on` suffices for most. Left out, it is plain." },
    { .name = "sticky",
      .type = { .kind = CONF_STRUCT, .structure = &sticky_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, sticky),
      .doc = "Sticky sessions by a cookie, with every algorithm: clients come back to the target that served them "
             "first. Left out, there are none." },
    { .name = "outlier_detection",
      .type = { .kind = CONF_STRUCT, .structure = &outlier_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, balance.outlier),
      .doc = "Ejects targets for a while by how real requests to them go. Left out, none is." },
    { .name = "circuit_breaker",
      .type = { .kind = CONF_STRUCT, .structure = &breaker_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, balance.circuit_breaker),
      .doc = "Stops trying the upstream as a whole for a while when too much fails; the answer is then its `fallback`, "
             "or 503 with `Retry-After`. Left out, it is always tried." },
    { .name = "target_circuit_breaker",
      .type = { .kind = CONF_STRUCT, .structure = &breaker_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, balance.target_circuit_breaker),
      .doc = "The same for each target by itself: the others serve while it is open." },
    { .name = "fallback",
      .type = { .kind = CONF_STRUCT, .structure = &fallback_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, fallback),
      .doc = "What serves when this upstream cannot. Left out, the answer is an error." },
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
    { .name = "agent_check",
      .type = { .kind = CONF_STRUCT, .structure = &agent_check_schema, .flags = CONF_POINTER },
      .offset = CONF_AT(upstream_conf, agent_check),
      .doc = "An agent beside each target that says how much it wants to take. Left out, none is asked." },
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

/* What is switched off is not there. */
static void drop_disabled(struct balance_conf *balance)
{
    if (balance->outlier && !balance->outlier->on)
        balance->outlier = NULL;
    if (balance->circuit_breaker && !balance->circuit_breaker->on)
        balance->circuit_breaker = NULL;
    if (balance->target_circuit_breaker && !balance->target_circuit_breaker->on)
        balance->target_circuit_breaker = NULL;
}

/* Nobody would ever wait. */
static void check_queue(struct conf *conf, const struct conf_node *node, const struct upstream_conf *upstream)
{
    const struct target_conf *targets = upstream->targets.items;
    bool limited = upstream->max_requests || upstream->max_connections || upstream->balance.adaptive ||
                   upstream->max_requests_per_target || upstream->max_connections_per_target;
    for (size_t i = 0; i < upstream->targets.count && !limited; i++)
        limited = targets[i].max_requests || targets[i].max_connections || targets[i].file;
    if (upstream->queue && !limited)
        conf_warn(conf, conf_get(node, "queue"),
                  "nothing is limited, so nobody will wait: give `max_requests` or another limit");
}

static void check_upstream(struct conf *conf, const struct conf_node *node, void *value)
{
    struct upstream_conf *upstream = value;
    drop_disabled(&upstream->balance);
    if (upstream->queue && !upstream->queue->on)
        upstream->queue = NULL;
    check_queue(conf, node, upstream);
    target_check_all(conf, conf_get(node, "targets"), &upstream->targets);
    check_names(conf, node, upstream);
    hash_check(conf, node, &upstream->balance);
    if (upstream->balance.hash.key)
        template_check(conf, upstream->balance.hash.key_node, slice_from(upstream->balance.hash.key));
    health_check_fits(conf, node, "health_check", upstream->health_check, upstream);
    health_check_fits(conf, node, "readiness_check", upstream->readiness_check, upstream);
    health_check_fits(conf, node, "agent_check", upstream->agent_check, upstream);
    upstream_check_contradictions(conf, node, upstream);
}
