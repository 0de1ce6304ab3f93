/*
 * Targets that are names: resolved when a snapshot comes, and again as their TTL says.  Addresses that change become a
 * new target set, sent to the workers; a name that stops resolving keeps its last addresses.  Nothing here blocks.
 *
 * Owner: the gateway; control thread.
 */
#pragma once

#include <stdbool.h>

struct gateway;
struct names;
struct resolver_conf;
struct snapshot;

struct names *names_new(struct gateway *gateway, const struct resolver_conf *conf);
/* From now on follows the names of this snapshot's upstreams; those of the one before that are no longer there are let
 * go. */
void names_follow(struct names *names, const struct snapshot *snapshot);
/* Every name has been answered once, with addresses or without. */
bool names_settled(const struct names *names);
void names_free(struct names *names);
