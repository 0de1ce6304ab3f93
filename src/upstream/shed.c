/*
 * Idle connections to a target that is given up: closed now, rather than when their time is over or a request has found
 * out. Those with a prologue too. Busy ones end as they will and are not parked any more (pool.c).
 */
#include "base/assert.h"
#include "upstream/state.h"

static void close_all_idle(struct target_pool *pool)
{
    pool->refs++;
    while (!list_empty(&pool->idle))
        http_close(http_conn_of(pool->idle.prev));
    pool_drop(pool);
}

void upstream_close_idle(struct upstream *upstream, unsigned worker, const struct target *target)
{
    ENSURE(worker < upstream->workers);
    struct upstream_worker *w = upstream->attached[worker];
    if (!w)
        return;
    for (struct link *at = w->parked.next, *next; at != &w->parked; at = next) {
        struct target_pool *pool = container_of(at, struct target_pool, parked_link);
        next = at->next;
        if (pool->target == target)
            close_all_idle(pool);
    }
}
