/*
 * From the matches of the configuration to a router.
 *
 *      match --compile_entry--> struct entry, a placement for each host --sort--> runs of routes
 *
 * and then each node and host points at its runs.
 *
 * Every mistake is reported before the build is given up.  Runs on the control thread, where running out of memory
 * aborts.
 */
#include "route/router.h"

#include "base/assert.h"
#include "base/sys.h"
#include "exchange/plan.h"
#include "route/compile.h"
#include "route/condition.h"
#include "route/regex.h"
#include "route/table.h"

static int order_placements(const void *a, const void *b)
{
    const struct placement *p = a, *q = b;
    const struct route *r = &p->route, *s = &q->route;
    if (p->node != q->node)
        return p->node < q->node ? -1 : 1;
    if (p->kind != q->kind)
        return p->kind < q->kind ? -1 : 1;
    if (r->weight != s->weight && p->kind != PLACE_REGEX)
        return r->weight > s->weight ? -1 : 1;
    return r->entry < s->entry ? -1 : r->entry > s->entry;
}

static void point_at_run(struct router *router, const struct placement *p, uint32_t run)
{
    switch (p->kind) {
    case PLACE_EXACT:
    case PLACE_REST:
    case PLACE_PREFIX:
        trie_node(&router->trie, p->node)->routes[p->kind] = run;
        break;
    case PLACE_REGEX:
        router->hosts.hosts[p->host].regexes = run;
        break;
    case PLACE_ANY:
        router->hosts.hosts[p->host].any = run;
        break;
    }
}

static void lay_out_runs(struct router *router, struct placement *placements, uint32_t count)
{
    if (count > 0)
        qsort(placements, count, sizeof(*placements), order_placements);
    router->routes_raw = mem_must(((size_t)count + 2) * sizeof(*router->routes));
    router->routes = (struct route *)(((uintptr_t)router->routes_raw + sizeof(struct route) - 1) &
                                      ~(uintptr_t)(sizeof(struct route) - 1));
    router->route_count = count + 1;
    for (uint32_t i = 0; i < count; i++) {
        const struct placement *p = &placements[i];
        bool first = i == 0 || p->node != p[-1].node || p->kind != p[-1].kind;
        router->routes[i + 1] = p->route;
        if (first)
            point_at_run(router, p, i + 1);
        else
            router->routes[i].more = true;
    }
}

static void router_free(struct router *router)
{
    for (uint32_t i = 0; i < router->entry_count; i++) {
        struct entry *e = &router->entries[i];
        for (uint32_t c = 0; c < e->condition_count; c++)
            condition_done(&e->conditions[c]);
        mem_free(e->conditions);
        regex_free(e->regex);
        mem_free(e->groups);
        mem_free(e->captures);
        if (e->plan)
            plan_drop(e->plan);
    }
    mem_free(router->entries);
    mem_free(router->routes_raw);
    host_table_done(&router->hosts);
    trie_done(&router->trie);
    conf_free(router->conf);
    router->magic = 0;
    mem_free(router);
}

struct router *router_build(struct conf *conf, const struct route_entry *entries, size_t count)
{
    ENSURE(conf && count < UINT32_MAX / 2);
    struct router *router = mem_must(sizeof(*router));
    struct compilation c = { .conf = conf, .router = router };

    router->magic = ROUTER_MAGIC;
    atomic_init(&router->refs, 1);
    router->conf = conf_hold(conf);
    router->entries = mem_must(MAX(count, (size_t)1) * sizeof(*router->entries));
    trie_init(&router->trie);
    host_table_init(&router->hosts);
    for (size_t i = 0; i < count; i++)
        compile_entry(&c, &entries[i]);
    lay_out_runs(router, c.placements, c.placement_count);
    mem_free(c.placements);
    if (c.failed) {
        router_free(router);
        return NULL;
    }
    router_warn_unreachable(router, conf, entries);
    return router;
}

struct router *router_hold(struct router *router)
{
    MAGIC_CHECK(router, ROUTER_MAGIC);
    atomic_fetch_add_explicit(&router->refs, 1, memory_order_relaxed);
    return router;
}

void router_drop(struct router *router)
{
    if (!router)
        return;
    MAGIC_CHECK(router, ROUTER_MAGIC);
    unsigned before = atomic_fetch_sub_explicit(&router->refs, 1, memory_order_acq_rel);
    ENSURE(before > 0);
    if (before == 1)
        router_free(router);
}
