/*
 * The structs behind upstream.h, for this room alone.
 *
 *      upstream --attached[worker]--> upstream_worker --buckets[target]--> target_pool --idle--> http_conn ...
 *         ^--------- reference ------------'  ^----------- owner -------------'  ^--- owner data ---'
 *
 * A worker part lives as long as it is attached, has a connection, or has an open try.  A pool lives as long as its
 * target is in the worker's set, or it has a connection.  Connections always find their pool, however long they stay
 * busy after a detach or a change of the set.
 */
#pragma once

#include <pthread.h>

#include "base/list.h"
#include "http/conn.h"
#include "loop/loop.h"
#include "net/proxy_header.h"
#include "upstream/hedge.h"
#include "upstream/upstream.h"
#include "upstream/waiting.h"

/* Of one worker, written by it alone and read by any. */
struct upstream_cell {
    atomic_ullong connects, connect_failures, reused, stale;
    atomic_uint idle, busy;
};
/* Written by all workers on every request. */
struct upstream_budget {
    atomic_uint active_requests, active_retries;
    atomic_ullong retries, hedges, hedges_won; /* ever */
};
enum { HOT_LINE_BYTES = 64 }; /* each of those above has a cache line of its own */

/* What connections of a worker begin with; touched by that worker alone. */
struct upstream_secured {
    struct tls_context *context;
    uint32_t snapshots; /* in force on the worker */
};

struct upstream {
    atomic_uint refs;
    unsigned workers;          /* entries of `attached`, and cells */
    unsigned sharers;          /* of those, attached now; under `lock` */
    atomic_uint idle_max;      /* connections that one worker parks for one target, by `sharers` */
    atomic_bool keeps_permits; /* an idle connection may hold the last permit: nobody else could want it */
    char *name;
    struct cluster *cluster; /* a reference */
    const struct upstream_conf *conf;
    struct conf *conf_owner;
    struct http_limits limits; /* of its connections */
    pthread_mutex_t lock;      /* of `set`, `sharers` and `loops`: control gives a new set, workers attach and detach */
    struct target_set *set;
    void *hot_block; /* what holds the two below */
    struct upstream_budget *budget;
    char *cells;                        /* HOT_LINE_BYTES apart */
    struct tls_material *material;      /* control's; NULL: plain, or none yet */
    struct upstream_secured *secured;   /* by worker; NULL: plain */
    struct loop **loops;                /* by worker; NULL: not attached */
    struct upstream_worker *attached[]; /* by worker; each entry is touched by that worker alone */
};

static inline struct upstream_cell *upstream_cell(const struct upstream *upstream, unsigned worker)
{
    return (struct upstream_cell *)(void *)(upstream->cells + (size_t)worker * HOT_LINE_BYTES);
}

/* One writer: no locked instruction is needed. */
static inline void cell_count(atomic_ullong *count)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
}
static inline void cell_move(atomic_uint *gauge, int by)
{
    atomic_store_explicit(gauge, atomic_load_explicit(gauge, memory_order_relaxed) + (unsigned)by,
                          memory_order_relaxed);
}

struct upstream_worker {
    struct upstream *upstream; /* a reference */
    struct loop *loop;
    struct upstream_cell *cell;
    unsigned worker;
    uint32_t attached; /* attaches not undone; 0: closing down */
    uint32_t refs;     /* one while attached, and one for each connection and open try */
    struct balancer balancer;
    struct tls_context *tls;   /* NULL: plain */
    struct target_set *wanted; /* there was no memory for it; NULL otherwise */
    struct target_pool **buckets;
    size_t bucket_count, pool_count;          /* bucket_count is a power of two */
    struct link parked;                       /* pools with idle connections */
    struct timer idle_timer;                  /* armed while any is idle */
    uint64_t hedge_after_ns, hedge_looked_ns; /* the quantile, and when it was looked up; 0: never */
};

/* Of one target; or of one target and one prologue: its connections begin with it, so they are for nobody else. Such a
 * pool goes with its last connection. */
struct target_pool {
    struct http_owner base; /* of its connections */
    struct upstream_worker *owner;
    struct target *target;     /* a reference */
    struct tls_layer *tls;     /* made for the first connection; NULL: plain, or none was opened yet */
    struct target_pool *next;  /* in its bucket */
    struct target_pool *plain; /* the target's pool without prologue: itself, or a reference */
    struct slice prologue;     /* empty in a plain one; behind the struct */
    struct link parked_link;   /* in owner->parked */
    struct link idle;          /* connections without a stream, the one used last first */
    struct link shared;        /* connections with streams that can take more, the one that got room last first */
    uint32_t idle_count;
    uint32_t connections_max; /* to the target; 0: none */
    uint32_t refs;            /* one for each connection, for each pool with a prologue, and for who walks over it */
    bool left;                /* its target is not in the set any more */
};

/* ---- schema.c, tls_schema.c ---- */

bool upstream_is_host_name(struct slice host);
extern const struct conf_struct upstream_tls_schema;

/* ---- contradictions.c ---- */

/* Warns of settings that keep each other from having an effect. */
void upstream_check_contradictions(struct conf *conf, const struct conf_node *node,
                                   const struct upstream_conf *upstream);

/* ---- upstream.c ---- */

/* A worker begins to share idle connections and permits, or (NULL) ceases to. */
void upstream_share(struct upstream *upstream, unsigned worker, struct loop *loop);
/* The current set, with a reference. */
struct target_set *upstream_current_set(struct upstream *upstream);

/* ---- budget.c ---- */

/* One more retry or hedge, if there may be one; given back by upstream_retry_end. */
bool upstream_budget_take(struct upstream *upstream);

/* ---- worker.c ---- */

struct upstream_worker *upstream_worker_hold(struct upstream_worker *w);
void upstream_worker_drop(struct upstream_worker *w);
/* Takes the set that there was no memory for, if there is one and there is memory now. */
void upstream_worker_catch_up(struct upstream_worker *w);

/* ---- waiting.c ---- */

/* The last pick found no permit: in the queue, or still. 0: on_turn will come; 1: to look once more now; -ERR_MEMORY,
 * -ERR_QUEUE_FULL. */
MUST_USE int upstream_wait_on(struct upstream_worker *w, struct upstream_wait *wait);
bool upstream_wait_is_over(const struct upstream_wait *wait);  /* its time is */
bool upstream_wait_has_turn(const struct upstream_wait *wait); /* it was called */
/* `served`: by this target; NULL: it was not. Harmless when it does not wait. */
void upstream_wait_end(struct upstream_wait *wait, struct target *served);
/* Other workers may have idle connections that hold the permits. */
void upstream_ask_for_idle(struct upstream_worker *w);

/* ---- tls.c ---- */

/* What a connection to the target begins with; NULL is plain. -ERR_MEMORY. */
MUST_USE int pool_layer(struct target_pool *pool, const struct transport_layer **ret_layer);
void pool_layer_drop(struct target_pool *pool);
void upstream_secured_done(struct upstream *upstream);

/* ---- prologue.c ---- */

/* The bytes that a connection for this client has to begin with, at most PROXY_WRITE_MAX; none when it is 0. */
size_t upstream_prologue(const struct upstream_conf *conf, const struct stream *down, char ret_bytes[PROXY_WRITE_MAX]);

/* ---- pool.c ---- */

struct opening {
    struct arena *arena;
    const struct stream_events *events;
    void *user;
    bool fresh;
    struct slice prologue; /* what the connection has to have begun with; empty: nothing */
};

/* The pool of the target and the prologue, made when there is none yet; with a reference. NULL without memory. */
struct target_pool *pool_get(struct upstream_worker *w, struct target *target, struct slice prologue);
void pool_drop(struct target_pool *pool);
/* A stream on an idle connection, or on a new one: 0, -ERR_UPSTREAM_FULL (no permit for another connection),
 * -ERR_CONNECT_*, -ERR_SYSTEM, -ERR_MEMORY. */
MUST_USE int pool_open(struct target_pool *pool, const struct opening *opening, struct stream **ret_stream);
/* Pools whose targets are not in the set close what is idle; without a set all do. */
void pools_keep_only(struct upstream_worker *w, const struct target_set *set);
void pools_on_idle_timer(struct timer *timer);
/* Somewhere a connection is missing: an idle one gives up its permit, if that would help. */
void pools_yield_one(struct upstream_worker *w);
/* Frees the table; ENSUREs that no pool is left. */
void pools_done(struct upstream_worker *w);
