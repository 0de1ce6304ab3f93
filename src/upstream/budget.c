/*
 * The retry budget: retries may be at most a share of the requests that are active, and always three.  It keeps a
 * service in trouble from being hit by several times its load, which is how a brown-out becomes an outage.
 */
#include "base/assert.h"
#include "upstream/state.h"

enum { RETRIES_MIN = 3 };

bool upstream_retry_begin(struct upstream *upstream)
{
    struct upstream_budget *budget = upstream->budget;
    unsigned active = atomic_load_explicit(&budget->active_requests, memory_order_relaxed);
    double share = active * upstream->conf->retry.budget_percent / 100;
    unsigned max = MAX((unsigned)share, (unsigned)RETRIES_MIN);
    if (atomic_fetch_add_explicit(&budget->active_retries, 1, memory_order_relaxed) < max) {
        atomic_fetch_add_explicit(&budget->retries, 1, memory_order_relaxed);
        return true;
    }
    atomic_fetch_sub_explicit(&budget->active_retries, 1, memory_order_relaxed);
    return false;
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
