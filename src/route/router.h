/*
 * Which route does a request take?  An immutable router built from the configuration; matching is O(length of the path), however many routes there are.
 *
 * Order, the most specific first:
 *   1. host:   exact, then the longest `*.suffix`, then no host
 *   2. path:   exact template segments beat `{param}` beat `{rest...}` beat prefix (longer prefix first); then regex in the order of the file
 *   3. then:   the route with more conditions on method, headers, query, cookies; then the earlier in the file
 * A route that matches in all but the method leaves 405 with Allow, unless another route matches.
 *
 * Immutable after building; shared by all workers; counted.
 */
#pragma once

#include "base/err.h"
#include "conf/conf.h"
#include "http/message.h"

struct plan;
struct router;
struct exchange;
struct arena;

struct field_match_conf {
    const char *equals;  /* NULL: need only be there */
    const char *regex;
    bool absent;
};
struct match_conf {
    struct conf_list hosts;   /* const char *: "a.example", "*.example.com" */
    const char *path;         /* template */
    const char *prefix;
    const char *regex;
    struct conf_list methods; /* const char * */
    struct conf_list headers, query, cookies; /* MAPs of field_match_conf */
};
extern const struct conf_struct match_schema;

/* One route for building: `plan` is held by the router. */
struct route_entry {
    const struct match_conf *match;
    const struct conf_node *node; /* for messages: routes that can never match are warned of */
    struct plan *plan;
};
/* Control thread. Mistakes (bad template, bad regex, equal routes) go to conf_error, unreachable routes to conf_warn. NULL after errors. `conf` is held. */
struct router *router_build(struct conf *conf, const struct route_entry *entries, size_t count);
struct router *router_hold(struct router *router);
void router_drop(struct router *router);

struct route_capture {
    struct slice name, value;
};
struct route_match {
    struct plan *plan;    /* NULL when none */
    enum err err;         /* ERR_NO_ROUTE, ERR_METHOD_NOT_ALLOWED, ERR_BAD_TARGET */
    struct slice allow;   /* with METHOD_NOT_ALLOWED: "GET, POST", in the arena */
    struct route_capture captures[16];
    unsigned capture_count;
};
/* On a worker. The arena holds decoded captures. */
void router_match(const struct router *router, const struct message *request, struct arena *arena, struct route_match *ret_match);
