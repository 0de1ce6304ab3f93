/*
 * Which route does a request take?  An immutable router built from the configuration; matching is O(length of the
 * path), however many routes there are.
 *
 * Order, the most specific first (docs/routing.md has it in full):
 *   1. host: exact, then the longest `*.suffix`, then no host
 *   2. path: segment by segment from the left, literal text beats `{param}` beats `{rest...}` beats the end of a prefix
 *      (so a longer prefix beats a shorter one); then regexes in the order of the file; then routes without a path
 *   3. then: the route with more conditions on method, headers, query, cookies; then, for HEAD, one that names it;
 *      then the earlier in the file
 *
 * Routes that match in all but the method leave 405 with Allow, unless another route matches.
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
    const char *equals; /* NULL: need only be there */
    const char *regex;
    bool absent;
};
struct match_conf {
    struct conf_list hosts; /* const char *: "a.example", "*.example.com" */
    const char *path;       /* template */
    const char *prefix;
    const char *regex;
    struct conf_list methods;                 /* const char * */
    struct conf_list headers, query, cookies; /* MAPs of field_match_conf */
};
extern const struct conf_struct match_schema;

/* One route for building: `plan` is held by the router. NULL for one that could not be built: its match is checked all
 * the same, so that every mistake is told at once, and no router comes of it. */
struct route_entry {
    const struct match_conf *match;
    const struct conf_node *node; /* for messages: routes that can never match are warned of */
    struct plan *plan;
};
/* Control thread. Mistakes (bad template, bad regex ...) go to conf_error, routes that can never match to conf_warn.
 * NULL after errors. `conf`, which owns the matches, and the plans are held. */
struct router *router_build(struct conf *conf, const struct route_entry *entries, size_t count);
struct router *router_hold(struct router *router);
void router_drop(struct router *router);

enum { ROUTE_CAPTURES_MAX = 16 };

/* `raw` is as in the normalised path: it may stand in a path as it is.  `value` is decoded: it may hold any byte but
 * NUL, CR and LF and "/" too, so it never goes into a path or a field unescaped. Of a remainder or a regex's group,
 * which may span segments, escaped slashes stay `%2F`. */
struct route_capture {
    struct slice name, value, raw;
};
struct route_match {
    struct plan *plan;  /* NULL when none */
    enum err err;       /* with no plan: ERR_NO_ROUTE, ERR_METHOD_NOT_ALLOWED, ERR_BAD_TARGET, ERR_MEMORY */
    struct slice allow; /* with METHOD_NOT_ALLOWED: "GET, POST", in the arena (empty without memory) */
    struct route_capture captures[ROUTE_CAPTURES_MAX]; /* the first capture_count */
    unsigned capture_count;
    struct slice rest; /* of a route by prefix: the normalised path behind it, empty or from its "/"; else at == NULL */
};
/* On a worker. What is returned lives in the arena and in the request's head: neither router nor conf need outlive the
 * call (the plan must be held). */
void router_match(const struct router *router, const struct message *request, struct arena *arena,
                  struct route_match *ret_match);
