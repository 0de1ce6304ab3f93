/*
 * A worker's part of an upstream: made by the first attach, closed down by the last detach, freed when its last
 * connection and try are gone.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "tls/tls.h"
#include "upstream/limits.h"
#include "upstream/state.h"

static struct upstream_worker *worker_new(struct upstream *upstream, unsigned worker, struct loop *loop);
static void take_set(struct upstream_worker *w, struct target_set *set);

int upstream_attach(struct upstream *upstream, unsigned worker, struct loop *loop)
{
    ENSURE(worker < upstream->workers);
    struct upstream_worker **at = &upstream->attached[worker];
    if (!*at) {
        *at = worker_new(upstream, worker, loop);
        if (!*at)
            return -ERR_MEMORY;
        upstream_share(upstream, worker, loop);
    }
    ENSURE((*at)->loop == loop);
    (*at)->attached++;
    return 0;
}

void upstream_detach(struct upstream *upstream, unsigned worker)
{
    ENSURE(worker < upstream->workers);
    struct upstream_worker *w = upstream->attached[worker];
    ENSURE(w && w->attached > 0);
    if (--w->attached > 0)
        return;
    upstream->attached[worker] = NULL;
    upstream_share(upstream, worker, NULL);
    pools_keep_only(w, NULL);
    timer_clear(w->loop, &w->idle_timer);
    upstream_worker_drop(w);
}

void upstream_worker_update(struct upstream *upstream, unsigned worker, struct target_set *set)
{
    ENSURE(worker < upstream->workers);
    struct upstream_worker *w = upstream->attached[worker];
    if (w)
        take_set(w, target_set_hold(set));
}

void upstream_worker_catch_up(struct upstream_worker *w)
{
    struct target_set *set = w->wanted;
    w->wanted = NULL;
    take_set(w, set);
}

struct upstream_worker *upstream_worker_hold(struct upstream_worker *w)
{
    ENSURE(w->refs > 0);
    w->refs++;
    return w;
}

void upstream_worker_drop(struct upstream_worker *w)
{
    ENSURE(w->refs > 0);
    if (--w->refs > 0)
        return;
    ENSURE(w->attached == 0 && list_empty(&w->parked));
    pools_done(w);
    balancer_done(&w->balancer);
    target_set_drop(w->wanted);
    if (w->tls)
        tls_context_drop(w->tls);
    upstream_drop(w->upstream);
    mem_free(w);
}

static struct upstream_worker *worker_new(struct upstream *upstream, unsigned worker, struct loop *loop)
{
    struct upstream_worker *w = mem_zalloc(sizeof *w);
    if (!w)
        return NULL;
    if (upstream->secured) {
        struct tls_context *context = upstream->secured[worker].context;
        if (!context) { /* there was no memory for it: better no connection than a plain one */
            mem_free(w);
            return NULL;
        }
        w->tls = tls_context_hold(context);
    }
    struct target_set *set = upstream_current_set(upstream);
    int r = balancer_init(&w->balancer, algorithm_of(&upstream->conf->balance), &upstream->conf->balance,
                          upstream->cluster, set, worker);
    target_set_drop(set);
    if (r < 0) {
        if (w->tls)
            tls_context_drop(w->tls);
        mem_free(w);
        return NULL;
    }
    w->balancer.per_target_max = limits_requests_per_target(upstream->conf);
    w->balancer.requests_max = limits_requests(upstream->conf);
    w->balancer.queues = upstream->conf->queue != NULL;
    w->upstream = upstream_hold(upstream);
    w->loop = loop;
    w->cell = upstream_cell(upstream, worker);
    w->worker = worker;
    w->refs = 1;
    list_init(&w->parked);
    timer_init(&w->idle_timer, pools_on_idle_timer);
    return w;
}

/* Takes over the reference. */
static void take_set(struct upstream_worker *w, struct target_set *set)
{
    target_set_drop(w->wanted);
    w->wanted = NULL;
    if (balancer_update(&w->balancer, set) < 0) {
        w->wanted = set;
        return;
    }
    pools_keep_only(w, set);
    target_set_drop(set);
    queue_stir(&w->upstream->cluster->queue, NULL);
}
