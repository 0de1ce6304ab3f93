/*
 * Permits: so many of something at once over all workers, exactly.
 *
 * One is counted before it is used. A count never exceeds its limit, not even for the moment in which somebody is
 * refused: others would find it full and be refused, or wait, for nothing. Those who wait are called when one is given
 * back (queue.h), so counts are ordered with the look at who waits: sequentially consistent, which costs nothing more
 * than the locked instruction that counting is anyway.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"

/* Which limit stood in the way. */
enum limit {
    LIMIT_NONE,
    LIMIT_REQUESTS,
    LIMIT_TARGET_REQUESTS,
    LIMIT_CONNECTIONS,
    LIMIT_TARGET_CONNECTIONS,
};
/* For people: which setting it is. "" for LIMIT_NONE. */
const char *limit_text(enum limit limit);

/* Of an upstream as a whole; kept while its settings have such a limit. */
struct permits {
    _Alignas(64) atomic_uint requests; /* tries on all its targets */
    atomic_uint connections;           /* open or opening, idle ones included */
};

static inline bool permit_take(atomic_uint *count, uint32_t max)
{
    unsigned now = atomic_load_explicit(count, memory_order_seq_cst);
    while (now < max)
        if (atomic_compare_exchange_weak_explicit(count, &now, now + 1, memory_order_seq_cst, memory_order_seq_cst))
            return true;
    return false;
}
/* 0: any number. */
static inline bool permit_take_any(atomic_uint *count, uint32_t max)
{
    if (max)
        return permit_take(count, max);
    atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
    return true;
}
static inline void permit_give(atomic_uint *count)
{
    unsigned before = atomic_fetch_sub_explicit(count, 1, memory_order_seq_cst);
    ENSURE(before > 0);
}
