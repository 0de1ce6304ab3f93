/*
 * The retry budget: retries and hedges may be at most a share of the requests that are active, and
 * always a few (three).  It keeps a
 * service in trouble from being hit by several times its load, which is how a brown-out becomes an outage.
 */
#include "base/assert.h"
#include "upstream/state.h"

bool upstream_budget_take(struct upstream *upstream)
{
    struct upstream_budget *budget = upstream->budget;
    unsigned active = atomic_load_explicit(&budget->active_requests, memory_order_relaxed);
    double share = active * upstream->conf->retry.budget_percent / 100;
    unsigned max = MAX((unsigned)share, (unsigned)upstream->conf->retry.budget_min);
    if (atomic_fetch_add_explicit(&budget->active_retries, 1, memory_order_relaxed) < max)
        return true;
    atomic_fetch_sub_explicit(&budget->active_retries, 1, memory_order_relaxed);
    return false;
}

bool upstream_retry_begin(struct upstream *upstream)
{
    if (!upstream_budget_take(upstream))
        return false;
    atomic_fetch_add_explicit(&upstream->budget->retries, 1, memory_order_relaxed);
    return true;
}

void upstream_retry_end(struct upstream *upstream)
{
    unsigned before = atomic_fetch_sub_explicit(&upstream->budget->active_retries, 1, memory_order_relaxed);
    ENSURE(before > 0);
}

void upstream_request_begin(struct upstream *upstream)
{
    atomic_fetch_add_explicit(&upstream->budget->active_requests, 1, memory_order_relaxed);
}

void upstream_request_end(struct upstream *upstream)
{
    unsigned before = atomic_fetch_sub_explicit(&upstream->budget->active_requests, 1, memory_order_relaxed);
    ENSURE(before > 0);
}
