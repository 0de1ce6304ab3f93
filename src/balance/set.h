/*
 * Sets of targets, in groups.
 *
 * A set is immutable and counted: control builds a new one when discovery or the configuration changes it; workers
 * build their algorithms' tables from it. Its targets stand in groups, one for each priority and, where the gateway
 * knows its zone, one for the targets of that zone and one for the others. An algorithm only ever sees one group; which
 * group serves is decided before it (spread.h).
 */
#pragma once

#include <pthread.h>

#include "balance/target.h"

struct target_slot {
    struct target *target;
    const char *host; /* the name that its address is one of; NULL: it was given as an address. The set's own copy */
    uint64_t sticky;  /* what a session's cookie says of it; 0: nothing */
    uint32_t requests_max, connections_max; /* of its own; 0: as the upstream has it for each */
    uint16_t weight;                        /* 0 drains: existing work ends, nothing new */
    uint8_t priority;                       /* 0 serves first */
    bool elsewhere;                         /* in another zone than the gateway */
};

struct target_group;

/* An immutable table of a group, which all workers read. */
struct group_table {
    struct group_table *next;
    void *table;
    void *(*build)(const struct target_group *group);
    void (*free)(void *table);
};

/* What the workers share of a group. */
struct group_shared {
    _Alignas(64) atomic_uint turn;         /* of whoever takes turns */
    _Alignas(64) pthread_mutex_t building; /* of the tables; never in a pick */
    struct group_table *tables;
};

struct target_group {
    const struct target_slot *slots; /* in the set */
    struct group_shared *shared;
    uint32_t count, first; /* how many, and the index of the first in the set */
    uint32_t weight;       /* of all together */
    uint8_t priority;
    bool elsewhere;
};

struct target_set {
    atomic_uint refs;
    uint32_t count, group_count;
    struct target_group *groups; /* by priority, those nearby first */
    uint32_t *by_sticky;         /* indices of those with a `sticky`, in its order */
    uint32_t sticky_count;
    bool limited; /* some have limits of their own */
    void *shared_block;
    char *hosts;                /* what the slots' `host` point to */
    struct target_slot slots[]; /* group by group, else in the order given */
};

/* Takes over one reference of each target. NULL without memory: the references stay the caller's. `count` may be 0. */
struct target_set *target_set_new(const struct target_slot *slots, uint32_t count);
struct target_set *target_set_hold(struct target_set *set);
void target_set_drop(struct target_set *set);
/* The slot of a session, NULL when there is none. */
const struct target_slot *target_set_find_sticky(const struct target_set *set, uint64_t sticky);
/* The slot of a target, NULL when it is not in the set. Looks at all. */
const struct target_slot *target_set_find(const struct target_set *set, const struct target *target);
/* The group's table of this kind (told by how it is built): built by the first worker that asks, kept with the set.
 * Other workers wait for it meanwhile, which takes no longer than building one of their own. NULL without memory. */
const void *target_group_table(const struct target_group *group, void *(*build)(const struct target_group *),
                               void (*free)(void *table));
