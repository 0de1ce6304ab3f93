/*
 * Limits as they follow from the settings.
 */
#include "upstream/limits.h"

#include "base/assert.h"
#include "upstream/state.h"
#include "upstream/targets.h"

static uint32_t lesser(const struct upstream_conf *conf, int64_t requests, int64_t connections)
{
    if (conf->protocol == UPSTREAM_HTTP1 && connections && (requests == 0 || connections < requests))
        return (uint32_t)connections;
    return (uint32_t)requests;
}

uint32_t limits_requests(const struct upstream_conf *conf)
{
    return lesser(conf, conf->max_requests, conf->max_connections);
}

uint32_t limits_requests_per_target(const struct upstream_conf *conf)
{
    return lesser(conf, conf->max_requests_per_target, conf->max_connections_per_target);
}

void limits_of_slot(const struct upstream_conf *conf, const struct found_target *found, struct target_slot *slot)
{
    if (!found->requests_max && !found->connections_max)
        return;
    int64_t requests = found->requests_max ? found->requests_max : conf->max_requests_per_target;
    int64_t connections = found->connections_max ? found->connections_max : conf->max_connections_per_target;
    slot->requests_max = lesser(conf, requests, connections);
    slot->connections_max = (uint32_t)connections;
}
