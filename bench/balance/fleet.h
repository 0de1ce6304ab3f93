/*
 * A simulated fleet of services behind the real balancer: requests arrive by chance (Poisson), wait in a service's
 * queue, take a service time (exponential), and the balancer hears how each went.  Time is virtual and chance is
 * seeded, so a run says the same each time, on any machine.
 *
 * Services differ: one may be slow, fail at once, or take requests and never answer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balance/balance.h"

enum fault { FAULT_NONE, FAULT_SLOW, FAULT_FAILING, FAULT_HUNG };

struct fleet_plan {
    const struct balance_conf *conf; /* the algorithm is its own */
    enum fault fault;                /* of one service of all */
    unsigned services, workers;
    unsigned servers;  /* requests that a service works on at once; more wait */
    double service_ms; /* mean time of one */
    double slowness;   /* of the slow one: its times are so much longer */
    double load;       /* share of the capacity of all as if none had a fault */
    double timeout_ms; /* then a try has failed */
    unsigned requests;
    uint64_t seed;
};

struct fleet_result {
    double p50_ms, p99_ms;  /* of those answered */
    double errors_percent;  /* failed, or without an answer in time */
    double faulty_percent;  /* went to the one with the fault */
    double busiest_percent; /* went to the one that got most */
};

void fleet_run(const struct fleet_plan *plan, struct fleet_result *ret_result);
