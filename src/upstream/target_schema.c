/*
 * The configuration of a target: where it is, its weight, its place among the others, and the checks over a list of
 * them.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "upstream/state.h"
#include "upstream/targets.h"

enum { HOST_BYTES_MAX = 253, LABEL_BYTES_MAX = 63, REQUESTS_MAX = 1000000000 };

static int parse_target(struct conf *conf, const struct conf_node *node, void *ret_value);
static void check_target(struct conf *conf, const struct conf_node *node, void *value);

/* The text stands for address, host and port together. */
static const struct conf_field target_fields[] = {
    { .name = "address",
      .type = { .kind = CONF_CUSTOM,
                .parse = parse_target,
                .size = offsetof(struct target_conf, weight),
                .pattern = "HOST:PORT" },
      .offset = CONF_AT(target_conf, address),
      .doc = "Where the service listens: `10.0.0.1:9001`, `[2001:db8::1]:9001`, `users.internal:9001` or "
             "`unix:/run/users.sock`. A name stands for all addresses that it resolves to, each with the weight "
             "given here, and is resolved again when its answer expires." },
    { .name = "srv",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(target_conf, srv),
      .doc = "Instead of `address`: a name with SRV records, as `_http._tcp.users.internal`. Hosts, ports, priorities "
             "and weights come from them, and are asked for again when they expire." },
    { .name = "file",
      .type = { .kind = CONF_CUSTOM, .parse = conf_parse_path, .size = sizeof(const char *), .pattern = "PATH" },
      .offset = CONF_AT(target_conf, file),
      .doc = "Instead of `address`: a file that lists targets as they stand here, in YAML or JSON, relative to the "
             "configuration's folder. It is followed: a change counts at once, one with a mistake changes nothing." },
    { .name = "weight",
      .type = { .kind = CONF_INT, .max = WEIGHT_MAX },
      .offset = CONF_AT(target_conf, weight),
      .default_text = "1",
      .doc = "Its share of the requests, relative to the weights of the others. With 0 it drains: requests in "
             "progress and sessions end, and it gets no new ones." },
    { .name = "priority",
      .type = { .kind = CONF_INT, .max = PRIORITY_MAX },
      .offset = CONF_AT(target_conf, priority),
      .default_text = "0",
      .doc = "Targets of priority 0 serve first; those of the next one take over what is too much for the available "
             "ones before them." },
    { .name = "backup",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(target_conf, backup),
      .default_text = "false",
      .doc = "It comes behind all other priorities." },
    { .name = "zone",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(target_conf, zone),
      .doc = "Where it stands. A gateway with a `zone` of its own prefers targets of the same; one without a zone "
             "counts as near." },
    { .name = "max_requests",
      .type = { .kind = CONF_INT, .max = REQUESTS_MAX },
      .offset = CONF_AT(target_conf, max_requests),
      .default_text = "0",
      .doc = "Requests in progress on it at once, instead of the upstream's `max_requests_per_target`. 0 takes that." },
    { .name = "max_connections",
      .type = { .kind = CONF_INT, .max = REQUESTS_MAX },
      .offset = CONF_AT(target_conf, max_connections),
      .default_text = "0",
      .doc = "Connections to it at once, instead of the upstream's `max_connections_per_target`. 0 takes that." },
    CONF_END,
};

const struct conf_struct target_schema = {
    .name = "target",
    .size = sizeof(struct target_conf),
    .fields = target_fields,
    .doc = "One address, or one name, of a service.",
    .shorthand = "address",
    .validate = check_target,
};

const struct conf_type target_type = { .kind = CONF_STRUCT, .structure = &target_schema };

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

struct placed_target {
    const struct target_conf *target;
    const struct conf_node *node;
    size_t index;
};

/* What is not given as an address or a name sorts behind those. */
static int compare_sources(const struct target_conf *a, const struct target_conf *b)
{
    const char *x = a->srv ? a->srv : a->file, *y = b->srv ? b->srv : b->file;
    if (!x || !y)
        return (x != NULL) - (y != NULL);
    return (a->srv != NULL) != (b->srv != NULL) ? (a->srv != NULL) - (b->srv != NULL) : strcmp(x, y);
}

static int compare_targets(const struct target_conf *a, const struct target_conf *b)
{
    if (a->srv || a->file || b->srv || b->file)
        return compare_sources(a, b);
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

static void check_target(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct target_conf *target = value;
    bool given = target->address.family != AF_UNSPEC || target->host.len > 0;
    const struct conf_node *weight = conf_get(node, "weight");
    if (given + (target->srv != NULL) + (target->file != NULL) != 1)
        conf_error(conf, node, "expected one of `address`, `srv` and `file`");
    if (target->srv && !upstream_is_host_name(slice_from(target->srv)))
        conf_error(conf, conf_get(node, "srv"), "`%s` is no name that could have SRV records", target->srv);
    if (!given && (target->srv || target->file) && weight && weight->kind != NODE_NULL)
        conf_error(conf, weight, "the weights come from %s", target->srv ? "the records" : "the file");
    if (target->backup && target->priority > 0)
        conf_error(conf, conf_get(node, "priority"),
                   "a `backup` comes behind all priorities: leave one of the two out");
}

void target_check_all(struct conf *conf, const struct conf_node *list, const struct conf_list *targets)
{
    const struct target_conf *items = targets->items;
    struct placed_target *placed = mem_alloc((targets->count + 1) * sizeof *placed);
    if (!placed) {
        conf_error(conf, list, "out of memory");
        return;
    }
    bool any_weight = false, any_first = false;
    const struct conf_node *item = list && list->kind == NODE_LIST ? list->first : list;
    for (size_t i = 0; i < targets->count; i++) {
        placed[i] = (struct placed_target){ .target = &items[i], .node = item, .index = i };
        any_weight |= items[i].weight > 0;
        any_first |= !items[i].backup;
        item = item ? item->next : NULL;
    }
    report_doubles(conf, placed, targets->count);
    mem_free(placed);
    if (targets->count > 0 && !any_weight)
        conf_warn(conf, list, "every target has weight 0, so none will take a request");
    if (targets->count > 0 && !any_first)
        conf_warn(conf, list, "every target is a `backup`: there is nothing that they could stand in for");
}
