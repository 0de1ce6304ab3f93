/*
 * Holding, attaching, pinning and letting go of plans.
 */
#include "exchange/plan.h"

#include "base/assert.h"
#include "exchange/handler.h"
#include "exchange/policy.h"
#include "exchange/worker.h"

void plan_drop(struct plan *plan)
{
    unsigned before = atomic_fetch_sub_explicit(&plan->refs, 1, memory_order_acq_rel);
    ENSURE(before > 0);
    if (before == 1)
        plan->free(plan);
}

static int attach_policy(struct plan_policy *p, struct worker *worker)
{
    if (p->attached && p->attached[worker->index] > 0) {
        p->attached[worker->index]++;
        return 0;
    }
    int rc = p->type->attach ? p->type->attach(p->data, worker, &p->per_worker[worker->index]) : 0;
    if (rc == 0 && p->attached)
        p->attached[worker->index]++;
    return rc;
}

static void detach_policies(struct plan *plan, struct worker *worker, unsigned count)
{
    while (count-- > 0) {
        struct plan_policy *p = &plan->policies[count];
        if (p->attached && --p->attached[worker->index] > 0)
            continue;
        if (p->type->detach)
            p->type->detach(p->data, worker, p->per_worker[worker->index]);
    }
}

static int attach_parts(struct plan *plan, struct worker *worker)
{
    for (unsigned i = 0; i < plan->policy_count; i++) {
        int rc = attach_policy(&plan->policies[i], worker);
        if (rc < 0) {
            detach_policies(plan, worker, i);
            return rc;
        }
    }
    const struct handler_type *handler = plan->handler;
    int rc =
        handler->attach ? handler->attach(plan->handler_data, worker, &plan->handler_per_worker[worker->index]) : 0;
    if (rc < 0)
        detach_policies(plan, worker, plan->policy_count);
    return rc;
}

int plan_attach(struct plan *plan, struct worker *worker)
{
    ENSURE(worker->index < plan->workers);
    struct plan_local *local = &plan->locals[worker->index];
    if (!local->attached) {
        int rc = attach_parts(plan, worker);
        if (rc < 0)
            return rc;
        local->attached = true;
        plan_hold(plan);
    }
    local->snapshots++;
    return 0;
}

static void detach_if_unused(struct plan *plan, struct worker *worker)
{
    struct plan_local *local = &plan->locals[worker->index];
    if (!local->attached || local->pins > 0 || local->snapshots > 0)
        return;
    local->attached = false;
    if (plan->handler->detach)
        plan->handler->detach(plan->handler_data, worker, plan->handler_per_worker[worker->index]);
    detach_policies(plan, worker, plan->policy_count);
    plan_drop(plan);
}

void plan_retire(struct plan *plan, struct worker *worker)
{
    struct plan_local *local = &plan->locals[worker->index];
    ENSURE(local->snapshots > 0);
    local->snapshots--;
    detach_if_unused(plan, worker);
}

void plan_pin(struct plan *plan, struct worker *worker)
{
    ENSURE(plan->locals[worker->index].attached);
    plan->locals[worker->index].pins++;
}

void plan_unpin(struct plan *plan, struct worker *worker)
{
    struct plan_local *local = &plan->locals[worker->index];
    ENSURE(local->pins > 0);
    if (--local->pins == 0)
        detach_if_unused(plan, worker);
}
