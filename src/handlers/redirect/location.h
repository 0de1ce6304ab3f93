/*
 * The target of a redirect: a template such as "https://{host}{path}" or "/users/{id}", compiled when the configuration
 * loads, and what it becomes for a request.
 *
 * Nothing that a client sends can change where a redirect leads beyond what the template leaves open: captures are
 * percent-encoded and never part of the host, and a target that is a path never begins with two slashes, which browsers
 * take for another host.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"

struct arena;
struct conf;
struct conf_node;
struct exchange;

enum location_kind { LOCATION_TEXT, LOCATION_PATH, LOCATION_QUERY, LOCATION_HOST, LOCATION_CAPTURE };

struct location_part {
    enum location_kind kind;
    struct slice text; /* LOCATION_TEXT; or the capture's name */
    bool in_query;     /* it stands behind a `?` or a `#` */
};
struct location {
    struct location_part *parts;
    unsigned count;
    unsigned query_at; /* the part in front of which the request's query goes */
    bool has_query;    /* a `?` stands before that */
    bool places_query; /* the template says itself where the query goes */
    bool absolute;
};

/* Control thread. `text` stays the caller's and must live as long. 0, or -1 after conf_error at `node`. */
MUST_USE int location_compile(struct conf *conf, const struct conf_node *node, struct slice text,
                              struct location *ret_location);
void location_done(struct location *location);

/* Worker. The value of Location, in the arena. -ERR_MEMORY, or -ERR_BAD_HOST when the host is asked for and the request
 * has none that is sound. */
MUST_USE int location_write(const struct location *location, const struct exchange *x, bool keep_query,
                            struct slice *ret_value);
