/*
 * A cluster is what all workers know together of one upstream's targets: the part of its state that belongs to no
 * single target.
 *
 * It is found by the upstream's name and lives while any of its targets or balancers does, so a reload keeps it. All
 * of it is relaxed atomics; nothing in it is locked on the way of a request, but by one that has to wait (queue.h).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "balance/adaptive.h"
#include "balance/breaker.h"
#include "balance/head_times.h"
#include "balance/outlier.h"
#include "balance/permits.h"
#include "balance/queue.h"

struct cluster {
    atomic_uint refs;
    /* Moves whenever a target of it becomes available or ceases to be: balancers then look at all of them anew. */
    atomic_uint epoch;
    atomic_bool settled; /* its first targets were complete: what comes later is new, and starts slowly */
    /* Tries on all its targets now; kept for algorithms that ask for it (`counts_total`). */
    _Alignas(64) atomic_uint in_flight;
    char *name;
    struct outlier_shared outlier; /* what is out, and why */
    struct breaker breaker;        /* the upstream's circuit breaker */
    struct head_times head_times;  /* of its answers, where hedging asks for them */
    atomic_ullong fallbacks;       /* requests that its fallback served */
    struct permits permits;        /* of the upstream as a whole */
    struct adaptive adaptive;      /* a limit on requests that finds itself */
    struct queue queue;            /* those who wait for a permit */
};

/* The cluster of that upstream, made when there is none; a reference is given. Any thread but never on the way of a
 * request (a lock inside). NULL without memory. */
struct cluster *cluster_get(const char *upstream_name);
struct cluster *cluster_hold(struct cluster *cluster);
void cluster_drop(struct cluster *cluster);

static inline void cluster_changed(struct cluster *cluster)
{
    atomic_fetch_add_explicit(&cluster->epoch, 1, memory_order_release);
}
