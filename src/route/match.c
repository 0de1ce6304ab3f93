/*
 * Matching.  The candidates are visited from the most specific down, and the first whose conditions hold is taken:
 *
 *      hosts, the most specific first
 *          the tree of paths: at each segment literal text, then {param}, then {rest...}, then a prefix that ends here
 *          regexes in the order of the file
 *          routes without a path
 *
 * The walk goes back when what it met does not hold.  It enters a node at most once, and the depth of the tree is
 * bounded when it is built, so the recursion is too.  A regex that runs into its limits ends the search with an error:
 * trying on could pick a route that is less guarded.
 */
#include "route/router.h"

#include "base/arena.h"
#include "base/assert.h"
#include "http/chars.h"
#include "http/uri.h"
#include "route/condition.h"
#include "route/pattern.h"
#include "route/regex.h"
#include "route/table.h"

_Static_assert((int)PATTERN_CAPTURES_MAX == (int)ROUTE_CAPTURES_MAX, "a pattern's captures fit a match");

struct span {
    size_t begin, end;
};

struct search {
    const struct router *router;
    const struct message *request;
    struct arena *arena;
    struct slice path; /* normalised; at == NULL for a target without one */
    uint64_t method;   /* bit */
    bool is_head;
    int err;        /* -ERR_x: the search is over */
    uint64_t allow; /* methods of routes that match in all but the method */
    const struct route *found;
    size_t rest; /* where the path goes on behind the prefix that `found` has; SIZE_MAX: it has none */
    unsigned span_count;
    struct span spans[PATTERN_CAPTURES_MAX];
};

static bool walk(struct search *s, uint32_t node, size_t at, unsigned captured);

static bool conditions_hold(struct search *s, const struct route *route)
{
    for (unsigned i = 0; i < route->condition_count; i++) {
        int rc = condition_holds(&route->conditions[i], s->request, s->arena);
        if (rc < 0)
            s->err = rc;
        if (rc <= 0)
            return false;
    }
    return true;
}

enum method_fit { METHOD_NO, METHOD_AS_GET, METHOD_YES };

static enum method_fit method_fits(const struct search *s, const struct route *route)
{
    if (route->methods & s->method)
        return METHOD_YES;
    return s->is_head && (route->methods & 1u << METHOD_GET) ? METHOD_AS_GET : METHOD_NO;
}

/* Takes the first route of a run that holds. HEAD is served by a route for GET unless one of the same weight names
 * HEAD. */
static bool take(struct search *s, uint32_t run)
{
    const struct route *as_get = NULL;
    if (run == 0)
        return false;
    for (const struct route *r = &s->router->routes[run];; r++) {
        if (as_get && r->weight < as_get->weight)
            break;
        enum method_fit fit = method_fits(s, r);
        if ((fit == METHOD_YES || !as_get) && conditions_hold(s, r)) {
            if (fit == METHOD_YES) {
                s->found = r;
                return true;
            }
            if (fit == METHOD_AS_GET)
                as_get = r;
            else
                s->allow |= r->methods;
        }
        if (!r->more || s->err)
            break;
    }
    s->found = s->err ? NULL : as_get;
    return s->found || s->err;
}

/* A prefix that ends in front of the segment at `at`. */
static bool take_prefix(struct search *s, const struct trie_node *n, size_t at)
{
    if (!take(s, n->routes[TRIE_PREFIX]))
        return false;
    s->rest = MIN(at - 1, s->path.len);
    return true;
}

/* What is left where no literal child leads on: a parameter, the remainder, a prefix. */
static bool walk_on(struct search *s, const struct trie_node *n, size_t at, unsigned captured)
{
    if (n->param != NODE_NONE) {
        size_t len = trie_segment_len(s->path.at + at, s->path.at + s->path.len);
        if (len > 0) {
            s->spans[captured] = (struct span){ at, at + len };
            if (walk(s, n->param, at + len + 1, captured + 1))
                return true;
        }
    }
    if (n->routes[TRIE_REST] != 0) {
        s->spans[captured] = (struct span){ at, s->path.len };
        s->span_count = captured + 1;
        if (take(s, n->routes[TRIE_REST]))
            return true;
    }
    s->span_count = captured;
    return take_prefix(s, n, at);
}

/* From `node`, whose segments have been matched, at the segment that begins at `at`; past the path's length none is
 * left. True when the search is over. */
static bool walk(struct search *s, uint32_t node, size_t at, unsigned captured)
{
    const struct trie *trie = &s->router->trie;
    for (;;) {
        const struct trie_node *n = trie_node(trie, node);
        size_t len;
        if (at > s->path.len) {
            s->span_count = captured;
            return take(s, n->routes[TRIE_EXACT]) || take_prefix(s, n, at);
        }
        uint32_t child = trie_step(trie, node, s->path.at + at, s->path.at + s->path.len, &len);
        if (child == NODE_NONE)
            return walk_on(s, n, at, captured);
        if (n->param != NODE_NONE || n->routes[TRIE_REST] != 0 || n->routes[TRIE_PREFIX] != 0)
            return walk(s, child, at + len + 1, captured) || walk_on(s, n, at, captured);
        node = child; /* nothing to come back for */
        at += len + 1;
    }
}

static void keep_groups(struct search *s, const struct route *route, const size_t *spans)
{
    for (unsigned i = 0; i < route->group_count; i++) {
        const size_t *span = &spans[2 * route->groups[i].number];
        s->spans[i] = (struct span){ span[0], span[1] };
    }
    s->span_count = route->group_count;
}

static bool take_regex(struct search *s, uint32_t run)
{
    if (run == 0)
        return false;
    for (const struct route *r = &s->router->routes[run];; r++) {
        const size_t *spans;
        int rc = regex_match(r->regex, s->path, s->arena, &spans);
        if (rc < 0)
            s->err = rc;
        else if (rc == 1 && conditions_hold(s, r)) {
            if (method_fits(s, r) != METHOD_NO) {
                keep_groups(s, r, spans);
                s->found = r;
                return true;
            }
            s->allow |= r->methods;
        }
        if (!r->more || s->err)
            return s->err != 0;
    }
}

static bool search_host(struct search *s, const struct host *host)
{
    if (s->path.at && (walk(s, host->root, 1, 0) || take_regex(s, host->regexes)))
        return true;
    s->span_count = 0;
    return take(s, host->any);
}

static uint64_t method_bit(const struct router *router, const struct message *request)
{
    if (request->method != METHOD_OTHER)
        return 1ull << request->method;
    for (unsigned i = 0; i < router->custom_method_count; i++)
        if (slice_eq(router->custom_methods[i], request->method_name))
            return 1ull << (METHOD_COUNT + i);
    return 1ull << METHOD_OTHER;
}

static struct slice method_text(const struct router *router, unsigned bit)
{
    static const struct slice names[METHOD_COUNT] = {
#define X(name) [METHOD_##name] = { #name, sizeof(#name) - 1 },
        METHOD_TABLE(X)
#undef X
    };
    return bit < METHOD_COUNT ? names[bit] : router->custom_methods[bit - METHOD_COUNT];
}

/* Bits that have a name: a route for all methods has others too. */
static uint64_t named_methods(const struct router *router)
{
    unsigned count = METHOD_COUNT + router->custom_method_count;
    uint64_t all = count < METHOD_BITS ? (1ull << count) - 1 : UINT64_MAX;
    return all & ~(1ull << METHOD_OTHER);
}

/* "GET, HEAD, POST": the value of Allow. */
static struct slice write_allow(struct arena *arena, const struct router *router, uint64_t methods)
{
    size_t len = 0;
    methods &= named_methods(router);
    if (methods & 1u << METHOD_GET)
        methods |= 1u << METHOD_HEAD;
    for (uint64_t left = methods; left; left &= left - 1)
        len += method_text(router, (unsigned)__builtin_ctzll(left)).len + 2;
    char *text = arena_alloc(arena, len);
    if (!text)
        return SLICE_EMPTY;
    char *at = text;
    for (uint64_t left = methods; left; left &= left - 1) {
        struct slice name = method_text(router, (unsigned)__builtin_ctzll(left));
        memcpy(at, name.at, name.len);
        memcpy(at + name.len, ", ", 2);
        at += name.len + 2;
    }
    return slice_make(text, len - 2);
}

/* Of what may span segments an escaped slash stays escaped, so that "/" in it is always a separator. */
static int decode(struct arena *arena, struct slice raw, bool keep_slashes, struct slice *ret_value)
{
    *ret_value = raw;
    if (slice_find(raw, '%') < 0)
        return 0;
    char *text = arena_alloc(arena, raw.len);
    size_t len = 0;
    if (!text)
        return -ERR_MEMORY;
    for (size_t i = 0; i < raw.len; i++) {
        text[len] = raw.at[i];
        if (raw.at[i] == '%' && i + 2 < raw.len) { /* else a regex cut through an escape */
            unsigned byte = char_hex(raw.at[i + 1]) << 4 | char_hex(raw.at[i + 2]);
            if (byte != '/' || !keep_slashes) {
                text[len] = (char)byte;
                i += 2;
            }
        }
        len++;
    }
    *ret_value = slice_make(text, len);
    return 0;
}

static int add_capture(struct search *s, unsigned index, struct route_match *match)
{
    const struct route *r = s->found;
    struct span span = s->spans[index];
    if (span.begin == SIZE_MAX)
        return 0; /* a group that took no part */
    struct route_capture *c = &match->captures[match->capture_count++];
    c->name = arena_copy(s->arena, r->regex ? r->groups[index].name
                                            : r->captures[index]); /* the router may be gone before the exchange is */
    if (!c->name.at)
        return -ERR_MEMORY;
    c->raw = slice_make(s->path.at + span.begin, span.end - span.begin);
    return decode(s->arena, c->raw, r->regex || (r->takes_rest && index + 1 == s->span_count), &c->value);
}

static int add_captures(struct search *s, struct route_match *match)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < s->span_count; i++)
        rc = add_capture(s, i, match);
    return rc;
}

static int find_path(const struct message *request, struct arena *arena, struct slice *ret_path)
{
    struct slice path = request->path;
    *ret_path = SLICE_EMPTY;
    if (path.len == 0 || path.at[0] != '/')
        return 0; /* "*", or CONNECT: for routes without a path alone */
    return uri_normalise(arena, path, ret_path);
}

void router_match(const struct router *router, const struct message *request, struct arena *arena,
                  struct route_match *ret_match)
{
    uint32_t hosts[HOSTS_TRIED_MAX];
    struct search s;
    MAGIC_CHECK(router, ROUTER_MAGIC);

    s.router = router;
    s.request = request;
    s.arena = arena;
    s.method = method_bit(router, request);
    s.is_head = request->method == METHOD_HEAD;
    s.allow = 0;
    s.found = NULL;
    s.span_count = 0;
    s.rest = SIZE_MAX;
    s.err = find_path(request, arena, &s.path);
    unsigned count = s.err ? 0 : host_table_find(&router->hosts, request->authority, hosts);
    for (unsigned i = 0; i < count && !search_host(&s, &router->hosts.hosts[hosts[i]]); i++)
        ;
    ret_match->plan = NULL;
    ret_match->allow = SLICE_EMPTY;
    ret_match->capture_count = 0;
    ret_match->rest = SLICE_EMPTY;
    if (!s.err && s.found)
        s.err = add_captures(&s, ret_match);
    if (s.err) {
        ret_match->err = (enum err) - s.err;
    } else if (s.found) {
        ret_match->plan = s.found->plan;
        if (s.rest != SIZE_MAX)
            ret_match->rest = slice_make(s.path.at + s.rest, s.path.len - s.rest);
        ret_match->err = ERR_NONE;
    } else {
        ret_match->err = s.allow ? ERR_METHOD_NOT_ALLOWED : ERR_NO_ROUTE;
        ret_match->allow = s.allow ? write_allow(arena, router, s.allow) : SLICE_EMPTY;
    }
}
