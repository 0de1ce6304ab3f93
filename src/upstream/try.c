/*
 * One try at a service: a target is picked, a stream opened on it; later the stream goes back and the balancer hears
 * how it went.
 */
#include "base/assert.h"
#include "net/proxy_header.h"
#include "upstream/state.h"

static int pick_and_open(struct upstream_worker *w, uint64_t key, const struct tried *tried,
                         const struct opening *opening, struct upstream_try *ret_try);
static bool is_connect_failure(enum err err);
static void give_back(struct stream *stream, enum err err);

int upstream_open(struct upstream *upstream, unsigned worker, uint64_t key, const struct tried *tried, bool fresh,
                  const struct stream *down, struct arena *arena, const struct stream_events *events, void *user,
                  struct upstream_try *ret_try)
{
    char prologue[PROXY_WRITE_MAX];
    ENSURE(worker < upstream->workers);
    struct upstream_worker *w = upstream->attached[worker];
    ENSURE(w);
    *ret_try = (struct upstream_try){
        .upstream = upstream,
        .started_ms = w->loop->now_ms,
        .started_ns = w->loop->now_ns,
        .worker = worker,
    };
    if (w->wanted)
        upstream_worker_catch_up(w);
    if (w->balancer.set->count == 0)
        return -ERR_NAME_UNRESOLVED;
    struct opening opening = { .arena = arena, .events = events, .user = user, .fresh = fresh };
    opening.prologue = slice_make(prologue, upstream_prologue(upstream->conf, down, prologue));
    int r = pick_and_open(w, key, tried, &opening, ret_try);
    if (ret_try->target)
        ret_try->local = upstream_worker_hold(w);
    return r;
}

void upstream_close(struct upstream_try *try_, enum err err)
{
    if (!try_->target)
        return;
    struct upstream_worker *w = try_->local;
    if (try_->stream) {
        if (is_connect_failure(try_->stream->err))
            cell_count(&w->cell->connect_failures);
        give_back(try_->stream, err);
    }
    uint64_t latency_us = (w->loop->now_ns - try_->started_ns) / 1000;
    balancer_finish(&w->balancer, try_->target, err, (uint32_t)MIN(latency_us, UINT32_MAX));
    try_->stream = NULL;
    try_->target = NULL;
    try_->local = NULL;
    upstream_worker_drop(w);
}

/*
 * A target without a permit for one more connection (idle ones of other workers may hold them) is passed by for
 * another, like one that was tried.  After TRIED_MAX of them we take the upstream for full.
 */
static int pick_and_open(struct upstream_worker *w, uint64_t key, const struct tried *tried,
                         const struct opening *opening, struct upstream_try *ret_try)
{
    struct tried passed = { .count = 0 };
    bool retry_same = true;
    for (;;) {
        struct target *target;
        int r = balancer_pick(&w->balancer, key, retry_same ? tried : &passed, retry_same, &target);
        if (r < 0)
            return retry_same ? r : -ERR_UPSTREAM_FULL;
        struct target_pool *pool = pool_get(w, target, opening->prologue);
        r = pool ? pool_open(pool, opening, &ret_try->stream) : -ERR_MEMORY;
        if (pool)
            pool_drop(pool);
        if (r != -ERR_UPSTREAM_FULL) {
            ret_try->target = target;
            return r;
        }
        if (retry_same && tried)
            passed = *tried;
        retry_same = false;
        balancer_finish(&w->balancer, target, ERR_CANCELLED, 0);
        if (passed.count == TRIED_MAX)
            return -ERR_UPSTREAM_FULL;
        tried_add(&passed, target);
    }
}

static bool is_connect_failure(enum err err)
{
    return err == ERR_CONNECT_REFUSED || err == ERR_CONNECT_TIMEOUT || err == ERR_CONNECT_FAILED ||
           err == ERR_TLS_FAILED;
}

/* A stream that ended in both halves leaves its connection to serve again; any other takes it down with it. */
static void give_back(struct stream *stream, enum err err)
{
    bool ended = stream->end_sent && stream->in.end == PIPE_ENDED;
    bool over = stream->err != ERR_NONE;
    if (!ended && !over)
        stream_reset(stream, err != ERR_NONE ? err : ERR_CANCELLED);
    stream->ops->release(stream);
}
