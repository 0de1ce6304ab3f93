/*
 * Plans from routes: policies loaded in order, the handler loaded, series made.
 */
#pragma once

#include "control/snapshot.h"
#include "http/grpc.h"
#include "observe/metrics.h"

extern const struct metric_family requests_family; /* by route (empty: none) and class */
extern const struct metric_family calls_family;    /* by route and status */
extern const char *const status_class_words[];
/* The label of a status: its digits as they are sent, "other" or "none". */
const char *plan_call_label(enum grpc_status status);

/* The policies are the gateway's, the listener's, then the route's. `listener` NULL: those that have none of their own.
 * NULL after conf_error. */
struct plan *plan_build(struct snapshot *snapshot, const struct listener_conf *listener, const struct route_conf *route,
                        const struct conf_node *route_node, const struct snapshot_context *context);
