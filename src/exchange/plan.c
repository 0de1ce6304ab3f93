/*
 * Holding, attaching and letting go of plans.
 */
#include "exchange/plan.h"

#include "base/assert.h"
#include "base/err.h"
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

static void detach_policies(struct plan *plan, struct worker *worker, unsigned count)
{
    while (count-- > 0) {
        struct plan_policy *p = &plan->policies[count];
        if (p->type->detach)
            p->type->detach(p->data, worker, p->per_worker[worker->index]);
    }
}

int plan_attach(struct plan *plan, struct worker *worker)
{
    ENSURE(worker->index < plan->workers);
    for (unsigned i = 0; i < plan->policy_count; i++) {
        struct plan_policy *p = &plan->policies[i];
        int rc = p->type->attach ? p->type->attach(p->data, worker, &p->per_worker[worker->index]) : 0;
        if (rc < 0) {
            detach_policies(plan, worker, i);
            return rc;
        }
    }
    const struct handler_type *handler = plan->handler;
    int rc = handler->attach ? handler->attach(plan->handler_data, worker, &plan->handler_per_worker[worker->index]) : 0;
    if (rc < 0)
        detach_policies(plan, worker, plan->policy_count);
    return rc;
}

void plan_detach(struct plan *plan, struct worker *worker)
{
    if (plan->handler->detach)
        plan->handler->detach(plan->handler_data, worker, plan->handler_per_worker[worker->index]);
    detach_policies(plan, worker, plan->policy_count);
}
