/*
 * Metrics of circuit breakers and fallbacks, read from what the workers share of each upstream.
 */
#pragma once

struct gateway;

void circuit_vitals_start(struct gateway *gateway); /* registers the sources; one gateway a process */
void circuit_vitals_stop(void);
