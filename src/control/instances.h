/*
 * Policies as they stand in the configuration: one place, one instance, however many routes run it.  So a limit on the
 * whole gateway counts the whole gateway's requests, and one that has not changed keeps its counts over a reload.
 *
 *      gateway `policies`, a listener's, those of a set     shared by all plans of their place
 *      a route's own                                        its plan's alone
 *
 * An instance lives while a plan has it; everything here is the control thread's.
 */
#pragma once

#include <stdint.h>

#include "conf/conf.h"
#include "exchange/plan.h"

struct policy_instance {
    struct plan_policy policy; /* as plans copy it */
    uint32_t refs;
    bool failed;    /* its mistakes have been told */
    uint64_t print; /* of its place and all that it was made from; 0: a route's own */
    struct conf *conf;
};

/* Those of one snapshot, by print; and those of the one before to take from. Plans hold them. */
struct instances {
    struct policy_instance **v;
    size_t count, size;
    const struct instances *previous; /* while building */
};

/* A reference for a plan: one that is there, or one that is loaded now. NULL after conf_error. `print` 0: not shared.
 * The choice is of a policy, not of a set. */
struct policy_instance *instance_get(struct instances *instances, struct conf *conf, const struct conf_choice *choice,
                                     uint64_t print, unsigned cells);
void instance_drop(struct policy_instance *instance);
void instances_done(struct instances *instances);
