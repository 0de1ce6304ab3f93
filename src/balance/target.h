/*
 * Targets: what the balancer chooses from.
 *
 * A target's state (in-flight counts, what bars it) is process-wide, keyed by upstream name and address, and carried
 * across reloads; it is written with relaxed atomics by all workers, so each hot counter group has its own cache line.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "balance/agent.h"
#include "balance/breaker.h"
#include "balance/cluster.h"
#include "balance/health.h"
#include "balance/outlier.h"
#include "balance/response_time.h"
#include "base/err.h"
#include "net/address.h"

/* Why a target may not be picked now: bits of target->barred, each set and cleared by its own owner. */
enum target_bar {
    BAR_UNHEALTHY = 1, /* its liveness checks fail */
    BAR_UNREADY = 2,   /* its readiness checks fail: it keeps the sessions it has */
    BAR_EJECTED = 4,   /* outlier detection took it out for a while */
    BAR_TRIPPED = 8,   /* its circuit breaker is open */
    BAR_DRAINING = 16, /* an operator or its agent drains it: it keeps the sessions it has */
    BAR_DISABLED = 32, /* an operator or its agent took it out: nothing goes there, not even in a panic */
};

struct target {
    struct address address;
    char *name;              /* "10.0.0.1:9001" or "host:port (10.0.0.1)": for logs and metrics */
    struct cluster *cluster; /* a reference; its name is the upstream's */
    /* written on every request */
    _Alignas(64) atomic_uint in_flight; /* exchanges' attempts on it now */
    atomic_uint refs;
    atomic_uint connections; /* open or opening, idle ones included, over all workers */
    atomic_ullong picks, failures;
    struct response_time times; /* of the algorithm that goes by them; on a line of its own */
    /* written seldom */
    _Alignas(64) atomic_uint barred; /* enum target_bar; 0: available */
    atomic_uint tls_reason;          /* why its last TLS handshake failed, enum tls_reason; 0: it did not */
    atomic_ullong available_ns;      /* since when it has been available, by the loop's clock; 0: always */
    struct target_health health;     /* what its active checks found; the control thread's */
    struct agent_state agent;        /* what its agent says */
    struct outlier_state outlier;    /* what requests to it show */
    struct breaker breaker;          /* its own circuit breaker */
    struct queue_line line;          /* sessions that wait for it alone */
};

/* Process-wide registry, control thread (a lock inside; not for workers): the same pointer for the same upstream and
 * address while anyone holds it. A reference is given; strings and a unix path are copied. NULL without memory. */
struct target *target_get(const char *upstream_name, const struct address *address, const char *name);
/* Any thread. The last drop alone takes the registry's lock, for the few instructions that unlink it. */
struct target *target_hold(struct target *target);
void target_drop(struct target *target);

/* Any thread: sets or clears bits of `bars`. Balancers notice, and one that becomes available does so at `now_ns`;
 * those who wait for a permit look again. True when something changed. */
bool target_bar(struct target *target, unsigned bars, uint64_t now_ns);
bool target_unbar(struct target *target, unsigned bars, uint64_t now_ns);
static inline unsigned target_barred(const struct target *target)
{
    return atomic_load_explicit(&target->barred, memory_order_relaxed);
}
