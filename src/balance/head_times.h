/*
 * How long an upstream's services take to answer, as a rolling histogram that all workers share: what "later than 95
 * of 100" means now.
 *
 * Two windows: one is being filled, one is full; both together are what is known. Relaxed atomics; a count that is lost
 * while a window turns does not matter.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum {
    HEAD_TIMES_BUCKETS = 136,   /* eight to each doubling, from 128 us to 16 s */
    HEAD_TIMES_WINDOW_S = 15,   /* how long one is filled */
    HEAD_TIMES_COUNT_MIN = 100, /* a share of fewer says nothing */
};

struct head_times_window {
    atomic_uint buckets[HEAD_TIMES_BUCKETS];
};

/* Part of a cluster; written by all workers where hedging goes by a quantile, and left alone elsewhere. */
struct head_times {
    _Alignas(64) atomic_ullong begin_ns; /* of the window that is being filled; 0: none yet */
    atomic_uint current;                 /* its index */
    struct head_times_window windows[2];
};

/* A try's head came after so long, or had not come until then. `now_ns` is the loop's. */
void head_times_add(struct head_times *times, uint64_t took_ns, uint64_t now_ns);
/* The time that so many per cent do not exceed, rounded up by at most an eighth; 0 while too few have been seen. */
uint64_t head_times_quantile_ns(struct head_times *times, unsigned percent, uint64_t now_ns);
