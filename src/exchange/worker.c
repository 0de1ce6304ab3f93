/*
 * Making and unmaking a worker's part that exchanges share.
 */
#include "exchange/worker.h"

#include "base/assert.h"
#include "base/err.h"

int worker_init(struct worker *worker, unsigned index, atomic_size_t *budget, size_t budget_max)
{
    worker->index = index;
    list_init(&worker->exchanges);
    rng_init(&worker->rng);
    int rc = memory_init(&worker->memory, budget, budget_max);
    if (rc < 0)
        return rc;
    rc = loop_init(&worker->loop, &worker->memory);
    if (rc < 0)
        memory_done(&worker->memory);
    return rc;
}

void worker_done(struct worker *worker)
{
    ENSURE(list_empty(&worker->exchanges));
    loop_done(&worker->loop);
    memory_done(&worker->memory);
}
