/*
 * What serves in place of an upstream that cannot: another upstream, or an answer that stands in the configuration.
 *
 * Part of an upstream's settings; immutable. The proxy handler acts by it (handlers/proxy/fallback.c).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "conf/conf.h"

enum { FALLBACKS_MAX = 4 }; /* in a row */

enum fallback_when {
    FALLBACK_UNAVAILABLE, /* nothing could be sent: the circuit is open, no target, all full, no address */
    FALLBACK_FAILURE,     /* the last try failed without an answer */
};

struct fallback_conf {
    struct conf_ref upstream; /* resolved in the tree that the routes are loaded from */
    int64_t status;           /* 0: it is another upstream */
    const char *content_type, *body;
    struct conf_list headers; /* a map of const char * */
    struct conf_list on;      /* of int: enum fallback_when; empty: unavailable */
};

extern const struct conf_struct fallback_schema;    /* of fallback_conf */
extern const struct conf_type fallback_header_type; /* of a value in `headers` */

/* Is it for this error? `conf` may be NULL. */
bool fallback_is_for(const struct fallback_conf *conf, enum err err);
/* Resolved: does the way from this upstream (an entry of the map `upstreams`) lead back, or too far? */
void fallback_check(struct conf *conf, const struct conf_entry *upstream);
