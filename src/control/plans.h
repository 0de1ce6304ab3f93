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

/* NULL after conf_error. `route_node` may be NULL for a route that stands in no file. */
struct plan *plan_build(const struct snapshot *snapshot, const struct route_conf *route,
                        const struct conf_node *route_node, const struct snapshot_context *context);
