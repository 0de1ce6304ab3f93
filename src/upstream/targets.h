/*
 * From what configurations and discoveries say of targets to a set of them: one function for both, so that a target
 * keeps its object, and with it counts and health, whoever names it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/address.h"

struct cluster;
struct conf;
struct conf_list;
struct conf_node;
struct target_set;
struct upstream_conf;

enum { WEIGHT_MAX = 1000, PRIORITY_MAX = 100 };

extern const struct conf_struct target_schema; /* of struct target_conf */
extern const struct conf_type target_type;
/* The checks over all targets of a list: doubles, and that some of them can serve. */
void target_check_all(struct conf *conf, const struct conf_node *list, const struct conf_list *targets);

/* A target as it was found. Strings are copied, or lent until the call ends. */
struct found_target {
    struct address address;
    const char *host;                       /* the name that it is an address of; NULL: it was given as an address */
    const char *zone;                       /* NULL: unknown, which counts as near */
    uint16_t weight;                        /* at most WEIGHT_MAX */
    uint8_t priority;                       /* at most PRIORITY_MAX */
    bool backup;                            /* behind all priorities */
    uint32_t requests_max, connections_max; /* its own; 0: as the upstream has it for each */
};

/* Of the same address the first one counts. Once the cluster is `settled`, targets that nobody knew of begin their
 * slow start now. NULL without memory. Control thread. */
struct target_set *targets_build(const char *upstream_name, const struct upstream_conf *conf, struct cluster *cluster,
                                 const struct found_target *found, size_t count);
/* What the configuration itself gives: all but names. At most as many as it has targets. Returns how many. */
size_t targets_given(const struct upstream_conf *conf, struct found_target *ret_found);
