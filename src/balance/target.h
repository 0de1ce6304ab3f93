/*
 * Targets and sets of targets: what the balancer chooses from.
 *
 * A target's state (in-flight counts, health) is process-wide, keyed by upstream name and address, and carried across
 * reloads; it is written with relaxed atomics by all workers, so each hot counter group has its own cache line. A
 * target_set is immutable and counted: control builds a new one when names resolve differently or the configuration
 * changes; workers build their algorithm's table from it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "net/address.h"

enum target_health { TARGET_UP, TARGET_DOWN, TARGET_DRAIN };

struct target {
    struct address address;
    char *name; /* "10.0.0.1:9001" or "host:port (10.0.0.1)": for logs and metrics */
    char *upstream_name;
    /* written on every request */
    _Alignas(64) atomic_uint in_flight; /* exchanges' attempts on it now */
    atomic_uint refs;
    atomic_uint connections; /* open or opening, idle ones included, over all workers */
    atomic_ullong picks, failures;
    /* written seldom */
    _Alignas(64) atomic_int health; /* enum target_health */
    atomic_uint tls_reason;         /* why its last TLS handshake failed, enum tls_reason; 0: it did not */
};

/* Process-wide registry, control thread (a lock inside; not for workers): the same pointer for the same upstream and
 * address while anyone holds it. A reference is given; strings and a unix path are copied. NULL without memory. */
struct target *target_get(const char *upstream_name, const struct address *address, const char *name);
/* Any thread. The last drop alone takes the registry's lock, for the few instructions that unlink it. */
struct target *target_hold(struct target *target);
void target_drop(struct target *target);

struct target_slot {
    struct target *target;
    const char *host; /* the name that its address is one of; NULL: it was given as an address. The configuration's. */
    uint16_t weight;  /* 0 drains: existing work ends, nothing new */
};

struct target_set {
    atomic_uint refs;
    uint32_t count;
    struct target_slot slots[];
};

/* Takes over one reference of each target. NULL without memory: the references stay the caller's. `count` may be 0. */
struct target_set *target_set_new(const struct target_slot *slots, uint32_t count);
struct target_set *target_set_hold(struct target_set *set);
void target_set_drop(struct target_set *set);
