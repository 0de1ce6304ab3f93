/*
 * The settings of choosing a target: part of an upstream's in the configuration file. Every feature's table of fields
 * stands with the feature; upstream/schema.c puts them together.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balance/hash_conf.h"

struct adaptive_conf;
struct breaker_conf;
struct outlier_conf;

struct balance_conf {
    int algorithm;         /* index in algorithms[] */
    int64_t slow_start_ms; /* 0: off */
    double panic_percent;  /* 0: off */
    struct hash_conf hash;
    double overprovision; /* 1.4: a group serves all that is meant for it while 1/1.4 of it is available */
    const struct adaptive_conf *adaptive;                                /* NULL: off */
    const struct outlier_conf *outlier;                                  /* NULL: off */
    const struct breaker_conf *circuit_breaker, *target_circuit_breaker; /* NULL: off */
};
