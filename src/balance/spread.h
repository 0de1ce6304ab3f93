/*
 * Which group of a set serves: priorities, zones and the panic.
 *
 * A level (all groups of one priority) carries as much of the traffic as its available share of weight times the
 * overprovisioning factor, at most all that the levels before it left. Within a level, the group of the gateway's own
 * zone carries what it can in the same way, and the targets elsewhere the rest. When all levels together cannot carry
 * everything, those below the panic threshold ignore health: first readiness and ejections, and, if that is not
 * enough, liveness too. The model is Envoy's (priority levels, overprovisioning, panic).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balance/set.h"

struct balance_conf;

enum { SPREAD_ONE = 1 << 16 }; /* all of the traffic */

/* What a panic ignores, step by step. */
enum spread_step { SPREAD_CALM, SPREAD_PANIC_FIRST, SPREAD_PANIC_ALL, SPREAD_STEPS };

struct group_spread {
    uint32_t until;               /* this group serves draws below it, and from where the one before ends */
    enum spread_step step;        /* how much it ignores */
    unsigned ignored;             /* those bars: enum target_bar */
    uint32_t ready[SPREAD_STEPS]; /* weight of the targets that may be picked, when so much is ignored */
};

struct spread {
    uint32_t epoch;    /* of the cluster, when it was computed */
    bool single;       /* one group serves everything: no draw is needed */
    uint32_t first;    /* that group */
    uint32_t panicked; /* levels that ignore health */
    struct group_spread *groups;
};

static inline uint32_t spread_ready(const struct group_spread *group)
{
    return group->ready[group->step];
}
/* Room for the groups of a set. 0 or -ERR_MEMORY. */
MUST_USE int spread_init(struct spread *spread, const struct target_set *set);
void spread_done(struct spread *spread);
/* Looks at all targets, once. */
void spread_compute(struct spread *spread, const struct target_set *set, const struct balance_conf *conf);
/* The group for a draw below SPREAD_ONE. */
uint32_t spread_group(const struct spread *spread, const struct target_set *set, uint32_t draw);
