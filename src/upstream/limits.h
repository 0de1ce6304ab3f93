/*
 * The limits of an upstream and of each of its targets, as they follow from the settings.
 *
 * Over HTTP/1 a request needs a connection of its own, so a limit on connections is one on requests as well: whoever
 * would find no connection is told so, or waits, before a target is chosen for it.
 */
#pragma once

#include <stdint.h>

struct found_target;
struct target_slot;
struct upstream_conf;

/* 0: none. */
uint32_t limits_requests(const struct upstream_conf *conf);            /* of the upstream as a whole */
uint32_t limits_requests_per_target(const struct upstream_conf *conf); /* unless the target says so */
/* What the target says itself. */
void limits_of_slot(const struct upstream_conf *conf, const struct found_target *found, struct target_slot *slot);
