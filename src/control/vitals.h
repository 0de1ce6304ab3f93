/*
 * What the process and its upstreams look like now, computed when it is asked for: sources of metrics.
 */
#pragma once

struct gateway;

void vitals_start(struct gateway *gateway); /* registers the sources; one gateway a process */
void vitals_stop(void);
/* Series of errors by side and word, which exchanges count into. */
struct series **vitals_errors(void);
