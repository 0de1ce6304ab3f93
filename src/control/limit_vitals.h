/*
 * Metrics of upstreams' limits and queues, read when they are scraped.
 */
#pragma once

struct gateway;

/* Control thread. */
void limit_vitals_start(struct gateway *gateway);
void limit_vitals_stop(void);
