/*
 * The rolling histogram of times to the answer's head.  Buckets are an eighth of a power of two wide: an answer late by
 * that much is no other answer.
 */
#include "balance/head_times.h"

#include "base/assert.h"

enum { SHARES_BITS = 3, FIRST_BIT = 7, WINDOWS = 2 }; /* 1 << FIRST_BIT microseconds is the first bucket's upper end */

#define WINDOW_NS ((uint64_t)HEAD_TIMES_WINDOW_S * 1000000000)

static unsigned bucket_of(uint64_t us)
{
    if (us < 1u << FIRST_BIT)
        return 0;
    unsigned top = 63 - (unsigned)__builtin_clzll(us);
    unsigned share = (unsigned)(us >> (top - SHARES_BITS)) & ((1u << SHARES_BITS) - 1);
    unsigned bucket = ((top - FIRST_BIT) << SHARES_BITS) + share;
    return MIN(bucket, (unsigned)HEAD_TIMES_BUCKETS - 1);
}

/* Of what a bucket holds, the longest. */
static uint64_t upper_end_us(unsigned bucket)
{
    unsigned top = (bucket >> SHARES_BITS) + FIRST_BIT, share = bucket & ((1u << SHARES_BITS) - 1);
    return (((uint64_t)(1u << SHARES_BITS) + share + 1) << (top - SHARES_BITS)) - 1;
}

static void clear(struct head_times_window *window)
{
    for (unsigned i = 0; i < HEAD_TIMES_BUCKETS; i++)
        atomic_store_explicit(&window->buckets[i], 0, memory_order_relaxed);
}

/* The one worker that moves the beginning turns the windows. */
static void roll(struct head_times *times, uint64_t now_ns)
{
    unsigned long long begin_ns = atomic_load_explicit(&times->begin_ns, memory_order_relaxed);
    if (begin_ns != 0 && now_ns < begin_ns + WINDOW_NS)
        return;
    if (!atomic_compare_exchange_strong_explicit(&times->begin_ns, &begin_ns, now_ns, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    if (begin_ns == 0)
        return;
    unsigned current = atomic_load_explicit(&times->current, memory_order_relaxed);
    if (now_ns >= begin_ns + WINDOWS * WINDOW_NS) /* what was being filled is too old as well */
        clear(&times->windows[current]);
    current ^= 1;
    clear(&times->windows[current]);
    atomic_store_explicit(&times->current, current, memory_order_relaxed);
}

void head_times_add(struct head_times *times, uint64_t took_ns, uint64_t now_ns)
{
    roll(times, now_ns);
    struct head_times_window *window = &times->windows[atomic_load_explicit(&times->current, memory_order_relaxed)];
    atomic_fetch_add_explicit(&window->buckets[bucket_of(took_ns / 1000)], 1, memory_order_relaxed);
}

static uint64_t count_in(const struct head_times *times, unsigned bucket)
{
    return (uint64_t)atomic_load_explicit(&times->windows[0].buckets[bucket], memory_order_relaxed) +
           atomic_load_explicit(&times->windows[1].buckets[bucket], memory_order_relaxed);
}

uint64_t head_times_quantile_ns(struct head_times *times, unsigned percent, uint64_t now_ns)
{
    ENSURE(percent > 0 && percent < 100);
    roll(times, now_ns);
    uint64_t all = 0, below = 0;
    for (unsigned i = 0; i < HEAD_TIMES_BUCKETS; i++)
        all += count_in(times, i);
    if (all < HEAD_TIMES_COUNT_MIN)
        return 0;
    uint64_t wanted = (all * percent + 99) / 100;
    for (unsigned i = 0; i < HEAD_TIMES_BUCKETS; i++) {
        below += count_in(times, i);
        if (below >= wanted)
            return upper_end_us(i) * 1000;
    }
    return upper_end_us(HEAD_TIMES_BUCKETS - 1) * 1000; /* counts went while we looked */
}
