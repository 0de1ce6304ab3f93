/*
 * A plan is what a route compiles to: policies in order and one handler, with their loaded data.  Immutable and counted; an exchange holds
 * the plan it started with, so a reload never changes a request in flight.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct policy_type;
struct handler_type;
struct series;
struct conf;
struct worker;

enum { STATUS_CLASSES = 6, POLICIES_MAX = 32 };

struct plan_policy {
    const struct policy_type *type;
    void *data;       /* from load */
    void **per_worker; /* from attach, one a worker; NULL when the type has no attach */
};

struct forwarding_conf;

struct plan {
    atomic_uint refs;
    const char *route;          /* its name, or its pattern */
    const char *pattern;        /* as matched, for explanations: "/users/{id}" */
    const struct handler_type *handler;
    void *handler_data;
    void **handler_per_worker;
    struct plan_policy *policies;
    unsigned policy_count;
    const struct forwarding_conf *forwarding; /* which hops are believed, which fields are sent on */
    int64_t body_bytes_max;      /* of a request; 0 no limit */
    int64_t exchange_timeout_ms; /* whole exchange; 0 none */
    struct series *requests[STATUS_CLASSES]; /* by class, [0] for none; may be NULL */
    struct series *latency;
    unsigned workers;
    struct conf *conf;           /* held: owner of all strings */
    void (*free)(struct plan *plan); /* control's; called with the last reference, on whichever thread dropped it */
    void *owner;                 /* control's own */
};

static inline void plan_hold(struct plan *plan)
{
    atomic_fetch_add_explicit(&plan->refs, 1, memory_order_relaxed);
}
void plan_drop(struct plan *plan);
/* On the worker: builds and takes down what policies and handler need there. */
int plan_attach(struct plan *plan, struct worker *worker);
void plan_detach(struct plan *plan, struct worker *worker);
