/*
 * Counting in a rolling window.
 */
#include "balance/window.h"

#include "base/assert.h"

enum { COUNT_BITS = 22, TAG_SHIFT = 2 * COUNT_BITS, TAGS = (1 << 20) - 1 };

/* What other workers add meanwhile does not run into the next field. */
enum { COUNT_MASK = (1 << COUNT_BITS) - 1, COUNT_MAX = COUNT_MASK - 1024 };

/* Never 0: that is a bucket that was never used. */
static uint64_t tag_of(uint64_t tenth)
{
    return 1 + tenth % TAGS;
}

void window_add(struct window *window, uint64_t tenth_ms, uint64_t now_ms, bool all, bool bad)
{
    ENSURE(tenth_ms > 0);
    uint64_t tenth = now_ms / tenth_ms, tag = tag_of(tenth);
    atomic_ullong *bucket = &window->buckets[tenth % WINDOW_TENTHS];
    unsigned long long add = ((uint64_t)bad << COUNT_BITS) | (uint64_t)all;
    unsigned long long word = atomic_load_explicit(bucket, memory_order_relaxed);
    while (word >> TAG_SHIFT != tag)
        if (atomic_compare_exchange_weak_explicit(bucket, &word, (tag << TAG_SHIFT) | add, memory_order_relaxed,
                                                  memory_order_relaxed))
            return;
    if ((word & COUNT_MASK) < COUNT_MAX && (word >> COUNT_BITS & COUNT_MASK) < COUNT_MAX)
        atomic_fetch_add_explicit(bucket, add, memory_order_relaxed);
}

struct window_sum window_sum(const struct window *window, uint64_t tenth_ms, uint64_t now_ms)
{
    struct window_sum sum = { 0, 0 };
    uint64_t tenth = now_ms / tenth_ms;
    for (uint64_t back = 0; back < WINDOW_TENTHS && back <= tenth; back++) {
        const atomic_ullong *bucket = &window->buckets[(tenth - back) % WINDOW_TENTHS];
        uint64_t word = atomic_load_explicit(bucket, memory_order_relaxed);
        if (word >> TAG_SHIFT != tag_of(tenth - back))
            continue;
        sum.all += (uint32_t)(word & COUNT_MASK);
        sum.bad += (uint32_t)(word >> COUNT_BITS & COUNT_MASK);
    }
    return sum;
}

void window_clear(struct window *window)
{
    for (int i = 0; i < WINDOW_TENTHS; i++)
        atomic_store_explicit(&window->buckets[i], 0, memory_order_relaxed);
}
