/*
 * What the process and its upstreams look like now, computed when it is asked for: sources of metrics.
 */
#pragma once

#include "observe/metrics.h"

struct gateway;
struct tunnel_series;

void vitals_start(struct gateway *gateway); /* registers the sources; one gateway a process */
void vitals_stop(void);
/* Series of errors by side and word, which exchanges count into. */
struct series **vitals_errors(void);
/* Series of tunnels, open and ended. */
const struct tunnel_series *vitals_tunnels(void);
/* Places of requests that met no route, by class of status. */
metric_cell **vitals_unrouted(void);
metric_cell **vitals_unrouted_calls(void); /* by enum grpc_status */
