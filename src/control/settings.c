/*
 * The schema of the configuration file: the sections that belong to no other room, put together with those that do.
 */
#include "control/settings.h"

#include "handlers/registry.h"
#include "http/fields.h"
#include "observe/log.h"
#include "policies/registry.h"
#include "route/router.h"
#include "upstream/fallback.h"
#include "upstream/upstream.h"

/* ---- addresses ---- */

static int parse_listen_address(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    const char *why = NULL;
    struct address *address = ret_value;
    if (node->kind == NODE_SCALAR && address_parse(node->text, address, &why) == 0)
        return 0; /* a unix path is in the node's text, which lives as long as the conf */
    conf_error(conf, node,
               "expected an address such as `0.0.0.0:8080`, `[::]:8443`, `:80` or `unix:/run/maitred.sock`%s%s",
               why ? ": " : "", why ? why : "");
    return -1;
}

static int parse_unix_mode(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    int64_t mode = 0;
    bool octal = node->kind == NODE_SCALAR && node->text.len >= 3 && node->text.len <= 4;
    for (size_t i = 0; octal && i < node->text.len; i++) {
        octal = node->text.at[i] >= '0' && node->text.at[i] <= '7';
        mode = mode * 8 + (node->text.at[i] - '0');
    }
    if (!octal) {
        conf_error(conf, node, "expected permissions in octal such as `0660`");
        return -1;
    }
    *(int64_t *)ret_value = mode;
    return 0;
}

#define ADDRESS_TYPE                                                                                                   \
    {                                                                                                                  \
        .kind = CONF_CUSTOM, .parse = parse_listen_address, .size = sizeof(struct address),                            \
        .pattern = "IP:PORT, :PORT or unix:PATH"                                                                       \
    }

/* ---- policies ---- */

const struct conf_type policy_place_type = { .kind = CONF_UNION, .registry = &policy_place_registry };
static const struct conf_type policy_type = { .kind = CONF_UNION, .registry = &policy_registry };
const struct conf_type policy_set_type = { .kind = CONF_LIST, .item = &policy_type, .max = 24, .flags = CONF_NONEMPTY };

/* ---- listeners ---- */

static const struct conf_field listener_fields[] = {
    { "address", ADDRESS_TYPE, CONF_AT(listener_conf, address), CONF_REQUIRED, NULL,
      "Where to listen: an IP and a port, `:8080` for every address, or `unix:/run/maitred.sock`." },
    { "backlog",
      { .kind = CONF_INT, .min = 1, .max = 65535 },
      CONF_AT(listener_conf, backlog),
      0,
      "4096",
      "Connections that the kernel may hold before they are accepted; the kernel caps it at `net.core.somaxconn`." },
    { "mode",
      { .kind = CONF_CUSTOM, .parse = parse_unix_mode, .size = sizeof(int64_t), .pattern = "octal permissions" },
      CONF_AT(listener_conf, unix_mode),
      0,
      NULL,
      "Permissions of a unix socket." },
    { "tls",
      { .kind = CONF_STRUCT, .structure = &listener_tls_schema, .flags = CONF_POINTER },
      CONF_AT(listener_conf, tls),
      CONF_POINTER,
      NULL,
      "TLS. Left out, the listener is plain." },
    { "proxy_protocol",
      { .kind = CONF_STRUCT, .structure = &proxy_protocol_schema, .flags = CONF_POINTER },
      CONF_AT(listener_conf, proxy),
      CONF_POINTER,
      NULL,
      "Connections begin with a PROXY header. Left out, such a header is no HTTP and answered with 400." },
    { "policies",
      { .kind = CONF_LIST, .item = &policy_place_type, .max = 24 },
      CONF_AT(listener_conf, policies),
      0,
      NULL,
      "On every request that comes in here and meets a route: behind those of the gateway, before those of the "
      "route." },
    CONF_END,
};

static const struct conf_struct listener_schema = {
    .name = "listener",
    .size = sizeof(struct listener_conf),
    .fields = listener_fields,
    .shorthand = "address",
    .doc = "A socket that clients connect to.",
    .example = "listeners:\n  - address: 0.0.0.0:8080\n  - unix:/run/maitred.sock\n",
};
const struct conf_type listener_type = { .kind = CONF_STRUCT, .structure = &listener_schema };

/* ---- limits ---- */

static const struct conf_field limits_fields[] = {
    { "connections",
      { .kind = CONF_INT, .min = 1, .max = 10000000 },
      CONF_AT(limits_conf, connections),
      0,
      "100000",
      "Client connections in the whole process, or fewer where it may not open as many files (two for each). At the "
      "limit accepting pauses, the kernel's backlog holds the rest, and connections that are idle between requests are "
      "closed for them, the oldest first." },
    { "memory",
      { .kind = CONF_BYTES },
      CONF_AT(limits_conf, memory_bytes),
      0,
      "1GiB",
      "What clients and services together can make the process hold. Above 80 % connections end with their answer, "
      "above 92 % requests are answered with 503. `0` is no limit." },
    { "head",
      { .kind = CONF_BYTES, .min = 1024, .max = 1 << 20 },
      CONF_AT(limits_conf, head_bytes),
      0,
      "32KiB",
      "Size of a request's line and header section (431 above it), and of a service's (502)." },
    { "target",
      { .kind = CONF_BYTES, .min = 64, .max = 1 << 20 },
      CONF_AT(limits_conf, target_bytes),
      0,
      "8KiB",
      "Length of a request target, path and query (414 above it)." },
    { "fields",
      { .kind = CONF_INT, .min = 8, .max = FIELDS_MAX },
      CONF_AT(limits_conf, fields),
      0,
      "128",
      "Number of header fields in a head (431 above it, 502 for a service's)." },
    { "body",
      { .kind = CONF_BYTES },
      CONF_AT(limits_conf, body_bytes),
      0,
      "0",
      "Size of a request's body (413 above it). `0` is no limit: bodies are streamed and held only in part." },
    { "body_buffer",
      { .kind = CONF_BYTES, .min = 16384, .max = 16 << 20 },
      CONF_AT(limits_conf, body_buffer_bytes),
      0,
      "64KiB",
      "What is held of one body, each way, before reading from its sender pauses." },
    { "drain",
      { .kind = CONF_BYTES, .max = 64 << 20 },
      CONF_AT(limits_conf, drain_bytes),
      0,
      "256KiB",
      "How much of a request body that nobody wants is read and dropped to keep the connection; a longer one closes "
      "it." },
    { "requests_per_connection",
      { .kind = CONF_INT },
      CONF_AT(limits_conf, requests_per_connection),
      0,
      "0",
      "Requests on one client connection before it is closed with an answer. `0` is no limit." },
    { "streams",
      { .kind = CONF_INT, .min = 1, .max = 10000 },
      CONF_AT(limits_conf, streams),
      0,
      "100",
      "Requests at once on one HTTP/2 connection; further ones are refused, and clients send them later." },
    { "connection_buffer",
      { .kind = CONF_BYTES, .min = 65536, .max = 1 << 30 },
      CONF_AT(limits_conf, connection_buffer_bytes),
      0,
      "1MiB",
      "What is held of all bodies of one HTTP/2 connection together, each way, before reading from their senders "
      "pauses." },
    { "splice",
      { .kind = CONF_BYTES, .max = 1 << 30 },
      CONF_AT(limits_conf, splice_bytes),
      0,
      "16KiB",
      "Plaintext bodies of known length that no policy reads, with more than this left, never enter the process. `0` "
      "turns it off." },
    { "underscores_in_names",
      { .kind = CONF_BOOL },
      CONF_AT(limits_conf, underscores),
      0,
      "false",
      "Pass header fields with `_` in their name. They are dropped by default: many services read `X_Id` and `X-Id` as "
      "the same." },
    { "escaped_slashes",
      { .kind = CONF_BOOL },
      CONF_AT(limits_conf, escaped_slashes),
      0,
      "false",
      "Serve paths with `%2F` or `%5C`. They are refused by default (400): many services decode them before they take "
      "a path apart, and would see another path than the routes here. Dot segments behind them are refused all the "
      "same." },
    { "empty_segments",
      { .kind = CONF_BOOL },
      CONF_AT(limits_conf, empty_segments),
      0,
      "false",
      "Keep `//` in paths. By default runs of slashes become one, for the routes and for the services, many of which "
      "read `//admin` as `/admin`." },
    CONF_END,
};

static void validate_limits(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct limits_conf *limits = value;
    if (limits->target_bytes > limits->head_bytes)
        conf_error(conf, conf_get(node, "target"),
                   "the target's limit is above the head's (`head`), which holds it: raise `head` or lower this");
}

static const struct conf_struct limits_schema = {
    .name = "limits",
    .size = sizeof(struct limits_conf),
    .fields = limits_fields,
    .validate = validate_limits,
    .doc = "How much one client, and all of them, can make the gateway spend.",
};

/* ---- timeouts ---- */

static const struct conf_field timeouts_fields[] = {
    { "handshake",
      { .kind = CONF_DURATION, .min = 1, .max = 3600000 },
      CONF_AT(timeouts_conf, handshake_ms),
      0,
      "10s",
      "From a connection's beginning to the end of what comes in front of HTTP: the PROXY header and the TLS "
      "handshake together. The connection is then closed." },
    { "request_head",
      { .kind = CONF_DURATION, .min = 1, .max = 3600000 },
      CONF_AT(timeouts_conf, request_head_ms),
      0,
      "10s",
      "From a request's first byte to the end of its head (408)." },
    { "request_body_idle",
      { .kind = CONF_DURATION, .min = 1, .max = 86400000 },
      CONF_AT(timeouts_conf, body_idle_ms),
      0,
      "30s",
      "Without a byte of a request's body while we wait for one (408)." },
    { "send_idle",
      { .kind = CONF_DURATION, .min = 1, .max = 86400000 },
      CONF_AT(timeouts_conf, send_idle_ms),
      0,
      "60s",
      "Without a byte of the answer taken by a client that has some to take; the connection is then cut." },
    { "keep_alive",
      { .kind = CONF_DURATION, .min = 1, .max = 86400000 },
      CONF_AT(timeouts_conf, keep_alive_ms),
      0,
      "65s",
      "A client's connection without a request." },
    { "exchange",
      { .kind = CONF_DURATION, .max = 86400000 },
      CONF_AT(timeouts_conf, exchange_ms),
      0,
      "0",
      "A request and its answer altogether (504); a tunnel (WebSocket) is exempt. `0` is no limit." },
    { "tunnel_idle",
      { .kind = CONF_DURATION, .max = 86400000 },
      CONF_AT(timeouts_conf, tunnel_idle_ms),
      0,
      "10m",
      "A tunnel (WebSocket) in which no byte moves either way. A WebSocket is then closed with 1001, another tunnel "
      "cut. "
      "`0` is no limit." },
    { "tunnel_lifetime",
      { .kind = CONF_DURATION, .max = 2592000000 },
      CONF_AT(timeouts_conf, tunnel_lifetime_ms),
      0,
      "0",
      "A tunnel (WebSocket) altogether, whatever moves in it; then it ends as one that was idle. `0` is no limit." },
    { "linger",
      { .kind = CONF_DURATION, .min = 1, .max = 60000 },
      CONF_AT(timeouts_conf, linger_ms),
      0,
      "2s",
      "After our end of a connection, for the client to take the last answer and close its own." },
    { "drain",
      { .kind = CONF_DURATION, .max = 86400000 },
      CONF_AT(timeouts_conf, drain_ms),
      0,
      "30s",
      "On TERM and after an upgrade: for what is in progress to end, before it is cut." },
    CONF_END,
};
static const struct conf_struct timeouts_schema = {
    .name = "timeouts",
    .size = sizeof(struct timeouts_conf),
    .fields = timeouts_fields,
    .doc = "How long we wait for clients. The timeouts towards services stand with each upstream.",
};

/* ---- routes ---- */

static const struct conf_field route_fields[] = {
    { "name",
      { .kind = CONF_STRING },
      CONF_AT(route_conf, name),
      CONF_NONEMPTY,
      NULL,
      "For logs and metrics. Left out, it is the pattern." },
    { "match",
      { .kind = CONF_STRUCT, .structure = &match_schema, .flags = CONF_POINTER },
      CONF_AT(route_conf, match),
      CONF_POINTER,
      NULL,
      "What a request must look like. Left out, every request does." },
    { "policies",
      { .kind = CONF_LIST, .item = &policy_place_type, .max = 24 },
      CONF_AT(route_conf, policies),
      0,
      NULL,
      "Run in this order on the request, in reverse on the response; behind those of the gateway and of the "
      "listener." },
    { "handler",
      { .kind = CONF_UNION, .registry = &handler_registry },
      CONF_AT(route_conf, handler),
      CONF_INLINE | CONF_REQUIRED,
      NULL,
      "Who answers." },
    { "body_limit",
      { .kind = CONF_BYTES },
      CONF_AT(route_conf, body_bytes),
      0,
      NULL,
      "Size of a request's body on this route (413 above it), in place of `limits.body`." },
    { "timeout",
      { .kind = CONF_DURATION, .max = 86400000 },
      CONF_AT(route_conf, timeout_ms),
      0,
      NULL,
      "A request and its answer altogether on this route (504), in place of `timeouts.exchange`." },
    { "tunnel_idle",
      { .kind = CONF_DURATION, .max = 86400000 },
      CONF_AT(route_conf, tunnel_idle_ms),
      0,
      NULL,
      "A tunnel (WebSocket) of this route in which no byte moves, in place of `timeouts.tunnel_idle`." },
    { "tunnel_lifetime",
      { .kind = CONF_DURATION, .max = 2592000000 },
      CONF_AT(route_conf, tunnel_lifetime_ms),
      0,
      NULL,
      "A tunnel (WebSocket) of this route altogether, in place of `timeouts.tunnel_lifetime`." },
    { "grpc",
      { .kind = CONF_STRUCT, .structure = &grpc_schema },
      CONF_AT(route_conf, grpc),
      0,
      NULL,
      "How calls of gRPC are treated on this route." },
    CONF_END,
};
static const struct conf_struct route_schema = {
    .name = "route",
    .size = sizeof(struct route_conf),
    .fields = route_fields,
    .doc = "Which requests, through which policies, to which handler.",
    .example =
        "routes:\n  - match: { path: \"/v2/users/{id}\", methods: [GET] }\n    policies:\n"
        "      - headers: { response: { remove: [Server] } }\n    proxy: { upstream: users, path: \"/users/{id}\" }\n",
};
const struct conf_type route_type = { .kind = CONF_STRUCT, .structure = &route_schema };

/* ---- the rest ---- */

static const struct conf_field admin_fields[] = {
    { "address", ADDRESS_TYPE, CONF_AT(admin_conf, address), CONF_REQUIRED, NULL,
      "A loopback address or a unix socket." },
    CONF_END,
};

static void validate_admin(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct admin_conf *admin = value;
    if (admin->address.family != AF_UNIX && !address_is_loopback(&admin->address))
        conf_error(conf, conf_get(node, "address") ? conf_get(node, "address") : node,
                   "the admin listener is for this machine alone: use a loopback address such as `127.0.0.1:9900`, or "
                   "`unix:PATH`");
}

static const struct conf_struct admin_schema = {
    .name = "admin",
    .size = sizeof(struct admin_conf),
    .fields = admin_fields,
    .shorthand = "address",
    .validate = validate_admin,
    .doc = "Serves `/metrics` (Prometheus), `/healthz` and `/readyz`.",
    .example = "admin: 127.0.0.1:9900\n",
};

/* Checked here, so that a wrong one is a mistake with a place; the resolver takes the text. */
static int parse_name_server(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    struct address address;
    const char *why = NULL;
    bool fine =
        node->kind == NODE_SCALAR && (address_parse_ip(node->text, &address) == 0 ||
                                      (address_parse(node->text, &address, &why) == 0 && address.family != AF_UNIX));
    if (!fine) {
        conf_error(conf, node, "expected a name server such as `10.0.0.53` or `127.0.0.1:5353`");
        return -1;
    }
    *(const char **)ret_value = node->text.at; /* terminated, and the conf's */
    return 0;
}

static const struct conf_type server_text = {
    .kind = CONF_CUSTOM,
    .parse = parse_name_server,
    .size = sizeof(const char *),
    .pattern = "IP or IP:PORT",
};
static const struct conf_field resolver_fields[] = {
    { "servers",
      { .kind = CONF_LIST, .item = &server_text, .max = 8 },
      CONF_AT(resolver_conf, servers),
      CONF_LONE,
      NULL,
      "Name servers, `IP` or `IP:PORT`. Left out, those of `/etc/resolv.conf`." },
    CONF_END,
};
static const struct conf_struct resolver_schema = {
    .name = "resolver",
    .size = sizeof(struct resolver_conf),
    .fields = resolver_fields,
    .doc = "How the names of targets are resolved. They are resolved again as their TTL says, and a name that stops "
           "resolving keeps its last addresses.",
};

static const struct conf_word log_levels[] = {
    { "debug", LOG_LEVEL_DEBUG, NULL },     { "info", LOG_LEVEL_INFO, NULL },   { "notice", LOG_LEVEL_NOTICE, NULL },
    { "warning", LOG_LEVEL_WARNING, NULL }, { "error", LOG_LEVEL_ERROR, NULL }, { NULL },
};

const struct conf_type upstream_type = { .kind = CONF_STRUCT, .structure = &upstream_schema };

static int parse_workers(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    int64_t count = 0;
    bool is_auto = node->kind == NODE_SCALAR && slice_eq(node->text, SLICE("auto"));
    if (!is_auto && (node->kind != NODE_SCALAR || !slice_to_u63(node->text, &count) || count < 1 || count > 256)) {
        conf_error(conf, node, "expected `auto` or a number from 1 to 256");
        return -1;
    }
    *(int64_t *)ret_value = count;
    return 0;
}

static const struct conf_field settings_fields[] = {
    { "workers",
      { .kind = CONF_CUSTOM, .parse = parse_workers, .size = sizeof(int64_t), .pattern = "`auto` or 1 to 256" },
      CONF_AT(settings, workers),
      0,
      "auto",
      "Worker threads. `auto` is one a core. A change takes effect with a restart or an upgrade." },
    { "user",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(settings, user),
      0,
      "nobody",
      "Whom the process becomes when it was started as root, once its sockets and logs are open." },
    { "listeners",
      { .kind = CONF_LIST, .item = &listener_type, .max = 64 },
      CONF_AT(settings, listeners),
      CONF_REQUIRED | CONF_NONEMPTY | CONF_LONE,
      NULL,
      "Where clients connect." },
    { "upstreams",
      { .kind = CONF_MAP, .item = &upstream_type, .names = "upstream", .flags = CONF_DECLARES },
      CONF_AT(settings, upstreams),
      CONF_DECLARES,
      NULL,
      "Groups of targets, by name." },
    { "policies",
      { .kind = CONF_LIST, .item = &policy_place_type, .max = 24 },
      CONF_AT(settings, policies),
      0,
      NULL,
      "On every request that meets a route, before those of its listener and its route." },
    { "policy_sets",
      { .kind = CONF_MAP, .item = &policy_set_type, .names = "policy_set", .flags = CONF_DECLARES },
      CONF_AT(settings, policy_sets),
      CONF_DECLARES,
      NULL,
      "Lists of policies, by name, for `use` in other lists." },
    { "routes",
      { .kind = CONF_LIST, .item = &route_type, .max = 100000 },
      CONF_AT(settings, routes),
      CONF_REQUIRED | CONF_NONEMPTY,
      NULL,
      "Which requests go where. The most specific match wins, whatever the order." },
    { "consumers",
      { .kind = CONF_MAP, .item = &consumer_type, .max = CONSUMERS_MAX },
      CONF_AT(settings, consumers),
      0,
      NULL,
      "Who calls, by name, and what they prove it with: for `api_key`, `basic` and `client_certificate`." },
    { "revoked",
      { .kind = CONF_STRUCT, .structure = &revoked_schema },
      CONF_AT(settings, revoked),
      0,
      NULL,
      "Credentials that are refused although they are good." },
    { "admin",
      { .kind = CONF_STRUCT, .structure = &admin_schema, .flags = CONF_POINTER },
      CONF_AT(settings, admin),
      CONF_POINTER,
      NULL,
      "The admin listener. Left out, there is none." },
    { "access_log",
      { .kind = CONF_STRUCT, .structure = &access_log_schema },
      CONF_AT(settings, access_log),
      0,
      NULL,
      "One line an exchange." },
    { "log_level",
      { .kind = CONF_ENUM, .words = log_levels },
      CONF_AT(settings, log_level),
      0,
      "notice",
      "What the error log (standard error) holds: this level and above." },
    { "session_tickets",
      { .kind = CONF_STRUCT, .structure = &session_tickets_schema },
      CONF_AT(settings, session_tickets),
      0,
      NULL,
      "Keys for resuming TLS sessions." },
    { "limits",
      { .kind = CONF_STRUCT, .structure = &limits_schema },
      CONF_AT(settings, limits),
      0,
      NULL,
      "How much may be spent." },
    { "timeouts",
      { .kind = CONF_STRUCT, .structure = &timeouts_schema },
      CONF_AT(settings, timeouts),
      0,
      NULL,
      "How long clients are waited for." },
    { "forwarding",
      { .kind = CONF_STRUCT, .structure = &forwarding_schema },
      CONF_AT(settings, forwarding),
      0,
      NULL,
      "What services are told of the client." },
    { "zone",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(settings, zone),
      0,
      NULL,
      "Where this gateway stands, as in the targets' `zone`: those of the same zone are preferred. `${ZONE}` takes it "
      "from the environment." },
    { "resolver",
      { .kind = CONF_STRUCT, .structure = &resolver_schema },
      CONF_AT(settings, resolver),
      0,
      NULL,
      "How names are resolved." },
    CONF_END,
};

static void validate_settings(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct settings *settings = value;
    const struct listener_conf *listeners = settings->listeners.items;
    const struct conf_node *list = conf_get(node, "listeners");
    const struct conf_node *item = list && list->kind == NODE_LIST ? list->first : list;
    for (size_t i = 0; i < settings->listeners.count; i++, item = item ? item->next : NULL)
        for (size_t j = 0; j < i; j++)
            if (address_eq(&listeners[i].address, &listeners[j].address))
                conf_error(conf, item ? item : list, "this address is listened on already by listeners[%zu]", j);
    for (size_t i = 0; settings->admin && i < settings->listeners.count; i++)
        if (address_eq(&listeners[i].address, &settings->admin->address))
            conf_error(conf, conf_get(node, "admin"), "this address is listened on already by listeners[%zu]", i);
}

const struct conf_struct settings_schema = {
    .name = "maitred",
    .size = sizeof(struct settings),
    .fields = settings_fields,
    .validate = validate_settings,
    .doc = "The whole configuration: YAML, of which JSON is a part.",
    .example =
        "listeners: [ 0.0.0.0:8080 ]\nupstreams:\n  app: { targets: [ 10.0.0.1:9001, 10.0.0.2:9001 ] }\nroutes:\n"
        "  - match: { prefix: / }\n    proxy: app\n",
};

static int load_tree(struct conf *conf, const struct conf_node *root, struct settings *ret_settings)
{
    if (!root)
        return -1;
    int loaded = conf_load(conf, root, &settings_schema, ret_settings);
    int resolved = conf_resolve(conf);
    for (size_t i = 0; loaded == 0 && resolved == 0 && i < ret_settings->upstreams.count; i++)
        fallback_check(conf, conf_entry_at(&ret_settings->upstreams, &upstream_type, i));
    resolved = conf_error_count(conf) > 0 ? -1 : resolved;
    return loaded < 0 || resolved < 0 ? -1 : 0;
}

int settings_load(struct conf *conf, const char *path, struct settings *ret_settings, const struct conf_node **ret_root)
{
    *ret_root = conf_parse_file(conf, path);
    return load_tree(conf, *ret_root, ret_settings);
}

int settings_load_text(struct conf *conf, const char *name, struct slice text, struct settings *ret_settings,
                       const struct conf_node **ret_root)
{
    *ret_root = conf_parse_text(conf, name, text);
    return load_tree(conf, *ret_root, ret_settings);
}
