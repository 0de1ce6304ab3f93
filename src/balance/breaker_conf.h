/*
 * The settings of a circuit breaker: `circuit_breaker:` and `target_circuit_breaker:` of an upstream.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"

struct breaker_latency {
    int64_t above_ms; /* 0: off */
    double percent;   /* of the tries in the window */
};

struct breaker_conf {
    bool on;
    int64_t window_ms;
    double failure_percent;       /* of the tries in the window; 0: off */
    int64_t min_requests;         /* tries in the window, before a share counts */
    int64_t consecutive_failures; /* 0: off */
    struct breaker_latency latency;
    struct conf_list statuses;    /* that are failures: of struct status_range */
    int64_t open_ms, open_max_ms; /* the first time, and the longest */
    int64_t probes;               /* let through at once; so many have to succeed */
    int64_t ramp_ms;              /* 0: all traffic at once */
};

extern const struct conf_struct breaker_schema; /* of breaker_conf */

bool breaker_conf_fails(const struct breaker_conf *conf, unsigned status);
