/*
 * A worker: one thread, one loop, its memory, and what exchanges running on it share.  Everything in it is touched by
 * its own thread alone, but for the mailbox in `loop` and the atomics that say so.
 */
#pragma once

#include <stdatomic.h>

#include "base/memory.h"
#include "base/rng.h"
#include "loop/loop.h"
#include "observe/metrics.h"

struct access_log;
struct consumers;

/* Who or what ended a tunnel first. */
enum tunnel_end {
    TUNNEL_END_CLIENT,
    TUNNEL_END_SERVICE,
    TUNNEL_END_IDLE,
    TUNNEL_END_LIFETIME,
    TUNNEL_END_DRAINING,
    TUNNEL_END_ERROR,
    TUNNEL_ENDS
};
extern const char *const tunnel_end_words[TUNNEL_ENDS]; /* for the access log and labels */

struct tunnel_series {
    struct series *open, *ended[TUNNEL_ENDS];
};

struct worker {
    unsigned index;
    struct memory memory;
    struct loop loop;
    struct rng rng;
    struct link exchanges; /* every live exchange */
    uint32_t exchange_count;
    uint32_t connection_count;         /* client connections */
    struct access_log *access_log;     /* NULL when off */
    const struct consumers *consumers; /* of the snapshot in force here; NULL: there are none */
    uint32_t tunnel_count;
    const struct tunnel_series *tunnels; /* NULL: not counted */
    struct series **errors;              /* by enum err; NULL: not counted */
    metric_cell **unrouted_grpc;         /* calls that met no route, by enum grpc_status; NULL: not counted */
    metric_cell **unrouted;              /* requests that met no route, by class of status; NULL: not counted */
};

/* The worker must be zeroed. `budget` as in memory_init. */
int worker_init(struct worker *worker, unsigned index, atomic_size_t *budget, size_t budget_max);
void worker_done(struct worker *worker);
