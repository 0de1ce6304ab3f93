/*
 * A plan is what a route compiles to: policies in order and one handler, with their loaded data.  Immutable and
 * counted.
 *
 * A worker that a snapshot brings the plan to holds one reference while it may use it; an exchange pins it in its
 * worker's own counter, so that a request touches no line that another worker writes, and a reload never changes a
 * request in flight: what was retired is taken down with its last pin.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "exchange/grpc_counts.h"
#include "observe/metrics.h"

struct policy_type;
struct handler_type;
struct conf;
struct worker;

enum { STATUS_CLASSES = 6, POLICIES_MAX = 32 };

struct plan_policy {
    const struct policy_type *type;
    void *data;         /* from load */
    void **per_worker;  /* from attach, one a worker; NULL when the type has no attach */
    uint32_t *attached; /* plans that have it attached, one a worker; NULL: this plan alone has it */
    void *instance;     /* control's own */
};

struct forwarding_conf;

/* A worker's part; touched by that worker alone. */
struct plan_local {
    uint32_t pins;      /* exchanges on it now */
    uint32_t snapshots; /* in force on this worker that hold it: 0 or 1, 2 while one takes the other's place */
    bool attached;
    char apart[55]; /* 64 bytes: two workers never write one cache line */
};

/* What a request needs stands first and together: with ten thousand routes each of them is cold. */
struct plan {
    const struct handler_type *handler;
    void *handler_data;
    struct plan_policy *policies;
    struct plan_local *locals;                /* one a worker, the control thread's included */
    const struct forwarding_conf *forwarding; /* which hops are believed, which fields are sent on */
    int64_t body_bytes_max;                   /* of a request; 0 no limit */
    int64_t exchange_timeout_ms;              /* whole exchange; 0 none */
    unsigned policy_count;
    unsigned workers;
    const char *route;                     /* its name, or its pattern */
    metric_cell *requests[STATUS_CLASSES]; /* by class, [0] for none; may be NULL */
    metric_cell *latency;                  /* may be NULL */
    void **handler_per_worker;
    const char *pattern;         /* as matched, for explanations: "/users/{id}" */
    int64_t tunnel_idle_ms;      /* of a tunnel, without a byte either way; 0 no limit */
    int64_t tunnel_lifetime_ms;  /* of a tunnel, altogether; 0 no limit */
    int64_t grpc_timeout_max_ms; /* of what clients of gRPC ask for; 0: no limit */
    bool grpc_ignores_timeout;
    struct grpc_counts grpc_counts;
    atomic_uint refs;
    struct conf *conf;               /* held: owner of all strings */
    void (*free)(struct plan *plan); /* control's; called with the last reference, on whichever thread dropped it:
                                        passes it to the control thread */
    void *owner;                     /* control's own */
};

static inline void plan_hold(struct plan *plan)
{
    atomic_fetch_add_explicit(&plan->refs, 1, memory_order_relaxed);
}
void plan_drop(struct plan *plan);
/* On the worker: a snapshot with this plan comes into force; the first builds what policies and handler need here. 0 or
 * -ERR_x: then nothing was changed. */
MUST_USE int plan_attach(struct plan *plan, struct worker *worker);
/* On the worker: a snapshot with this plan goes. What attach built is taken down now or with the last pin. */
void plan_retire(struct plan *plan, struct worker *worker);
/* On the worker: an exchange begins and ends on it. */
void plan_pin(struct plan *plan, struct worker *worker);
void plan_unpin(struct plan *plan, struct worker *worker);
