/*
 * One try at a service: a target is picked, a stream opened on it; later the stream goes back and the balancer hears
 * how it went.
 */
#include "balance/breaker.h"
#include "base/assert.h"
#include "net/proxy_header.h"
#include "upstream/state.h"

static int open_or_wait(struct upstream_worker *w, const struct upstream_wish *wish, const struct opening *opening,
                        struct upstream_try *ret_try);
static int is_lacking(struct upstream_worker *w, enum limit lacked);
static bool is_of_session(const struct upstream_worker *w, const struct upstream_wish *wish,
                          const struct target *target);
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
    if (w->balancer.set->count == 0) {
        if (wish->wait)
            upstream_wait_leave(wish->wait);
        return -ERR_NAME_UNRESOLVED;
    }
    struct opening opening = { .arena = arena, .events = events, .user = user, .fresh = wish->fresh };
    opening.prologue = slice_make(prologue, upstream_prologue(upstream->conf, wish->down, prologue));
    int r = open_or_wait(w, wish, &opening, ret_try);
    if (ret_try->target)
        ret_try->local = upstream_worker_hold(w);
    return r;
}

/* An open circuit is said at once: the line will hear of it in its own time. */
static bool circuit_is_open(const struct upstream_worker *w)
{
    const struct breaker_conf *conf = w->upstream->conf->balance.circuit_breaker;
    return conf && breaker_wait_ms(&w->upstream->cluster->breaker, conf, w->loop->now_ns) > 0;
}

/* Who waits already is not overtaken. */
static bool has_to_stand_behind(struct upstream_worker *w, const struct upstream_wish *wish)
{
    if (!w->balancer.queues || (wish->wait && wish->wait->place) ||
        !queue_line_has_waiters(&w->upstream->cluster->queue.any) || circuit_is_open(w))
        return false;
    w->balancer.lacked = LIMIT_REQUESTS;
    w->balancer.lacked_target = NULL;
    return true;
}

static int open_or_wait(struct upstream_worker *w, const struct upstream_wish *wish, const struct opening *opening,
                        struct upstream_try *ret_try)
{
    struct upstream_wait *wait = w->balancer.queues ? wish->wait : NULL;
    if (wait && upstream_wait_is_over(wait)) {
        upstream_wait_end(wait, NULL);
        ret_try->lacked = wait->lacked;
        return -ERR_QUEUE_TIMEOUT;
    }
    int r = has_to_stand_behind(w, wish) ? -ERR_UPSTREAM_FULL : pick_and_open(w, wish, opening, ret_try);
    ret_try->lacked = w->balancer.lacked;
    while (r == -ERR_UPSTREAM_FULL && wait) {
        int again = upstream_wait_on(w, wait);
        if (again == 0)
            return UPSTREAM_WAITS;
        r = again < 0 ? again : pick_and_open(w, wish, opening, ret_try);
    }
    if (wait)
        upstream_wait_end(wait, ret_try->target);
    return r;
}

static void judge(struct upstream_try *try_, enum err err, unsigned status)
{
    struct upstream_worker *w = try_->local;
    const struct outcome outcome = {
        .err = err,
        .status = (uint16_t)status,
        .started_ns = try_->started_ns,
        .now_ns = w->loop->now_ns,
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
    else if (err == ERR_NONE && try_->answered)
        balancer_whole(&w->balancer, try_->target);
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
    struct tried passed;
    enum limit lacked = LIMIT_NONE;
    const struct upstream_wait *wait = w->balancer.queues ? wish->wait : NULL;
    struct wish wanted = {
        .key = wish->key,
        .sticky = wish->sticky,
        .tried = wish->tried,
        .retry_same = !wish->untried,
        .waits = wait != NULL,
        .called = wait && upstream_wait_has_turn(wait),
        .now_ns = w->loop->now_ns,
    };
    passed.count = 0;
    for (;;) {
        struct target *target;
        int r = balancer_pick(&w->balancer, &wanted, &target);
        if (r < 0)
            return lacked == LIMIT_NONE ? r : is_lacking(w, lacked);
        struct target_pool *pool = pool_get(w, target, opening->prologue);
        r = pool ? pool_open(pool, opening, &ret_try->stream) : -ERR_MEMORY;
        if (pool)
            pool_drop(pool);
        if (r != -ERR_UPSTREAM_FULL) {
            ret_try->target = target;
            return r;
        }
        if (passed.count == 0 && wish->tried)
            passed = *wish->tried;
        wanted.retry_same = false;
        wanted.tried = &passed;
        lacked = w->balancer.lacked;
        balancer_undo(&w->balancer, target, ret_try->started_ns);
        if (wanted.waits && is_of_session(w, wish, target)) {
            w->balancer.lacked_target = target;
            return r;
        }
        if (passed.count == TRIED_MAX)
            return is_lacking(w, lacked);
        tried_add(&passed, target);
    }
}

/* Its line is the one to wait in. The set holds the target. */
static bool is_of_session(const struct upstream_worker *w, const struct upstream_wish *wish,
                          const struct target *target)
{
    const struct target_slot *slot = wish->sticky ? target_set_find_sticky(w->balancer.set, wish->sticky) : NULL;
    return slot && slot->target == target;
}

/* A connection, whatever the last of several picks lacked. */
static int is_lacking(struct upstream_worker *w, enum limit lacked)
{
    w->balancer.lacked = lacked;
    w->balancer.lacked_target = NULL;
    return -ERR_UPSTREAM_FULL;
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
