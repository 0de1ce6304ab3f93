/*
 * The queue: lines, calls, and the rules by which a call is never lost (queue.h).
 *
 * Sections under the lock are a few lines each: a waiter goes to the end of a line, or is taken from anywhere in one.
 * To find the first that may be called one steps over those that have been called already, which are on their way out
 * and no more than permits came free meanwhile. References of targets are given back outside of it, as they may end
 * one.
 */
#include "balance/queue.h"

#include "balance/target.h"
#include "base/assert.h"

void queue_line_init(struct queue_line *line)
{
    list_init(&line->waiters);
    atomic_init(&line->waiting, 0);
    line->spare = false;
}

void queue_init(struct queue *queue)
{
    pthread_mutex_init(&queue->lock, NULL);
    queue_line_init(&queue->any);
}

void queue_done(struct queue *queue)
{
    ENSURE(list_empty(&queue->any.waiters) && !queue_has_waiters(queue));
    pthread_mutex_destroy(&queue->lock);
}

/* ---- calling; under the lock ---- */

static struct waiter *waiter_of(struct link *link)
{
    return container_of(link, struct waiter, link);
}

static void deliver_call(struct letter *letter, struct loop *loop)
{
    struct waiter *waiter = container_of(letter, struct waiter, letter);
    ENSURE(waiter->loop == loop);
    if (waiter->queue) {
        waiter->delivered = true;
        waiter->on_called(waiter);
    }
    waiter_drop(waiter);
}

/* The first that has not been called, of those with this number or a higher one. */
static struct waiter *first_waiting(const struct queue_line *line, uint64_t from)
{
    LIST_FOR_EACH (at, &line->waiters)
        if (waiter_of(at)->state == WAITER_WAITING && waiter_of(at)->number >= from)
            return waiter_of(at);
    return NULL;
}

static struct waiter *earlier(struct waiter *a, struct waiter *b)
{
    if (!a || !b)
        return a ? a : b;
    return a->number < b->number ? a : b;
}

/* The letter's reference was taken beforehand (hold_for_letter), so that other threads never touch the count. */
static void call(struct waiter *waiter, struct target *cause, bool chain)
{
    ENSURE(waiter->state == WAITER_WAITING && !waiter->cause);
    waiter->state = WAITER_CALLED;
    waiter->chain = chain;
    waiter->cause = cause ? target_hold(cause) : NULL;
    loop_post(waiter->loop, &waiter->letter);
}

static void note_spare(struct queue_line *line)
{
    line->spare = !list_empty(&line->waiters);
}

static struct waiter *next_for(const struct queue *queue, const struct target *cause, uint64_t from)
{
    struct waiter *waiter = first_waiting(&queue->any, from);
    return cause ? earlier(waiter, first_waiting(&cause->line, from)) : waiter;
}

/* A permit is free: for the first of `any` and of the target's line; if all there have been called, it is noted. */
static void call_one(struct queue *queue, struct target *cause, bool chain)
{
    struct waiter *waiter = next_for(queue, cause, 0);
    if (waiter) {
        call(waiter, cause, chain);
        return;
    }
    note_spare(&queue->any);
    if (cause)
        note_spare(&cause->line);
}

void queue_call_first(struct queue *queue, struct target *target)
{
    pthread_mutex_lock(&queue->lock);
    call_one(queue, target, false);
    pthread_mutex_unlock(&queue->lock);
}

void queue_call_all(struct queue *queue, struct target *target)
{
    pthread_mutex_lock(&queue->lock);
    call_one(queue, NULL, true);
    for (struct waiter *waiter; target && (waiter = first_waiting(&target->line, 0));)
        call(waiter, target, false);
    if (target)
        note_spare(&target->line);
    pthread_mutex_unlock(&queue->lock);
}

bool queue_next_is_on(struct queue *queue, const struct target *target, const struct loop *loop)
{
    if (!queue_has_waiters(queue))
        return false;
    pthread_mutex_lock(&queue->lock);
    const struct waiter *waiter = next_for(queue, target, 0);
    bool here = waiter && waiter->loop == loop;
    pthread_mutex_unlock(&queue->lock);
    return here;
}

/* ---- lines; under the lock ---- */

static void count(atomic_uint *waiting, int by)
{
    atomic_fetch_add_explicit(waiting, (unsigned)by, memory_order_seq_cst);
}

static void want_connection(struct waiter *waiter, bool wants)
{
    if (wants != waiter->wanting_connection)
        count(&waiter->queue->wanting_connections, wants ? 1 : -1);
    waiter->wanting_connection = wants;
}

/* In the order of numbers: who comes from another line may have been there before others. */
static void stand_in(struct queue_line *line, struct waiter *waiter)
{
    struct link *before = line->waiters.prev;
    while (before != &line->waiters && waiter_of(before)->number > waiter->number)
        before = before->prev;
    list_push_front(before, &waiter->link);
    waiter->line = line;
    count(&line->waiting, 1);
}

static void step_out(struct waiter *waiter)
{
    list_unlink(&waiter->link);
    count(&waiter->line->waiting, -1);
    if (list_empty(&waiter->line->waiters))
        waiter->line->spare = false;
}

static struct queue_line *line_of(struct queue *queue, struct target *target)
{
    return target ? &target->line : &queue->any;
}

/* What it was called for, which the caller gives back. */
static struct target *take_cause(struct waiter *waiter)
{
    struct target *cause = waiter->cause;
    waiter->cause = NULL;
    return cause;
}

static void let_go(struct target *target)
{
    if (target)
        target_drop(target);
}

/* ---- waiters ---- */

void waiter_init(struct waiter *waiter, struct loop *loop, void (*on_called)(struct waiter *waiter),
                 void (*free)(struct waiter *waiter))
{
    *waiter = (struct waiter){
        .letter.deliver = deliver_call, .loop = loop, .on_called = on_called, .free = free, .refs = 1
    };
    list_init(&waiter->link);
}

void waiter_drop(struct waiter *waiter)
{
    ENSURE(waiter->refs > 0);
    if (--waiter->refs == 0)
        waiter->free(waiter);
}

/* While it waits, or its letter is under way, there is a reference for the letter. */
static void hold_for_letter(struct waiter *waiter)
{
    waiter->refs++;
    waiter->delivered = false;
}

int queue_join(struct queue *queue, struct waiter *waiter, const struct lack *lack, uint32_t size_max)
{
    ENSURE(waiter->state == WAITER_OUT && !waiter->queue);
    struct queue_line *line = line_of(queue, lack->target);
    pthread_mutex_lock(&queue->lock);
    if (atomic_load_explicit(&queue->waiting, memory_order_relaxed) >= size_max) {
        pthread_mutex_unlock(&queue->lock);
        atomic_fetch_add_explicit(&queue->refused, 1, memory_order_relaxed);
        return -ERR_QUEUE_FULL;
    }
    hold_for_letter(waiter);
    waiter->queue = queue;
    waiter->number = queue->next_number++;
    waiter->since_ns = waiter->loop->now_ns;
    waiter->want = lack->target ? target_hold(lack->target) : NULL;
    bool first = list_empty(&line->waiters);
    stand_in(line, waiter);
    count(&queue->waiting, 1);
    want_connection(waiter, lack->connection);
    waiter->state = WAITER_WAITING;
    if (line->spare) {
        line->spare = false;
        call(first_waiting(line, 0), lack->target, true);
    }
    pthread_mutex_unlock(&queue->lock);
    atomic_fetch_add_explicit(&queue->waits, 1, memory_order_relaxed);
    return first;
}

/* It could not use what it was called for, but one behind it might: whose session that target's is, who has a
 * connection on its worker, who does not miss what this one does. */
static void pass_further(struct waiter *waiter, const struct lack *lack)
{
    struct target *cause = waiter->cause;
    bool other = lack->connection || waiter->want != lack->target || (cause && queue_line_has_waiters(&cause->line));
    struct waiter *next = other ? next_for(waiter->queue, cause, waiter->number + 1) : NULL;
    if (next)
        call(next, cause, waiter->chain);
}

/* True when it changed. The old target's reference is left to the caller. */
static bool change_line(struct waiter *waiter, struct target *want, struct target **ret_left)
{
    if (waiter->want == want)
        return false;
    *ret_left = waiter->want;
    step_out(waiter);
    waiter->want = want ? target_hold(want) : NULL;
    stand_in(line_of(waiter->queue, want), waiter);
    return true;
}

int queue_stay(struct waiter *waiter, const struct lack *lack)
{
    struct queue *queue = waiter->queue;
    struct target *left = NULL, *cause = NULL;
    bool again = false;
    ENSURE(queue);
    pthread_mutex_lock(&queue->lock);
    ENSURE(waiter->state != WAITER_OUT);
    want_connection(waiter, lack->connection);
    if (waiter->state == WAITER_CALLED && waiter->delivered) {
        pass_further(waiter, lack);
        cause = take_cause(waiter);
        hold_for_letter(waiter);
        waiter->state = WAITER_WAITING;
        again = change_line(waiter, lack->target, &left) || waiter->line->spare;
        waiter->line->spare = false;
    }
    pthread_mutex_unlock(&queue->lock);
    let_go(left);
    let_go(cause);
    return again;
}

/* What it was called for goes on to the next, when it was not what it took; and what may be free beyond it. */
static void pass_on(struct waiter *waiter, const struct target *served, bool spare)
{
    struct queue *queue = waiter->queue;
    struct target *cause = waiter->cause;
    bool called = waiter->state == WAITER_CALLED, by_call = called && waiter->delivered;
    if (called && (!served || !by_call || (cause && cause != served)))
        call_one(queue, cause, waiter->chain);
    if (spare || (served && (!by_call || waiter->chain)))
        call_one(queue, waiter->want, true);
}

void queue_leave(struct waiter *waiter, struct target *served)
{
    struct queue *queue = waiter->queue;
    if (!queue)
        return;
    pthread_mutex_lock(&queue->lock);
    bool spare = waiter->line->spare, uncalled = waiter->state == WAITER_WAITING;
    waiter->line->spare = false;
    step_out(waiter);
    count(&queue->waiting, -1);
    want_connection(waiter, false);
    pass_on(waiter, served, spare);
    waiter->state = WAITER_OUT;
    pthread_mutex_unlock(&queue->lock);
    atomic_fetch_add_explicit(&queue->wait_ns, waiter->loop->now_ns - waiter->since_ns, memory_order_relaxed);
    let_go(take_cause(waiter));
    let_go(waiter->want);
    waiter->want = NULL;
    waiter->queue = NULL;
    if (uncalled) /* no letter will come for it */
        waiter_drop(waiter);
}
