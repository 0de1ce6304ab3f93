/*
 * One try at a service: a target is picked, a stream opened on it; later the stream goes back and the balancer hears
 * how it went.
 */
#include "base/assert.h"
#include "net/proxy_header.h"
#include "upstream/state.h"

static int pick_and_open(struct upstream_worker *w, const struct upstream_wish *wish, const struct opening *opening,
                         struct upstream_try *ret_try);
static bool is_connect_failure(enum err err);
static void give_back(struct stream *stream, enum err err);

int upstream_open(struct upstream *upstream, unsigned worker, const struct upstream_wish *wish, struct arena *arena,
                  const struct stream_events *events, void *user, struct upstream_try *ret_try)
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
    struct opening opening = { .arena = arena, .events = events, .user = user, .fresh = wish->fresh };
    opening.prologue = slice_make(prologue, upstream_prologue(upstream->conf, wish->down, prologue));
    int r = pick_and_open(w, wish, &opening, ret_try);
    if (ret_try->target)
        ret_try->local = upstream_worker_hold(w);
    return r;
}

static void judge(struct upstream_try *try_, enum err err, unsigned status)
{
    struct upstream_worker *w = try_->local;
    const struct outcome outcome = {
        .err = err, .status = (uint16_t)status, .started_ns = try_->started_ns, .now_ns = w->loop->now_ns,
        .again = err != ERR_NONE && try_->answered,
    };
    balancer_judge(&w->balancer, try_->target, &outcome);
}

void upstream_judge(struct upstream_try *try_, unsigned status)
{
    if (!try_->target || try_->answered)
        return;
    try_->answered = true;
    judge(try_, ERR_NONE, status);
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
    if (err_info(err)->side == SIDE_UPSTREAM)
        judge(try_, err, 0);
    balancer_finish(&w->balancer, try_->target, try_->answered ? 0 : try_->started_ns, w->loop->now_ns);
    try_->stream = NULL;
    try_->target = NULL;
    try_->local = NULL;
    upstream_worker_drop(w);
}

/*
 * A target without a permit for one more connection (idle ones of other workers may hold them) is passed by for
 * another, like one that was tried.  After TRIED_MAX of them we take the upstream for full.
 */
static int pick_and_open(struct upstream_worker *w, const struct upstream_wish *wish, const struct opening *opening,
                         struct upstream_try *ret_try)
{
    struct tried passed = { .count = 0 };
    struct wish wanted = {
        .key = wish->key, .sticky = wish->sticky, .tried = wish->tried, .retry_same = true, .now_ns = w->loop->now_ns
    };
    for (;;) {
        struct target *target;
        int r = balancer_pick(&w->balancer, &wanted, &target);
        if (r < 0)
            return wanted.retry_same ? r : -ERR_UPSTREAM_FULL;
        struct target_pool *pool = pool_get(w, target, opening->prologue);
        r = pool ? pool_open(pool, opening, &ret_try->stream) : -ERR_MEMORY;
        if (pool)
            pool_drop(pool);
        if (r != -ERR_UPSTREAM_FULL) {
            ret_try->target = target;
            return r;
        }
        if (wanted.retry_same && wish->tried)
            passed = *wish->tried;
        wanted.retry_same = false;
        wanted.tried = &passed;
        balancer_finish(&w->balancer, target, ret_try->started_ns, w->loop->now_ns);
        if (passed.count == TRIED_MAX)
            return -ERR_UPSTREAM_FULL;
        tried_add(&passed, target);
    }
}

static bool is_connect_failure(enum err err)
{
    return err == ERR_CONNECT_REFUSED || err == ERR_CONNECT_TIMEOUT || err == ERR_CONNECT_FAILED ||
           err == ERR_TLS_FAILED || err == ERR_NOT_HTTP2;
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
