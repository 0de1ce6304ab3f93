/*
 * A ring of whole lines from one producer to one consumer, without a lock.
 *
 *      [ ...free... | line line line | ...free... ]        a line is never split over the end: the producer leaves
 *        tail ------^                ^------ head          the rest of the lap empty and says so in `lap_end`
 *
 * Because lines are contiguous, what ring_peek returns ends with a line's end, and one write(2) of it to a file opened
 * with O_APPEND cannot be torn by another process that appends to the same file (the old process during an upgrade).
 * head and tail only grow; their low bits are offsets.  The producer's fields and the consumer's lie on different cache
 * lines.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Owned by the struct it is embedded in. */
struct ring {
    char *data;
    size_t size;                       /* a power of two */
    _Alignas(64) _Atomic(size_t) head; /* producer */
    size_t tail_seen; /* producer: a lower bound of tail, so that it rarely reads the consumer's line */
    size_t lap_end;   /* producer, published by head: offset where the last lap's lines end */
    _Alignas(64) _Atomic(size_t) tail; /* consumer */
};

/* `size` is rounded up to a power of two. -ERR_MEMORY. */
MUST_USE int ring_init(struct ring *ring, size_t size);
void ring_done(struct ring *ring);
/* Producer. All of it or nothing: false when there is no room, or when the line is longer than half the ring (it might
 * find no place even in an empty one). */
bool ring_put(struct ring *ring, const char *line, size_t len);
/* Producer: more than half is waiting. */
bool ring_is_pressing(const struct ring *ring);
/* Consumer: the lines that lie in one piece from the oldest on; 0 when there are none. They stay until consumed. */
size_t ring_peek(struct ring *ring, const char **ret_at);
void ring_consume(struct ring *ring, size_t len);
/* Any thread, sequentially consistent with ring_put: the consumer may announce its sleep and then look once more. */
bool ring_is_empty(const struct ring *ring);
