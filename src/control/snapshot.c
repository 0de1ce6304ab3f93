/*
 * Building a snapshot: upstreams, then plans that refer to them, then the router over the plans.  Every mistake in
 * every part is reported; one is enough to keep the snapshot in force.
 */
#include "control/snapshot.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "control/plans.h"
#include "control/secured.h"
#include "exchange/consumers.h"
#include "exchange/plan.h"
#include "route/router.h"
#include "upstream/fallback.h"
#include "upstream/upstream.h"

enum { TREES_MAX = 8 }; /* configurations that plans taken over may keep in memory */

/* ---- finding what has not changed ---- */

static int compare_prints(const void *a, const void *b)
{
    uint64_t x = ((const struct printed *)a)->print, y = ((const struct printed *)b)->print;
    return x < y ? -1 : x > y;
}

/* A sorted copy to look up in; the caller frees it. */
static struct printed *sorted_copy(const struct printed *items, size_t count)
{
    struct printed *copy = mem_must((count + 1) * sizeof(*copy));
    if (count)
        memcpy(copy, items, count * sizeof(*copy));
    qsort(copy, count, sizeof(*copy), compare_prints);
    return copy;
}

static void *find_print(const struct printed *sorted, size_t count, uint64_t print)
{
    const struct printed key = { print, NULL };
    const struct printed *found = bsearch(&key, sorted, count, sizeof(key), compare_prints);
    return found ? found->object : NULL;
}

/* ---- upstreams ---- */

static struct upstream_conf *upstream_at(const struct snapshot *s, size_t index, const char **ret_name,
                                         const struct conf_node **ret_node)
{
    struct conf_entry *entry = conf_entry_at(&s->settings.upstreams, &upstream_type, index);
    *ret_name = entry->key;
    *ret_node = entry->node;
    return (struct upstream_conf *)entry->value;
}

/* What is built anew when it or the limits on its answers have changed; else the one in force goes on.  It is loaded
 * from a copy of its own branch: it may outlive many reloads, and would keep the whole of its first tree in memory. */
static struct upstream *make_upstream(const struct snapshot *s, const char *name, const struct conf_node *node,
                                      const struct snapshot_context *context)
{
    const struct conf_node *branch;
    struct conf *own = conf_branch(node, &branch);
    struct upstream_conf *conf = own ? arena_zalloc(conf_arena(own), sizeof(*conf)) : NULL;
    struct upstream *upstream = NULL;
    if (conf && conf_load(own, branch, &upstream_schema, conf) == 0) {
        conf->own_zone = s->settings.zone ? arena_printf(conf_arena(own), "%s", s->settings.zone).at : NULL;
        upstream = upstream_new(name, conf, own, context->cells);
    }
    if (upstream)
        upstream_limit(upstream, &s->server.limits);
    conf_free(own);
    return upstream;
}

static int build_upstreams(struct snapshot *s, const struct conf_node *root, const struct snapshot_context *context)
{
    const struct snapshot *previous = context->previous;
    size_t old_count = previous ? previous->upstream_count : 0;
    struct printed *old = sorted_copy(previous ? previous->upstreams : NULL, old_count);
    s->upstreams = mem_must((s->settings.upstreams.count + 1) * sizeof(*s->upstreams));
    uint64_t limits = fingerprint_node(conf_get(root, "limits"));
    limits = hash_mix(limits + fingerprint_node(conf_get(root, "zone")));
    int rc = 0;
    for (size_t i = 0; i < s->settings.upstreams.count; i++) {
        const char *name;
        const struct conf_node *node;
        struct upstream_conf *conf = upstream_at(s, i, &name, &node);
        uint64_t print = hash_mix(fingerprint_node(node) + limits) ^ hash_mix(hash_bytes(slice_from(name)));
        struct upstream *same = find_print(old, old_count, print);
        struct upstream *upstream = same ? upstream_hold(same) : make_upstream(s, name, node, context);
        if (!upstream) {
            if (conf_error_count(s->conf) == 0) /* a mistake that was told is why */
                conf_error(s->conf, node, "upstream `%s` could not be built", name);
            rc = -1;
            continue;
        }
        conf->built = upstream;
        s->upstreams[s->upstream_count++] = (struct printed){ print, upstream };
        if (secured_build_upstream(s, s->upstream_count - 1, node, context) < 0)
            rc = -1;
    }
    mem_free(old);
    return rc;
}

/* ---- plans ---- */

/* Of the upstream with that name and of those that serve in its place. A loop was refused. */
static uint64_t mix_upstream(const struct snapshot *s, struct slice name, uint64_t print, unsigned depth)
{
    for (size_t i = 0; i < s->upstream_count; i++) {
        const struct upstream *upstream = s->upstreams[i].object;
        const struct fallback_conf *fallback = upstream_settings(upstream)->fallback;
        if (!slice_eq(name, slice_from(upstream_name(upstream))))
            continue;
        print = hash_mix(print + s->upstreams[i].print);
        if (fallback && fallback->upstream.name && depth <= FALLBACKS_MAX)
            print = mix_upstream(s, slice_from(fallback->upstream.name), print, depth + 1);
    }
    return print;
}

/* What a route refers to by name changes it as well: every scalar that is the name of an upstream or of a set of
 * policies brings its print. A set names no set, so this ends. */
static uint64_t mix_references(const struct snapshot *s, const struct conf_node *node, uint64_t print)
{
    if (node->kind != NODE_SCALAR) {
        for (const struct conf_node *child = node->first; child; child = child->next)
            print = mix_references(s, child, print);
        return print;
    }
    print = mix_upstream(s, node->text, print, 0);
    for (size_t i = 0; i < s->settings.policy_sets.count; i++) {
        const struct conf_entry *set = conf_entry_at(&s->settings.policy_sets, &policy_set_type, i);
        if (slice_eq(node->text, slice_from(set->key)))
            print = hash_mix(print + snapshot_print(s, set->node));
    }
    return print;
}

uint64_t snapshot_print(const struct snapshot *snapshot, const struct conf_node *node)
{
    return mix_references(snapshot, node, fingerprint_node(node));
}

static uint64_t shared_print(const struct snapshot *s, const struct conf_node *root)
{
    const struct conf_node *policies = conf_get(root, "policies");
    uint64_t print = policies ? snapshot_print(s, policies) : 0;
    print = hash_mix(print + fingerprint_node(conf_get(root, "forwarding")));
    print = hash_mix(print + fingerprint_node(conf_get(root, "limits")));
    return hash_mix(print + fingerprint_node(conf_get(root, "timeouts")));
}

/*
 * A plan keeps the whole tree alive that it was made from.  Reloads that change one route of many each would pile trees
 * up: past TREES_MAX of them, the plans of the tree with the fewest are made anew, from today's.
 */
static const struct conf *tree_to_leave(const struct printed *plans, size_t count)
{
    struct {
        const struct conf *conf;
        size_t plans;
    } trees[TREES_MAX + 1] = { { NULL, 0 } };
    size_t distinct = 0, fewest = 0;
    for (size_t i = 0; i < count; i++) {
        const struct plan *plan = plans[i].object;
        size_t at = 0;
        while (at < distinct && trees[at].conf != plan->conf)
            at++;
        if (at > TREES_MAX)
            continue;
        trees[at].conf = plan->conf;
        trees[at].plans++;
        distinct = MAX(distinct, at + 1);
    }
    for (size_t i = 1; i < distinct; i++)
        if (trees[i].plans < trees[fewest].plans)
            fewest = i;
    return distinct > TREES_MAX ? trees[fewest].conf : NULL;
}

/* What plans are taken over from. */
struct old_plans {
    struct printed *v; /* sorted */
    size_t count;
    const struct conf *left; /* those of this tree are made anew */
};

/* The plans of all routes for a listener with policies of its own, or (NULL) for all others. */
static int build_plans(struct snapshot *s, const struct conf_node *root, const struct listener_conf *listener,
                       uint64_t shared, const struct old_plans *old, const struct snapshot_context *context)
{
    const struct conf_node *list = conf_get(root, "routes");
    const struct conf_node *node = list ? list->first : NULL;
    const struct route_conf *routes = s->settings.routes.items;
    int rc = 0;
    for (size_t i = 0; i < s->settings.routes.count; i++, node = node ? node->next : NULL) {
        uint64_t print = node ? mix_references(s, node, hash_mix(shared + fingerprint_node(node))) : 0;
        struct plan *plan = node ? find_print(old->v, old->count, print) : NULL;
        if (plan && plan->conf != old->left)
            plan_hold(plan);
        else
            plan = plan_build(s, listener, &routes[i], node, context);
        if (!plan)
            rc = -1;
        s->plans[s->plan_count++] = (struct printed){ print, plan };
    }
    return rc;
}

/* Over the plans from `first` on. */
static struct router *build_router(const struct snapshot *s, const struct conf_node *root, size_t first)
{
    static const struct match_conf everything;
    const struct conf_node *list = conf_get(root, "routes");
    const struct conf_node *node = list ? list->first : NULL;
    const struct route_conf *routes = s->settings.routes.items;
    size_t count = s->settings.routes.count;
    struct route_entry *entries = mem_must((count + 1) * sizeof(*entries));
    for (size_t i = 0; i < count; i++, node = node ? node->next : NULL)
        entries[i] =
            (struct route_entry){ routes[i].match ? routes[i].match : &everything, node, s->plans[first + i].object };
    struct router *router = router_build(s->conf, entries, count);
    mem_free(entries);
    return router;
}

/* Listeners with policies of their own have plans and a router of their own; the routes' mistakes are told once. */
static int build_listeners(struct snapshot *s, const struct conf_node *root, uint64_t shared,
                           const struct old_plans *old, const struct snapshot_context *context)
{
    const struct listener_conf *listeners = s->settings.listeners.items;
    const struct conf_node *list = conf_get(root, "listeners");
    const struct conf_node *node = list && list->kind == NODE_LIST ? list->first : list;
    for (size_t i = 0; i < s->settings.listeners.count; i++, node = node ? node->next : NULL) {
        if (listeners[i].policies.count == 0)
            continue;
        size_t first = s->plan_count;
        uint64_t print = hash_mix(shared + snapshot_print(s, node));
        if (build_plans(s, root, &listeners[i], print, old, context) < 0)
            return -1;
        s->routers[i] = build_router(s, root, first);
        if (!s->routers[i])
            return -1;
    }
    return 0;
}

static size_t count_tables(const struct snapshot *s)
{
    const struct listener_conf *listeners = s->settings.listeners.items;
    size_t tables = 1;
    for (size_t i = 0; i < s->settings.listeners.count; i++)
        tables += listeners[i].policies.count > 0;
    return tables;
}

static int build_routes(struct snapshot *s, const struct conf_node *root, const struct snapshot_context *context)
{
    const struct snapshot *previous = context->previous;
    struct old_plans old = { .count = previous ? previous->plan_count : 0 };
    old.v = sorted_copy(previous ? previous->plans : NULL, old.count);
    old.left = tree_to_leave(old.v, old.count);
    uint64_t shared = shared_print(s, root);
    s->plans = mem_must((count_tables(s) * s->settings.routes.count + 1) * sizeof(*s->plans));
    s->routers = mem_must((s->settings.listeners.count + 1) * sizeof(*s->routers));
    s->instances.previous = previous ? &previous->instances : NULL;
    int rc = build_plans(s, root, NULL, shared, &old, context);
    s->router = build_router(s, root, 0); /* with plans missing too: the routes' own mistakes are told at once */
    if (!s->router)
        rc = -1;
    if (rc == 0)
        rc = build_listeners(s, root, shared, &old, context);
    s->instances.previous = NULL;
    mem_free(old.v);
    return rc;
}

/* ---- the whole ---- */

/* Plans and connections outlive the snapshot that made them, but not its conf, which they hold. */
static const struct forwarding_conf *keep_forwarding(struct conf *conf, const struct forwarding_conf *forwarding)
{
    struct forwarding_conf *kept = arena_alloc(conf_arena(conf), sizeof(*kept));
    ENSURE(kept != NULL); /* control thread, a few bytes of a tree that was just parsed */
    *kept = *forwarding;
    return kept;
}

static void fill_server_settings(struct snapshot *s)
{
    const struct limits_conf *l = &s->settings.limits;
    const struct timeouts_conf *t = &s->settings.timeouts;
    s->server = (struct server_settings){
        .limits = {
            .head_bytes_max = (uint32_t)l->head_bytes,
            .target_bytes_max = (uint32_t)l->target_bytes,
            .fields_max = (uint16_t)l->fields,
            .body_room_bytes = (uint32_t)l->body_buffer_bytes,
            .drain_bytes_max = (uint32_t)l->drain_bytes,
            .splice_bytes_min = (uint32_t)l->splice_bytes,
            .requests_max = (uint32_t)MIN(l->requests_per_connection, UINT32_MAX),
            .handshake_timeout_ms = (uint32_t)t->handshake_ms,
            .head_timeout_ms = (uint32_t)t->request_head_ms,
            .keep_alive_ms = (uint32_t)t->keep_alive_ms,
            .body_idle_ms = (uint32_t)t->body_idle_ms,
            .send_idle_ms = (uint32_t)t->send_idle_ms,
            .linger_ms = (uint32_t)t->linger_ms,
            .streams_max = (uint32_t)l->streams,
            .connection_bytes_max = (uint32_t)l->connection_buffer_bytes,
            .underscores_ok = l->underscores,
            .escaped_slashes_ok = l->escaped_slashes,
            .empty_segments_ok = l->empty_segments,
        },
        .forwarding = keep_forwarding(s->conf, &s->settings.forwarding),
        .conf = s->conf,
    };
}

static void fill_proxy_rules(struct server_settings *server, const struct listener_conf *listener)
{
    const struct proxy_conf *proxy = listener->proxy;
    if (proxy)
        server->proxy = (struct proxy_rules){ proxy->from.items, (uint32_t)proxy->from.count, proxy->required };
}

static void fill_servers(struct snapshot *s)
{
    size_t count = s->settings.listeners.count;
    s->servers = mem_must((count + 1) * sizeof(*s->servers));
    for (size_t i = 0; i < count; i++) {
        s->servers[i] = s->server;
        if (s->routers[i])
            s->servers[i].router = s->routers[i];
        s->servers[i].secure = s->secured_listeners[i].material != NULL;
        fill_proxy_rules(&s->servers[i], &((const struct listener_conf *)s->settings.listeners.items)[i]);
    }
}

const struct server_settings *snapshot_server(const struct snapshot *snapshot, const struct address *address)
{
    const struct listener_conf *listeners = snapshot->settings.listeners.items;
    for (size_t i = 0; i < snapshot->settings.listeners.count; i++)
        if (address_eq(&listeners[i].address, address))
            return &snapshot->servers[i];
    return NULL;
}

struct snapshot *snapshot_build(struct conf *conf, const struct conf_node *root, const struct settings *settings,
                                const struct snapshot_context *context)
{
    static uint64_t generations;
    struct snapshot *s = mem_must(sizeof(*s));
    s->refs = 1;
    s->conf = conf_hold(conf);
    s->settings = *settings;
    fill_server_settings(s);
    s->consumers = consumers_build(conf, &settings->consumers, &settings->revoked);
    int rc = s->consumers ? 0 : -1;
    if (secured_build_listeners(s, root, context) < 0)
        rc = -1;
    if (build_upstreams(s, root, context) < 0)
        rc = -1;
    if (build_routes(s, root, context) < 0)
        rc = -1;
    if (rc < 0) {
        snapshot_drop(s);
        return NULL;
    }
    s->generation = ++generations;
    s->server.router = s->router;
    fill_servers(s);
    return s;
}

struct snapshot *snapshot_hold(struct snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_drop(struct snapshot *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (s->router)
        router_drop(s->router);
    for (size_t i = 0; s->routers && i < s->settings.listeners.count; i++)
        if (s->routers[i])
            router_drop(s->routers[i]);
    for (size_t i = 0; i < s->plan_count; i++)
        if (s->plans[i].object)
            plan_drop(s->plans[i].object);
    instances_done(&s->instances);
    consumers_drop(s->consumers);
    secured_drop(s);
    for (size_t i = 0; i < s->upstream_count; i++)
        upstream_drop(s->upstreams[i].object);
    mem_free(s->plans);
    mem_free(s->routers);
    mem_free(s->upstreams);
    mem_free(s->servers);
    conf_free(s->conf);
    mem_free(s);
}
