/*
 * The settings of consistent hashing: `hash:` of an upstream.
 *
 * This room does not know what a request is: the key's text is kept here, whoever has the request computes it
 * (handlers/proxy), with hash_stable, so that all gateways and all versions agree, and passes it as wish.key.
 */
#pragma once

#include <stdint.h>

struct balance_conf;
struct conf;
struct conf_node;

enum hash_table { HASH_MAGLEV, HASH_RING, HASH_RENDEZVOUS };

struct hash_conf {
    const char *key;                  /* a template; NULL: none was given, which for ip_hash means {client.network} */
    const struct conf_node *key_node; /* where it stands; lives as long as the conf */
    int table;                        /* enum hash_table */
    int64_t bound_percent;            /* of the mean that a target may have in flight; 0: no bound */
};

extern const struct conf_struct hash_schema; /* of hash_conf */

/* Whether `hash:` and `algorithm:` of an upstream fit together; `node` is the upstream's mapping. */
void hash_check(struct conf *conf, const struct conf_node *node, const struct balance_conf *balance);
