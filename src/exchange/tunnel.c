/*
 * A tunnel's time limits and its polite end.
 *
 * While it is open its bytes go from source to sink as in any exchange; a WebSocket's are looked at as they pass, for
 * the lengths of frames alone.  Bytes may have been looked at and still wait in the source (the receiver is slow), so
 * where they are is counted: `followed` is an offset in all that ever entered the source, and what was followed and is
 * still there belongs in front of any Close.
 */
#include "exchange/tunnel.h"

#include "base/assert.h"
#include "base/memory.h"
#include "exchange/spine.h"

const char *const tunnel_end_words[TUNNEL_ENDS] = { "client", "service", "idle", "lifetime", "draining", "error" };

int tunnel_begin(struct exchange *x)
{
    x->passage = arena_zalloc(x->arena, sizeof(*x->passage));
    if (!x->passage)
        return -ERR_MEMORY;
    x->passage->first = TUNNEL_ENDS;
    tunnel_moved(x);
    return 0;
}

/* ---- limits ---- */

static uint64_t nearer(uint64_t a, uint64_t b)
{
    return a && (!b || a < b) ? a : b;
}

static void set_deadline(struct exchange *x)
{
    const struct tunnel *t = x->passage;
    x->deadline_ms = t->closing ? t->answer_at_ms : nearer(nearer(t->idle_at_ms, t->lifetime_at_ms), t->drain_at_ms);
    exchange_arm(x);
}

static uint64_t from_now(const struct exchange *x, int64_t ms)
{
    return ms > 0 ? x->worker->loop.now_ms + (uint64_t)ms : 0;
}

void tunnel_moved(struct exchange *x)
{
    x->passage->idle_at_ms = from_now(x, x->plan->tunnel_idle_ms);
    if (!x->passage->closing)
        set_deadline(x);
}

static void count_open(struct worker *worker, int change)
{
    worker->tunnel_count += (uint32_t)change;
    if (worker->tunnels)
        series_set(worker->tunnels->open, worker->index, worker->tunnel_count);
}

void tunnel_open(struct exchange *x)
{
    struct tunnel *t = x->passage;
    const struct pipe *in = &x->down->in, *source = x->source;
    ENSURE(x->head_down && !t->open);
    t->open = true;
    t->websocket = websocket_is(x->response.upgrade);
    t->ways[DIR_REQUEST].followed = in->total - in->bytes;
    t->ways[DIR_RESPONSE].followed = source ? source->total - source->bytes : 0;
    t->lifetime_at_ms = from_now(x, x->plan->tunnel_lifetime_ms);
    if (x->host && x->host->draining)
        t->drain_at_ms = x->worker->loop.now_ms;
    count_open(x->worker, 1);
    set_deadline(x);
}

static bool can_be_told(const struct exchange *x)
{
    const struct tunnel *t = x->passage;
    return t->websocket && t->open && !t->ways[DIR_REQUEST].frames.broken && !t->ways[DIR_RESPONSE].frames.broken;
}

static void begin_farewell(struct exchange *x, enum err err)
{
    struct tunnel *t = x->passage;
    ENSURE(!t->closing);
    t->closing = (uint8_t)err;
    t->answer_at_ms = from_now(x, CLOSE_ANSWER_MS);
    if (x->record.err == ERR_NONE)
        x->record.err = (uint8_t)err;
    for (int d = 0; d < DIR_COUNT; d++)
        pipe_init(&t->ways[d].out, &x->worker->memory, UINT32_MAX);
    x->body = &t->ways[DIR_REQUEST].out;
    exchange_raise(x, EVENT_REQUEST_BODY | EVENT_RESPONSE_BODY);
}

static void end(struct exchange *x, enum err err)
{
    if (can_be_told(x))
        begin_farewell(x, err);
    else
        answer_error(x, err);
}

void tunnel_due(struct exchange *x)
{
    struct tunnel *t = x->passage;
    uint64_t now = x->worker->loop.now_ms;
    if (t->closing) { /* they had their time */
        exchange_cancel_handler(x);
        exchange_abort(x, t->closing);
        return;
    }
    if (t->drain_at_ms && now >= t->drain_at_ms) {
        t->drain_at_ms = 0;
        if (can_be_told(x))
            begin_farewell(x, ERR_DRAINING);
    } else if (t->lifetime_at_ms && now >= t->lifetime_at_ms) {
        end(x, ERR_TUNNEL_LIFETIME);
    } else if (t->idle_at_ms && now >= t->idle_at_ms) {
        end(x, ERR_TUNNEL_IDLE);
    }
    if (!x->ended && x->passage)
        set_deadline(x);
}

void exchanges_drain(struct worker *worker, const struct stream_host *host, uint64_t spread_ms)
{
    LIST_FOR_EACH (link, &worker->exchanges) {
        struct exchange *x = container_of(link, struct exchange, link);
        struct tunnel *t = x->passage;
        if (!t || !t->open || t->closing || (host && x->host != host))
            continue;
        uint64_t wait_ms = spread_ms ? rng_below(&worker->rng, (uint32_t)spread_ms) : 0;
        t->drain_at_ms = nearer(t->drain_at_ms, worker->loop.now_ms + wait_ms);
        set_deadline(x);
    }
}

/* ---- bytes ---- */

/* What of the source has been followed and is there still; false when some went by unseen. */
static bool find_place(struct tunnel_way *way, const struct pipe *source, size_t *ret_seen)
{
    uint64_t fresh = source->total - way->followed;
    if (fresh > source->bytes || source->kernel_bytes > 0) {
        way->frames.broken = true;
        way->followed = source->total;
        fresh = 0;
    }
    *ret_seen = source->bytes - (size_t)fresh;
    return !way->frames.broken;
}

/* Follows what came behind the first `seen` bytes: all of it, or up to the next end of a frame. */
static void follow(struct tunnel_way *way, const struct pipe *source, size_t seen, bool to_boundary)
{
    for (const struct chunk *c = source->first; c; c = c->next) {
        size_t len = c->end - c->begin, skip = MIN(seen, len), taken = len - skip;
        const char *fresh = c->data + c->begin + skip;
        seen -= skip;
        if (to_boundary)
            taken = websocket_follow_to_boundary(&way->frames, fresh, taken);
        else
            websocket_follow(&way->frames, fresh, taken);
        way->followed += taken;
        if (taken < len - skip)
            return;
    }
}

static int say_close(struct exchange *x, struct tunnel_way *way, enum direction direction)
{
    char frame[WEBSOCKET_CLOSE_MAX];
    enum err err = x->passage->closing;
    struct slice reason = err == ERR_TUNNEL_IDLE       ? SLICE("idle for too long")
                          : err == ERR_TUNNEL_LIFETIME ? SLICE("lifetime is over")
                                                       : SLICE("draining");
    size_t len = websocket_close_frame(WEBSOCKET_GOING_AWAY, reason, direction == DIR_REQUEST, frame);
    return pipe_append(&way->out, frame, len);
}

/* The rest of the frame that has begun, then the Close, unless the peer's own was the last frame. */
static void pass_rest(struct exchange *x, enum direction direction, struct pipe *source)
{
    struct tunnel_way *way = &x->passage->ways[direction];
    size_t seen;
    if (way->farewell || way->out.bytes >= PIPE_ROOM_DEFAULT)
        return;
    if (find_place(way, source, &seen))
        follow(way, source, seen, true);
    size_t due = source->bytes - (size_t)(source->total - way->followed);
    if (pipe_move(source, &way->out, due) < due)
        return; /* no memory: tried again with what comes next, or cut when the time is over */
    if (websocket_at_boundary(&way->frames))
        way->farewell = way->frames.closed || say_close(x, way, direction) == 0;
}

/* Behind the farewell: only a Close is waited for. */
static void drop_rest(struct tunnel_way *way, struct pipe *source)
{
    size_t seen;
    if (!way->farewell)
        return;
    if (find_place(way, source, &seen))
        follow(way, source, seen, false);
    pipe_consume(source, source->bytes - source->kernel_bytes);
}

static void end_ways(struct exchange *x)
{
    struct tunnel *t = x->passage;
    for (int d = 0; d < DIR_COUNT; d++) {
        struct tunnel_way *way = &t->ways[d];
        if (way->out.end != PIPE_OPEN || !way->farewell || !t->ways[!d].over)
            continue;
        pipe_finish(&way->out, NULL);
        exchange_raise(x, d == DIR_REQUEST ? EVENT_REQUEST_BODY : EVENT_RESPONSE_BODY);
    }
}

static struct pipe *pass_closing(struct exchange *x, enum direction direction, struct pipe *source)
{
    struct tunnel_way *way = &x->passage->ways[direction];
    pass_rest(x, direction, source);
    drop_rest(way, source);
    if (pipe_drained(source) && !way->farewell) { /* in the middle of a frame */
        way->farewell = true;
        if (source->end == PIPE_CUT)
            pipe_cut(&way->out, source->err);
    }
    way->over = way->over || way->frames.closed || pipe_drained(source);
    end_ways(x);
    return &way->out;
}

static void note_first(struct tunnel *t, enum direction direction, const struct pipe *source)
{
    if (t->first == TUNNEL_ENDS && (source->end != PIPE_OPEN || t->ways[direction].frames.closed))
        t->first = direction == DIR_REQUEST ? TUNNEL_END_CLIENT : TUNNEL_END_SERVICE;
}

struct pipe *tunnel_pass(struct exchange *x, enum direction direction, struct pipe *source)
{
    struct tunnel *t = x->passage;
    size_t seen;
    if (!t || !t->open)
        return source;
    if (t->closing)
        return pass_closing(x, direction, source);
    if (t->websocket && find_place(&t->ways[direction], source, &seen))
        follow(&t->ways[direction], source, seen, false);
    note_first(t, direction, source);
    return source;
}

bool tunnel_answered(const struct exchange *x)
{
    return x->passage->ways[DIR_REQUEST].over && x->passage->ways[DIR_RESPONSE].over;
}

/* ---- the end ---- */

static enum tunnel_end why_ended(const struct exchange *x)
{
    const struct tunnel *t = x->passage;
    switch (x->record.err) {
    case ERR_TUNNEL_IDLE:
        return TUNNEL_END_IDLE;
    case ERR_TUNNEL_LIFETIME:
        return TUNNEL_END_LIFETIME;
    case ERR_DRAINING:
        return TUNNEL_END_DRAINING;
    default:
        break;
    }
    if (t->first < TUNNEL_ENDS)
        return t->first;
    enum err_side side = err_info(x->record.err)->side;
    return side == SIDE_CLIENT ? TUNNEL_END_CLIENT : side == SIDE_UPSTREAM ? TUNNEL_END_SERVICE : TUNNEL_END_ERROR;
}

void tunnel_done(struct exchange *x)
{
    struct tunnel *t = x->passage;
    struct worker *worker = x->worker;
    if (!t || !t->open)
        return;
    t->open = false;
    if (t->closing)
        for (int d = 0; d < DIR_COUNT; d++)
            pipe_done(&t->ways[d].out);
    enum tunnel_end why = why_ended(x);
    x->record.tunnel_end = tunnel_end_words[why];
    count_open(worker, -1);
    if (worker->tunnels)
        series_add(worker->tunnels->ended[why], worker->index, 1);
}
