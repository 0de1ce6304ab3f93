/*
 * How much of what an algorithm means for a target it takes now: less than all of it while it warms up.
 *
 * A share works by lot behind the algorithm: a pick that draws too high passes to the algorithm's next choice. So it
 * composes with every algorithm; for keyed ones the key is the lot, so that more and more keys come to the new target
 * and none goes back and forth.
 */
#pragma once

#include <stdint.h>

#include "balance/conf.h"
#include "balance/spread.h"
#include "balance/target.h"

enum { SHARE_MIN = SPREAD_ONE / 10 }; /* a target that gets nothing never warms up */

_Static_assert((int)BREAKER_ONE == (int)SPREAD_ONE, "shares of one kind");

/* Slow start: rises in a straight line from a tenth since the target became available. */
static inline uint32_t warm_share(const struct target *target, const struct balance_conf *conf, uint64_t now_ns)
{
    if (conf->slow_start_ms == 0)
        return SPREAD_ONE;
    uint64_t since_ns = atomic_load_explicit(&target->available_ns, memory_order_relaxed);
    uint64_t window_ns = (uint64_t)conf->slow_start_ms * 1000000;
    if (since_ns == 0 || now_ns < since_ns || now_ns - since_ns >= window_ns)
        return SPREAD_ONE;
    return SHARE_MIN + (uint32_t)((double)(now_ns - since_ns) / (double)window_ns * (SPREAD_ONE - SHARE_MIN));
}

/* Of SPREAD_ONE: as warm as it is, and no more than a closing breaker lets through. One that is half-open takes
 * whatever comes: how many probes there are is decided behind it. */
static inline uint32_t own_share(const struct target *target, const struct balance_conf *conf, uint64_t now_ns)
{
    if (!conf->target_circuit_breaker || breaker_state(&target->breaker) == BREAKER_CLOSED)
        return warm_share(target, conf, now_ns);
    if (breaker_state(&target->breaker) != BREAKER_RAMPING)
        return SPREAD_ONE;
    uint32_t warm = warm_share(target, conf, now_ns);
    uint32_t ramp = breaker_share(&target->breaker, conf->target_circuit_breaker, now_ns);
    return warm < ramp ? warm : ramp;
}

/* Of that, what its agent lets it take. */
static inline uint32_t target_share(const struct target *target, const struct balance_conf *conf, uint64_t now_ns)
{
    uint32_t share = own_share(target, conf, now_ns);
    uint32_t withheld = atomic_load_explicit(&target->agent.withheld, memory_order_relaxed);
    return withheld == 0 ? share : (uint32_t)((uint64_t)share * (SPREAD_ONE - withheld) / SPREAD_ONE);
}
