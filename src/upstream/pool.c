/*
 * Connections to one target, on one worker.
 *
 * A stream goes to a connection that has streams and room for more, if its protocol has such; else to an idle one; else
 * to a new one.  Idle ones are a stack: the one used last is used next, so that under light load the rest grow old and
 * are closed. One timer for the whole upstream looks at the bottoms of the stacks; it is armed when the first
 * connection is parked, never when a connection is used, and sleeps a while longer than the first deadline so that many
 * deadlines share a wake-up.
 *
 * Connections that begin with a prologue (a PROXY header) are in pools of their own, one for each prologue.  There may
 * be as many of these as clients, so their idle connections are bounded together, and make room for one another.
 *
 * Every connection is counted on its target for as long as it is open, which is also what max_connections_per_target
 * limits; with max_connections, on the upstream as well.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/sys.h"
#include "http/h1/h1.h"
#include "http/h2/h2.h"
#include "upstream/state.h"

enum {
    BUCKETS_FIRST = 8,
    IDLE_TIMER_SLACK_SHIFT = 4, /* idle connections may outlive their time by a sixteenth of it */
    YIELD_LOOKS_MAX = 64,       /* pools that are asked for an idle connection to give up */
};

static void on_free(struct http_owner *owner, struct http_conn *conn);
static void on_closed(struct http_owner *owner, struct http_conn *conn);

static int share(struct target_pool *pool, const struct opening *opening, struct stream **ret_stream);
static int reuse(struct target_pool *pool, const struct opening *opening, struct stream **ret_stream);
static int connect_new(struct target_pool *pool, const struct opening *opening, struct stream **ret_stream);
static void park(struct target_pool *pool, struct http_conn *conn);
static void unpark(struct target_pool *pool, struct http_conn *conn);
static bool may_park(const struct target_pool *pool);
static void close_idle(struct target_pool *pool, uint64_t since_ms);
static bool yield_idle(const struct target_pool *pool, enum limit lacked);
static uint32_t connections_max(const struct upstream_worker *w, const struct target_set *set,
                                const struct target *target);
static void yield_idle_beyond(struct upstream_worker *w, uint64_t max);
static struct target_pool *pool_find(const struct upstream_worker *w, const struct target *target,
                                     struct slice prologue);
static bool make_room(struct upstream_worker *w);

static uint64_t bucket_of(const struct upstream_worker *w, const struct target *target, struct slice prologue)
{
    uint64_t mark = prologue.len > 0 ? hash_bytes(prologue) : 0;
    return hash_mix((uintptr_t)target ^ mark) & (w->bucket_count - 1);
}

static bool is_marked(const struct target_pool *pool)
{
    return pool->prologue.len > 0;
}

/* As many as clients like: charged to the worker's memory, unlike those of targets. */
static struct target_pool *pool_alloc(struct upstream_worker *w, struct slice prologue)
{
    if (prologue.len == 0)
        return mem_zalloc(sizeof(struct target_pool));
    struct target_pool *pool = memory_get(w->loop->memory, sizeof *pool + prologue.len);
    if (!pool)
        return NULL;
    memset(pool, 0, sizeof *pool);
    memcpy(pool + 1, prologue.at, prologue.len);
    pool->prologue = slice_make((const char *)(pool + 1), prologue.len);
    return pool;
}

static void pool_free(struct target_pool *pool)
{
    if (is_marked(pool))
        memory_put(pool->owner->loop->memory, pool, sizeof *pool + pool->prologue.len);
    else
        mem_free(pool);
}

static struct target_pool *pool_new(struct upstream_worker *w, struct target *target, struct slice prologue)
{
    struct target_pool *pool = make_room(w) ? pool_alloc(w, prologue) : NULL;
    if (!pool)
        return NULL;
    pool->base = (struct http_owner){ .limits = &w->upstream->limits, .on_free = on_free, .on_closed = on_closed };
    pool->owner = w;
    pool->target = target_hold(target);
    pool->connections_max = connections_max(w, w->balancer.set, target);
    list_init(&pool->parked_link);
    list_init(&pool->idle);
    list_init(&pool->shared);
    struct target_pool **bucket = &w->buckets[bucket_of(w, target, prologue)];
    pool->next = *bucket;
    *bucket = pool;
    w->pool_count++;
    return pool;
}

static struct target_pool *pool_get_plain(struct upstream_worker *w, struct target *target)
{
    struct target_pool *pool = pool_find(w, target, SLICE_EMPTY);
    if (!pool)
        pool = pool_new(w, target, SLICE_EMPTY);
    if (!pool)
        return NULL;
    pool->plain = pool;
    pool->refs++;
    return pool;
}

struct target_pool *pool_get(struct upstream_worker *w, struct target *target, struct slice prologue)
{
    if (prologue.len == 0)
        return pool_get_plain(w, target);
    struct target_pool *pool = pool_find(w, target, prologue);
    if (!pool) {
        struct target_pool *plain = pool_get_plain(w, target);
        pool = plain ? pool_new(w, target, prologue) : NULL;
        if (!pool) {
            if (plain)
                pool_drop(plain);
            return NULL;
        }
        pool->plain = plain;
    }
    pool->refs++;
    return pool;
}

int pool_open(struct target_pool *pool, const struct opening *opening, struct stream **ret_stream)
{
    int r = opening->fresh ? -ERR_UPSTREAM_UNSENT : share(pool, opening, ret_stream);
    if (r == -ERR_UPSTREAM_UNSENT && !opening->fresh)
        r = reuse(pool, opening, ret_stream);
    return r == -ERR_UPSTREAM_UNSENT ? connect_new(pool, opening, ret_stream) : r;
}

/* A pool may take its plain one with it, so the next is held before one goes. */
static void close_left(struct target_pool *pool)
{
    if (pool)
        pool->refs++;
    for (struct target_pool *next; pool; pool = next) {
        next = pool->next;
        if (next)
            next->refs++;
        if (pool->left)
            close_idle(pool, UINT64_MAX);
        pool_drop(pool);
    }
}

void pools_keep_only(struct upstream_worker *w, const struct target_set *set)
{
    for (size_t i = 0; i < w->bucket_count; i++)
        for (struct target_pool *pool = w->buckets[i]; pool; pool = pool->next)
            pool->left = true;
    for (uint32_t i = 0; set && i < set->count; i++) {
        struct target_pool *pool = pool_find(w, set->slots[i].target, SLICE_EMPTY);
        if (pool)
            pool->left = false;
    }
    for (size_t i = 0; set && i < w->bucket_count; i++)
        for (struct target_pool *pool = w->buckets[i]; set->limited && pool; pool = pool->next)
            pool->connections_max = connections_max(w, set, pool->target);
    for (size_t i = 0; i < w->bucket_count; i++)
        for (struct target_pool *pool = w->buckets[i]; pool; pool = pool->next)
            pool->left = pool->plain->left;
    for (size_t i = 0; i < w->bucket_count; i++)
        close_left(w->buckets[i]);
}

void pools_on_idle_timer(struct timer *timer)
{
    struct upstream_worker *w = container_of(timer, struct upstream_worker, idle_timer);
    uint64_t timeout_ms = (uint64_t)w->upstream->conf->timeouts.idle_timeout_ms, now_ms = w->loop->now_ms;
    uint64_t oldest_ms = UINT64_MAX;
    for (struct link *at = w->parked.next, *next; at != &w->parked; at = next) {
        struct target_pool *pool = container_of(at, struct target_pool, parked_link);
        next = at->next;
        pool->refs++;
        if (now_ms >= timeout_ms)
            close_idle(pool, now_ms - timeout_ms);
        if (pool->idle_count)
            oldest_ms = MIN(oldest_ms, http_idle_since_ms(http_conn_of(pool->idle.prev)));
        pool_drop(pool);
    }
    if (oldest_ms != UINT64_MAX)
        timer_set(w->loop, timer, oldest_ms + timeout_ms + (timeout_ms >> IDLE_TIMER_SLACK_SHIFT));
}

void pools_done(struct upstream_worker *w)
{
    ENSURE(w->pool_count == 0);
    mem_free(w->buckets);
}

/* A stream on a connection that is in no list; it joins the shared ones if it can take more. */
static int open_on(struct target_pool *pool, struct http_conn *conn, const struct opening *opening,
                   struct stream **ret_stream)
{
    int r = http_open(conn, opening->arena, opening->events, opening->user, ret_stream);
    if (r == 0 && http_streams_free(conn) > 0)
        list_push_front(&pool->shared, &conn->link);
    return r;
}

/* 0, -ERR_UPSTREAM_UNSENT when no connection in use has room, or -ERR_MEMORY. */
static int share(struct target_pool *pool, const struct opening *opening, struct stream **ret_stream)
{
    while (!list_empty(&pool->shared)) {
        struct http_conn *conn = http_conn_of(pool->shared.next);
        list_unlink(&conn->link);
        if (http_streams_free(conn) == 0)
            continue;
        int r = open_on(pool, conn, opening, ret_stream);
        if (r == 0)
            cell_count(&pool->owner->cell->reused);
        if (r == -ERR_MEMORY)
            list_push_front(&pool->shared, &conn->link);
        if (r != -ERR_UPSTREAM_UNSENT)
            return r;
        cell_count(&pool->owner->cell->stale);
    }
    return -ERR_UPSTREAM_UNSENT;
}

/* 0, -ERR_UPSTREAM_UNSENT when no idle connection is good, or -ERR_MEMORY. */
static int reuse(struct target_pool *pool, const struct opening *opening, struct stream **ret_stream)
{
    while (!list_empty(&pool->idle)) {
        struct http_conn *conn = http_conn_of(pool->idle.next);
        unpark(pool, conn);
        int r = open_on(pool, conn, opening, ret_stream);
        if (r == 0) {
            cell_count(&pool->owner->cell->reused);
            return 0;
        }
        if (r == -ERR_MEMORY) {
            park(pool, conn);
            return r;
        }
        ENSURE(r == -ERR_UPSTREAM_UNSENT); /* and has closed itself */
        cell_count(&pool->owner->cell->stale);
    }
    return -ERR_UPSTREAM_UNSENT;
}

/* Its own, or the one of all. */
static uint32_t connections_max(const struct upstream_worker *w, const struct target_set *set,
                                const struct target *target)
{
    const struct target_slot *slot = set->limited ? target_set_find(set, target) : NULL;
    return slot && slot->connections_max ? slot->connections_max
                                         : (uint32_t)w->upstream->conf->max_connections_per_target;
}

static bool at_limit(const atomic_uint *connections, int64_t max)
{
    return max != 0 && atomic_load_explicit(connections, memory_order_seq_cst) >= max;
}

/* The permits come with the counts, so that no race between workers exceeds a limit; LIMIT_NONE when there are. */
static enum limit count_connection(const struct target_pool *pool)
{
    const struct upstream *upstream = pool->owner->upstream;
    int64_t max = upstream->conf->max_connections;
    if (at_limit(&pool->target->connections, pool->connections_max))
        return LIMIT_TARGET_CONNECTIONS;
    if (max && !permit_take(&upstream->cluster->permits.connections, (uint32_t)max))
        return LIMIT_CONNECTIONS;
    if (permit_take_any(&pool->target->connections, pool->connections_max))
        return LIMIT_NONE;
    if (max)
        permit_give(&upstream->cluster->permits.connections);
    return LIMIT_TARGET_CONNECTIONS;
}

static void discount_connection(const struct target_pool *pool)
{
    struct cluster *cluster = pool->owner->upstream->cluster;
    if (pool->owner->upstream->conf->max_connections)
        permit_give(&cluster->permits.connections);
    permit_give(&pool->target->connections);
    if (pool->owner->balancer.queues &&
        atomic_load_explicit(&cluster->queue.wanting_connections, memory_order_seq_cst) > 0)
        queue_call_first(&cluster->queue, pool->target);
}

static int connect_new(struct target_pool *pool, const struct opening *opening, struct stream **ret_stream)
{
    struct upstream_worker *w = pool->owner;
    struct upstream *upstream = w->upstream;
    const struct transport_layer *layer;
    if (pool_layer(pool->plain, &layer) < 0)
        return -ERR_MEMORY;
    enum limit lacked = count_connection(pool);
    if (lacked != LIMIT_NONE && yield_idle(pool, lacked))
        lacked = count_connection(pool);
    if (lacked != LIMIT_NONE) {
        w->balancer.lacked = lacked;
        return -ERR_UPSTREAM_FULL;
    }
    struct dial dial = { .to = &pool->target->address,
                         .prologue = pool->prologue,
                         .layer = layer,
                         .timeout_ms = (uint32_t)upstream->conf->timeouts.connect_timeout_ms };
    struct http_conn *conn;
    int r = upstream->conf->protocol == UPSTREAM_H2 ? h2_connect(w->loop, &dial, &pool->base, &conn)
                                                    : h1_connect(w->loop, &dial, &pool->base, &conn);
    if (r < 0) {
        discount_connection(pool);
        if (r != -ERR_MEMORY)
            cell_count(&w->cell->connect_failures);
        return r;
    }
    pool->refs++;
    (void)upstream_worker_hold(w);
    cell_count(&w->cell->connects);
    cell_move(&w->cell->busy, 1);
    r = open_on(pool, conn, opening, ret_stream);
    if (r < 0)
        http_close(conn);
    return r;
}

static void on_free(struct http_owner *owner, struct http_conn *conn)
{
    struct target_pool *pool = container_of(owner, struct target_pool, base);
    list_unlink(&conn->link); /* of the shared ones, or of none */
    bool good = http_streams_free(conn) > 0;
    if (http_streams_open(conn) > 0) {
        if (good)
            list_push_front(&pool->shared, &conn->link);
        return;
    }
    if (!good || !may_park(pool)) {
        http_close(conn);
        return;
    }
    uint32_t idle_max = atomic_load_explicit(&pool->owner->upstream->idle_max, memory_order_relaxed);
    while (pool->idle_count > 0 && pool->idle_count >= idle_max) /* more than one when a worker has joined */
        http_close(http_conn_of(pool->idle.prev));
    if (is_marked(pool))
        yield_idle_beyond(pool->owner, (uint64_t)idle_max * pool->owner->balancer.set->count);
    park(pool, conn);
}

/* An idle connection, of whoever has had one for longest, gives up its permit: one to the same target, or any where all
 * of them together are too many. */
static bool yield_idle(const struct target_pool *pool, enum limit lacked)
{
    unsigned looks = 0;
    LIST_FOR_EACH (at, &pool->owner->parked) {
        struct target_pool *other = container_of(at, struct target_pool, parked_link);
        if (lacked == LIMIT_CONNECTIONS || other->target == pool->target) {
            http_close(http_conn_of(other->idle.prev));
            return true;
        }
        if (++looks == YIELD_LOOKS_MAX)
            break;
    }
    return false;
}

static void yield_idle_beyond(struct upstream_worker *w, uint64_t max)
{
    while (!list_empty(&w->parked) && atomic_load_explicit(&w->cell->idle, memory_order_relaxed) >= max) {
        struct target_pool *oldest = container_of(w->parked.next, struct target_pool, parked_link);
        http_close(http_conn_of(oldest->idle.prev));
    }
}

static void on_closed(struct http_owner *owner, struct http_conn *conn)
{
    struct target_pool *pool = container_of(owner, struct target_pool, base);
    struct upstream_worker *w = pool->owner;
    if (http_streams_open(conn) > 0)
        list_unlink(&conn->link); /* of the shared ones, or of none */
    else if (conn->link.next != &conn->link)
        unpark(pool, conn);
    cell_move(&w->cell->busy, -1);
    discount_connection(pool);
    pool_drop(pool);
    upstream_worker_drop(w);
}

void pools_yield_one(struct upstream_worker *w)
{
    bool any = at_limit(&w->upstream->cluster->permits.connections, w->upstream->conf->max_connections);
    unsigned looks = 0;
    LIST_FOR_EACH (at, &w->parked) {
        struct target_pool *pool = container_of(at, struct target_pool, parked_link);
        if (any || at_limit(&pool->target->connections, pool->connections_max)) {
            http_close(http_conn_of(pool->idle.prev));
            return;
        }
        if (++looks == YIELD_LOOKS_MAX)
            return;
    }
}

/* Where connections are limited and this one has the last permit, it goes, so that any worker may have it; unless the
 * next to have it is of this worker. */
static bool may_park(const struct target_pool *pool)
{
    const struct upstream *upstream = pool->owner->upstream;
    struct cluster *cluster = upstream->cluster;
    if (pool->left || pool->owner->attached == 0 ||
        atomic_load_explicit(&upstream->idle_max, memory_order_relaxed) == 0)
        return false;
    if (target_barred(pool->target) & (BAR_UNHEALTHY | BAR_DISABLED))
        return false;
    if (!at_limit(&pool->target->connections, pool->connections_max) &&
        !at_limit(&cluster->permits.connections, upstream->conf->max_connections))
        return true;
    if (pool->owner->balancer.queues && queue_has_waiters(&cluster->queue))
        return queue_next_is_on(&cluster->queue, pool->target, pool->owner->loop);
    return atomic_load_explicit(&upstream->keeps_permits, memory_order_relaxed);
}

static void park(struct target_pool *pool, struct http_conn *conn)
{
    struct upstream_worker *w = pool->owner;
    list_push_front(&pool->idle, &conn->link);
    if (pool->idle_count++ == 0)
        list_push_back(&w->parked, &pool->parked_link);
    cell_move(&w->cell->busy, -1);
    cell_move(&w->cell->idle, 1);
    if (!timer_armed(&w->idle_timer))
        timer_set(w->loop, &w->idle_timer, w->loop->now_ms + (uint64_t)w->upstream->conf->timeouts.idle_timeout_ms);
}

static void unpark(struct target_pool *pool, struct http_conn *conn)
{
    struct upstream_worker *w = pool->owner;
    ENSURE(pool->idle_count > 0);
    list_unlink(&conn->link);
    if (--pool->idle_count == 0)
        list_unlink(&pool->parked_link);
    cell_move(&w->cell->idle, -1);
    cell_move(&w->cell->busy, 1);
}

/* Those idle since then or longer. The caller holds the pool. */
static void close_idle(struct target_pool *pool, uint64_t since_ms)
{
    while (!list_empty(&pool->idle)) {
        struct http_conn *oldest = http_conn_of(pool->idle.prev);
        if (http_idle_since_ms(oldest) > since_ms)
            break;
        http_close(oldest);
    }
}

static struct target_pool *pool_find(const struct upstream_worker *w, const struct target *target,
                                     struct slice prologue)
{
    if (!w->buckets)
        return NULL;
    struct target_pool *pool = w->buckets[bucket_of(w, target, prologue)];
    while (pool && (pool->target != target || !slice_eq(pool->prologue, prologue)))
        pool = pool->next;
    return pool;
}

/* Keeps the load under one. Failing to grow is harmless once there is a table at all. */
static bool make_room(struct upstream_worker *w)
{
    if (w->pool_count < w->bucket_count)
        return true;
    size_t count = w->bucket_count ? w->bucket_count * 2 : BUCKETS_FIRST;
    struct target_pool **old = w->buckets, **buckets = mem_zalloc(count * sizeof *buckets);
    if (!buckets)
        return old != NULL;
    size_t old_count = w->bucket_count;
    w->buckets = buckets;
    w->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        for (struct target_pool *pool = old[i], *next; pool; pool = next) {
            struct target_pool **bucket = &buckets[bucket_of(w, pool->target, pool->prologue)];
            next = pool->next;
            pool->next = *bucket;
            *bucket = pool;
        }
    }
    mem_free(old);
    return true;
}

/* A plain pool without connections stays for as long as its target is in the set. */
void pool_drop(struct target_pool *pool)
{
    ENSURE(pool->refs > 0);
    if (--pool->refs > 0 || (!pool->left && !is_marked(pool)))
        return;
    struct upstream_worker *w = pool->owner;
    struct target_pool *plain = pool->plain;
    struct target_pool **at = &w->buckets[bucket_of(w, pool->target, pool->prologue)];
    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
    w->pool_count--;
    pool_layer_drop(pool);
    target_drop(pool->target);
    bool marked = is_marked(pool);
    pool_free(pool);
    if (marked)
        pool_drop(plain);
}
