/*
 * Which routes can never match?  A route is unreachable under a host when routes that are tried before it, whose
 * conditions are among its own, take all of its methods.  Tried before it are: what stands earlier in its run; for a
 * prefix, the exact and the remainder route at the same node when both cover it; for a regex, the same regex earlier,
 * and a catch-all prefix or remainder at the root.
 *
 * This is sound (what is warned of is truly dead) and complete for what people write by mistake; a regex that covers
 * another is not seen.
 */
#include "route/table.h"

#include "base/sys.h"
#include "conf/conf.h"
#include "route/condition.h"
#include "route/router.h"

struct cover {
    uint64_t methods;
    const struct route *by; /* one of those that cover */
};

static bool has_condition(const struct route *route, const struct condition *condition)
{
    for (unsigned i = 0; i < route->condition_count; i++)
        if (condition_same(&route->conditions[i], condition))
            return true;
    return false;
}

/* Does `a` hold whenever `b` holds, methods apart? */
static bool conditions_within(const struct route *a, const struct route *b)
{
    if (a->condition_count > b->condition_count)
        return false;
    for (unsigned i = 0; i < a->condition_count; i++)
        if (!has_condition(b, &a->conditions[i]))
            return false;
    return true;
}

/* Adds what the routes of the run take of `route`, up to `route` itself when it is in it. */
static void cover_by_run(const struct router *router, uint32_t run, const struct route *route, struct cover *cover)
{
    if (run == 0)
        return;
    for (const struct route *r = &router->routes[run]; r != route; r++) {
        if (conditions_within(r, route)) {
            cover->by = cover->methods & r->methods & route->methods ? cover->by : r;
            cover->methods |= r->methods;
        }
        if (!r->more)
            return;
    }
}

static bool covers_all(const struct cover *cover, const struct route *route)
{
    return (route->methods & ~cover->methods) == 0;
}

/* Exact and remainder routes of the node together take what the prefix would. */
static void cover_prefix(const struct router *router, const struct trie_node *node, bool root,
                         const struct route *route, struct cover *cover)
{
    struct cover exact = { root ? METHODS_ALL : 0, NULL }, rest = { 0, NULL };
    cover_by_run(router, node->routes[TRIE_EXACT], route, &exact);
    cover_by_run(router, node->routes[TRIE_REST], route, &rest);
    cover->methods |= exact.methods & rest.methods;
    cover->by = cover->by ? cover->by : rest.by;
}

struct audit {
    const struct router *router;
    uint32_t *alive;         /* by entry: placements that can match */
    const struct route **by; /* by entry: what covers it */
};

static void judge(struct audit *audit, const struct route *route, const struct cover *cover)
{
    if (covers_all(cover, route))
        audit->by[route->entry] = cover->by;
    else
        audit->alive[route->entry]++;
}

static void audit_run(struct audit *audit, uint32_t run)
{
    if (run == 0)
        return;
    for (const struct route *r = &audit->router->routes[run];; r++) {
        struct cover cover = { 0, NULL };
        cover_by_run(audit->router, run, r, &cover);
        judge(audit, r, &cover);
        if (!r->more)
            return;
    }
}

static void audit_prefixes(struct audit *audit, const struct trie_node *node)
{
    uint32_t run = node->routes[TRIE_PREFIX];
    if (run == 0)
        return;
    for (const struct route *r = &audit->router->routes[run];; r++) {
        struct cover cover = { 0, NULL };
        cover_by_run(audit->router, run, r, &cover);
        cover_prefix(audit->router, node, node->parent == NODE_NONE, r, &cover);
        judge(audit, r, &cover);
        if (!r->more)
            return;
    }
}

static void audit_regexes(struct audit *audit, const struct host *host, const struct route_entry *entries)
{
    const struct router *router = audit->router;
    const struct trie_node *root = trie_node(&router->trie, host->root);
    if (host->regexes == 0)
        return;
    for (const struct route *r = &router->routes[host->regexes];; r++) {
        struct cover cover = { 0, NULL };
        for (const struct route *e = &router->routes[host->regexes]; e < r; e++) {
            if (strcmp(entries[e->entry].match->regex, entries[r->entry].match->regex) == 0 &&
                conditions_within(e, r)) {
                cover.by = e;
                cover.methods |= e->methods;
            }
        }
        cover_by_run(router, root->routes[TRIE_REST], r, &cover);
        cover_by_run(router, root->routes[TRIE_PREFIX], r, &cover);
        judge(audit, r, &cover);
        if (!r->more)
            return;
    }
}

static void warn(struct conf *conf, const struct route_entry *entries, uint32_t dead, uint32_t by)
{
    const struct conf_node *node = entries[dead].node, *other = entries[by].node;
    const char *hint = entries[dead].match->regex && entries[by].match->prefix
                           ? "; regexes are tried after prefixes: leave out `prefix: /` for a last resort"
                           : "";
    if (other)
        conf_warn(conf, node, "this route can never match: the route in line %u takes all of its requests before it%s",
                  other->mark.line, hint);
    else
        conf_warn(conf, node, "this route can never match: another route takes all of its requests before it%s", hint);
}

void router_warn_unreachable(const struct router *router, struct conf *conf, const struct route_entry *entries)
{
    uint32_t count = router->entry_count;
    struct audit audit = { .router = router };
    if (count == 0)
        return;
    audit.alive = mem_must(count * sizeof(*audit.alive));
    audit.by = mem_must(count * sizeof(const struct route *));
    for (uint32_t n = trie_next(&router->trie, NODE_NONE); n != NODE_NONE; n = trie_next(&router->trie, n)) {
        const struct trie_node *node = trie_node(&router->trie, n);
        audit_run(&audit, node->routes[TRIE_EXACT]);
        audit_run(&audit, node->routes[TRIE_REST]);
        audit_prefixes(&audit, node);
    }
    for (uint32_t i = 0; i < router->hosts.count; i++) {
        audit_regexes(&audit, &router->hosts.hosts[i], entries);
        audit_run(&audit, router->hosts.hosts[i].any);
    }
    for (uint32_t i = 0; i < count; i++)
        if (audit.alive[i] == 0 && audit.by[i])
            warn(conf, entries, i, audit.by[i]->entry);
    mem_free(audit.by);
    mem_free(audit.alive);
}
