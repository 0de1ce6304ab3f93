/*
 * A try in the queue. Its place is an object of its own, charged to the worker: a letter may be under way to it when
 * the exchange ends. Its worker alone touches it.
 */
#include "upstream/waiting.h"

#include "balance/queue.h"
#include "base/assert.h"
#include "base/memory.h"
#include "base/sys.h"
#include "upstream/state.h"

struct waiting {
    struct waiter waiter;
    struct timer timer;
    struct upstream_wait *wait; /* NULL: it has left */
    bool expired;
};

static void on_called(struct waiter *waiter)
{
    struct waiting *place = container_of(waiter, struct waiting, waiter);
    place->wait->on_turn(place->wait);
}

static void on_timer(struct timer *timer)
{
    struct waiting *place = container_of(timer, struct waiting, timer);
    place->expired = true;
    place->wait->on_turn(place->wait);
}

static void place_free(struct waiter *waiter)
{
    struct waiting *place = container_of(waiter, struct waiting, waiter);
    memory_put(waiter->loop->memory, place, sizeof *place);
}

static int join(struct upstream_worker *w, struct upstream_wait *wait, const struct lack *lack)
{
    const struct queue_conf *conf = w->upstream->conf->queue;
    struct waiting *place = memory_get(w->loop->memory, sizeof *place);
    if (!place)
        return -ERR_MEMORY;
    waiter_init(&place->waiter, w->loop, on_called, place_free);
    timer_init(&place->timer, on_timer);
    place->wait = wait;
    place->expired = false;
    int rc = queue_join(&w->upstream->cluster->queue, &place->waiter, lack, (uint32_t)conf->size);
    if (rc < 0) {
        waiter_drop(&place->waiter);
        return rc;
    }
    timer_set(w->loop, &place->timer, w->loop->now_ms + (uint64_t)conf->timeout_ms);
    wait->place = place;
    return rc;
}

int upstream_wait_on(struct upstream_worker *w, struct upstream_wait *wait)
{
    const struct balancer *b = &w->balancer;
    const struct lack lack = { .target = b->lacked_target,
                               .connection = b->lacked == LIMIT_CONNECTIONS || b->lacked == LIMIT_TARGET_CONNECTIONS };
    wait->lacked = b->lacked;
    int rc = wait->place ? queue_stay(&wait->place->waiter, &lack) : join(w, wait, &lack);
    if (rc >= 0 && lack.connection)
        upstream_ask_for_idle(w);
    return rc;
}

bool upstream_wait_is_over(const struct upstream_wait *wait)
{
    return wait->place && wait->place->expired;
}

bool upstream_wait_has_turn(const struct upstream_wait *wait)
{
    return wait->place && waiter_is_called(&wait->place->waiter);
}

void upstream_wait_end(struct upstream_wait *wait, struct target *served)
{
    struct waiting *place = wait->place;
    if (!place)
        return;
    struct loop *loop = place->waiter.loop;
    wait->place = NULL;
    wait->waited_ns += loop->now_ns - place->waiter.since_ns;
    place->wait = NULL;
    timer_clear(loop, &place->timer);
    if (place->expired && !served)
        queue_note_timeout(place->waiter.queue);
    queue_leave(&place->waiter, served);
    waiter_drop(&place->waiter);
}

void upstream_wait_leave(struct upstream_wait *wait)
{
    upstream_wait_end(wait, NULL);
}

/* ---- idle connections of other workers ---- */

struct ask_letter {
    struct letter letter;
    struct upstream *upstream; /* a reference */
    unsigned worker;
};

static void deliver_ask(struct letter *letter, struct loop *loop)
{
    struct ask_letter *ask = container_of(letter, struct ask_letter, letter);
    struct upstream *upstream = ask->upstream;
    struct upstream_worker *w = upstream->attached[ask->worker];
    const struct queue *queue = &upstream->cluster->queue;
    if (w && atomic_load_explicit(&queue->wanting_connections, memory_order_relaxed) > 0)
        pools_yield_one(w);
    upstream_drop(upstream);
    mem_free(ask);
}

static void ask(struct upstream *upstream, unsigned worker)
{
    struct ask_letter *ask = mem_alloc(sizeof *ask);
    if (!ask)
        return; /* then it waits for one that comes free by itself */
    *ask = (struct ask_letter){ .letter.deliver = deliver_ask, .upstream = upstream_hold(upstream), .worker = worker };
    loop_post(upstream->loops[worker], &ask->letter);
}

/* Under the lock, so that no loop ends while a letter is on its way into it. */
void upstream_ask_for_idle(struct upstream_worker *w)
{
    struct upstream *upstream = w->upstream;
    pthread_mutex_lock(&upstream->lock);
    for (unsigned i = 0; i < upstream->workers; i++)
        if (i != w->worker && upstream->loops[i] &&
            atomic_load_explicit(&upstream_cell(upstream, i)->idle, memory_order_relaxed) > 0)
            ask(upstream, i);
    pthread_mutex_unlock(&upstream->lock);
}
