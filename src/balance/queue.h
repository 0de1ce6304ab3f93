/*
 * Those who wait for a permit: one queue an upstream, for all workers together, first come first served.
 *
 *      any       requests that any target would do, or that wait for the upstream's own permit
 *      a line    at each target: sessions that want that very target, and it is full
 *
 * Whoever gives a permit back calls the one that has waited longest of those it could be for: by a letter to its
 * worker, where it picks anew. Nothing is handed over, so that a permit which nobody can use is not held by anyone; but
 * newcomers stand behind those who wait (they look at `any.waiting` and at the line's) and cannot take it first. The
 * lock is touched only by those who have to wait and, while somebody waits, by those who give back.
 *
 * No call is lost:
 *      - who joins an empty line looks once more for a permit afterwards: one given back before was not called for;
 *      - who was served by such a look, or by a call that says so (`chain`), calls the next one: there may be more;
 *      - a permit that comes free when all in the line have been called is noted (`spare`), and the next one who joins
 *        or has to wait on is told to look again;
 *      - a call that is not used, since its waiter has left or took another target's permit, goes on to the next.
 *
 * A waiter is an object of its own: a letter may be on its way to it when its request ends. Its worker alone counts
 * its references.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "loop/loop.h"

struct target;

/* Waiters in the order in which they came, whatever line they stood in before. Under the queue's lock; `waiting` is
 * read by anyone. */
struct queue_line {
    struct link waiters;
    atomic_uint waiting;
    bool spare;
};

struct queue {
    _Alignas(64) atomic_uint waiting; /* in all lines */
    atomic_uint wanting_connections;  /* of them, those that miss no more than a connection */
    pthread_mutex_t lock;
    struct queue_line any;
    uint64_t next_number;
    /* ever */
    atomic_ullong waits, timeouts, refused;
    atomic_ullong wait_ns; /* of all waits that are over, however they ended */
};

enum waiter_state { WAITER_OUT, WAITER_WAITING, WAITER_CALLED };

struct waiter {
    struct letter letter;
    struct link link;
    struct queue *queue;
    struct queue_line *line;
    struct target *want;  /* a reference while it stands in that target's line; NULL: in `any` */
    struct target *cause; /* a reference: whose permit it was called for; NULL: the upstream's */
    struct loop *loop;
    void (*on_called)(struct waiter *waiter); /* on its worker; never after it has left */
    void (*free)(struct waiter *waiter);      /* with the last reference */
    uint64_t number, since_ns;
    uint32_t refs; /* its worker's alone */
    enum waiter_state state;
    bool chain;              /* whoever was called so calls the next */
    bool delivered;          /* its letter has come; its worker's alone */
    bool wanting_connection; /* counted as such */
};

/* Its letter has come, and it is its turn. */
static inline bool waiter_is_called(const struct waiter *waiter)
{
    return waiter->delivered;
}

void queue_init(struct queue *queue);
void queue_done(struct queue *queue); /* nobody waits any more */
void queue_line_init(struct queue_line *line);

/* What a waiter misses. */
struct lack {
    struct target *target; /* it is this one's line; NULL: any */
    bool connection;
};

/* A waiter is made with one reference of its owner's; `loop` is its worker's. It joins once. */
void waiter_init(struct waiter *waiter, struct loop *loop, void (*on_called)(struct waiter *waiter),
                 void (*free)(struct waiter *waiter));
void waiter_drop(struct waiter *waiter);

/* On the waiter's worker, all four. */

/* At the end. -ERR_QUEUE_FULL when `size_max` wait already; 1: it has to look once more, now; 0: it is called. */
MUST_USE int queue_join(struct queue *queue, struct waiter *waiter, const struct lack *lack, uint32_t size_max);
/* It looked and there was nothing for it: it keeps its place, or has it in another line. 1: once more, now; 0: it is
 * called. */
MUST_USE int queue_stay(struct waiter *waiter, const struct lack *lack);
/* It was served (`served`: by this target), or gives up (NULL). on_called never comes any more. */
void queue_leave(struct waiter *waiter, struct target *served);
/* Gone by its time, for the count. */
static inline void queue_note_timeout(struct queue *queue)
{
    atomic_fetch_add_explicit(&queue->timeouts, 1, memory_order_relaxed);
}

/* Any thread. */

void queue_call_first(struct queue *queue, struct target *target);
void queue_call_all(struct queue *queue, struct target *target);
/* The first waiter that a permit of this target's would be for is on that loop; false when there is none. */
bool queue_next_is_on(struct queue *queue, const struct target *target, const struct loop *loop);

static inline bool queue_has_waiters(const struct queue *queue)
{
    return atomic_load_explicit(&queue->waiting, memory_order_seq_cst) > 0;
}
static inline bool queue_line_has_waiters(const struct queue_line *line)
{
    return atomic_load_explicit(&line->waiting, memory_order_seq_cst) > 0;
}
/* A permit of this target's, and maybe of the upstream's, has been given back. The caller holds the target. */
static inline void queue_call(struct queue *queue, struct target *target)
{
    if (queue_has_waiters(queue))
        queue_call_first(queue, target);
}
/* More may have come free at once, or targets changed: those in `any` look one after the other, as long as they find
 * something; those in the line of `target` (NULL: of none) all of them. */
static inline void queue_stir(struct queue *queue, struct target *target)
{
    if (queue_has_waiters(queue))
        queue_call_all(queue, target);
}
