/*
 * The settings of the jwt policy, as the schema fills them in.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "conf/conf.h"

/* Where a token may stand: exactly one of header, cookie, query. */
struct jwt_place_conf {
    const char *header, *scheme, *cookie, *query;
};

struct jwks_url {
    const char *text; /* as configured; NULL: `file` is */
    bool secure;
    uint16_t port;
    struct slice host, authority, target; /* of the text */
};

struct jwks_conf {
    struct jwks_url url;
    const char *file; /* resolved */
    const char *keys; /* JSON */
    const char *ca;
    bool verify;
    int64_t cache_ms, refetch_ms, timeout_ms;
};

struct jwt_require_conf {
    struct conf_list scopes; /* const char * */
    struct conf_list claims; /* MAP of conf_list of const char * */
};

struct jwt_conf {
    struct conf_list issuers, audiences;
    struct conf_list algorithms; /* int: enum jose_algorithm */
    struct jwks_conf *jwks;
    const char *secret;
    struct conf_list places; /* struct jwt_place_conf */
    bool required, forward, expiry_required;
    int64_t skew_ms, lifetime_max_ms;
    const char *type, *realm;
    struct jwt_require_conf require;
    const char *scopes_claim, *groups_claim, *consumer_claim;
    struct conf_list headers; /* MAP of const char *: a field's name, a claim */
    int64_t cached_tokens, token_bytes_max;
};

extern const struct conf_type jwt_text_type, jwt_texts_type; /* of the maps' values */
extern const struct conf_struct jwt_schema;

/* "https://host[:port]/path?query" to its parts; NULL, or what is wrong with it. */
const char *jwks_url_parse(struct slice text, struct jwks_url *ret_url);
