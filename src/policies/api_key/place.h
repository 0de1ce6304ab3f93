/*
 * Where in a request a key stands: read and taken out.
 */
#pragma once

#include "conf/conf.h"

struct exchange;

enum key_where { KEY_HEADER, KEY_QUERY, KEY_COOKIE, KEY_AUTHORIZATION };

struct key_place {
    enum key_where where;
    struct slice name; /* of the field, the parameter, the cookie, the scheme */
};
int key_place_parse(struct conf *conf, const struct conf_node *node, void *ret_value);
#define KEY_PLACE_TYPE                                                                                                 \
    {                                                                                                                  \
        .kind = CONF_CUSTOM, .parse = key_place_parse, .size = sizeof(struct key_place),                               \
        .pattern = "`header NAME`, `query NAME`, `cookie NAME` or `authorization SCHEME`"                              \
    }

enum key_found {
    KEY_NONE,
    KEY_THERE,
    KEY_TWICE, /* in two fields, parameters or cookies: which one counts is not for us to guess */
};

/* The key as it is meant: decoded, without quotes. 0 or -ERR_MEMORY. */
MUST_USE int key_read(struct exchange *x, const struct key_place *place, enum key_found *ret_found,
                      struct slice *ret_key);
/* All that stands there goes. -ERR_MEMORY. */
MUST_USE int key_strip(struct exchange *x, const struct key_place *place);
/* What logs show of the query is without the key, whatever becomes of the request. -ERR_MEMORY. */
MUST_USE int key_hide(struct exchange *x, const struct key_place *place);
