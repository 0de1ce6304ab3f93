/*
 * A name: all addresses that it resolves to, each with the weight of the item. The roster does the work.
 */
#include "control/discovery/source.h"
#include "upstream/upstream.h"

static bool takes(const struct target_conf *conf)
{
    return conf->host.len > 0;
}

static const char *what(const struct source *source)
{
    return source->conf->host.at;
}

static void start(struct source *source)
{
    const struct target_conf *conf = source->conf;
    const struct entry entry = { .found = {
                                     .address.port = conf->port,
                                     .host = conf->host.at,
                                     .zone = conf->zone,
                                     .weight = (uint16_t)conf->weight,
                                     .priority = (uint8_t)conf->priority,
                                     .backup = conf->backup,
                                     .requests_max = (uint32_t)conf->max_requests,
                                     .connections_max = (uint32_t)conf->max_connections,
                                 } };
    roster_offer(&source->roster, &entry, 1);
}

static void stop(struct source *source)
{
}

const struct source_type source_dns = {
    .name = "dns",
    .size = sizeof(struct source),
    .takes = takes,
    .what = what,
    .start = start,
    .stop = stop,
};
