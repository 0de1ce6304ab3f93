/*
 * A snapshot: one configuration, compiled.  Immutable once built; counted by the workers it is in force on.
 *
 * Upstreams and plans carry a fingerprint of all that they were made from, and one that has not changed is taken over
 * from the snapshot before, with its pools, its health and what workers have attached: a reload costs what it changes.
 *
 * Owner: control; built and freed on the control thread.
 */
#pragma once

#include <stdatomic.h>

#include "control/instances.h"
#include "control/settings.h"
#include "serve/server.h"

struct loop;
struct plan;
struct router;
struct upstream;

struct printed {
    uint64_t print;
    void *object; /* struct plan or struct upstream; held */
};

struct secured;

struct snapshot {
    atomic_uint refs;
    uint64_t generation;
    struct conf *conf; /* held */
    struct settings settings;
    struct consumers *consumers; /* whom the workers know while this is in force */
    struct printed *upstreams;   /* in the order of the file */
    size_t upstream_count;
    struct secured *secured_listeners, *secured_upstreams; /* one each; control/secured.h */
    struct printed *plans; /* in the order of the routes; then again for each listener with policies of its own */
    size_t plan_count;
    struct instances instances;      /* of policies that plans share */
    struct router *router;           /* of listeners without policies of their own */
    struct router **routers;         /* of the others, one each, in the order of the file; NULL where it is `router` */
    struct server_settings server;   /* what all listeners have in common */
    struct server_settings *servers; /* one each, in the order of the file */
};

struct snapshot_context {
    const struct snapshot *previous; /* NULL for the first */
    unsigned cells;                  /* workers and the control thread */
    struct loop *control;            /* where plans are freed; NULL: at once (check) */
};

/* From a loaded configuration. NULL with the mistakes in the conf's diagnostics. `root` is its tree. */
struct snapshot *snapshot_build(struct conf *conf, const struct conf_node *root, const struct settings *settings,
                                const struct snapshot_context *context);
struct snapshot *snapshot_hold(struct snapshot *snapshot);
void snapshot_drop(struct snapshot *snapshot);

/* What it says of the listener with that address; NULL when it has none. */
const struct server_settings *snapshot_server(const struct snapshot *snapshot, const struct address *address);

/* Of a subtree and of all that it refers to by name. */
uint64_t snapshot_print(const struct snapshot *snapshot, const struct conf_node *node);
/* A hash of a subtree: names, values and order, not places. */
uint64_t fingerprint_node(const struct conf_node *node);
