/*
 * See naive.h.  The texts are drawn from small sets, so that routes overlap and requests hit them.
 */
#include "naive.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "conf/conf.h"
#include "exchange/plan.h"
#include "http/uri.h"
#include "route/router.h"

enum { ROUTES_MAX = 12, REQUESTS = 12, SEGMENTS_MAX = 4, TEXT_MAX = 64 };

struct bytes {
    const uint8_t *at, *end;
};

enum element { END_OF_PREFIX, END_OF_PATH, REST, PARAM, TEXT };
enum path_kind { ANY, REGEX, PATTERN };

struct header_entry { /* as a MAP of field_match_conf is laid out */
    const char *key;
    const struct conf_node *node;
    _Alignas(16) struct field_match_conf match;
};
struct naive_route {
    struct match_conf match;
    const char *host;
    enum path_kind kind;
    enum element elements[SEGMENTS_MAX + 1];
    const char *segments[SEGMENTS_MAX];
    bool ends_with_a; /* the regex's meaning */
    unsigned methods; /* bits of enum method; 0 any */
    char path[TEXT_MAX];
    const char *method_list[3];
    struct header_entry header;
    struct plan plan;
};

static unsigned draw(struct bytes *b, unsigned bound)
{
    return b->at < b->end ? *b->at++ % bound : 0;
}

static const char *const hosts[] = { NULL, "a.x", "*.x", "*.b.x", "c.b.x" };
static const char *const request_hosts[] = { "", "a.x", "c.b.x", "d.b.x", "A.X.:80", "x" };
static const char *const literals[] = { "a", "b", "ab", "%2F" };
static const char *const request_segments[] = { "a", "b", "ab", "%2f", "", "c", "%61", "." };
static const enum method methods[] = { METHOD_GET, METHOD_HEAD, METHOD_POST };
static const char *const method_names[] = { "GET", "HEAD", "POST" };

static void make_pattern(struct bytes *b, struct naive_route *r)
{
    static const char *const params[SEGMENTS_MAX] = { "{p0}", "{p1}", "{p2}", "{p3}" };
    bool prefix = draw(b, 3) == 0;
    unsigned count = draw(b, SEGMENTS_MAX + 1), i = 0;
    for (; i < count; i++) {
        unsigned what = draw(b, 8);
        r->elements[i] = what == 7 && !prefix && i + 1 == count ? REST : what >= 5 && !prefix ? PARAM : TEXT;
        r->segments[i] = r->elements[i] == TEXT    ? literals[what % 4]
                         : r->elements[i] == PARAM ? params[i]
                                                   : "{rest...}";
    }
    if (count == 0 && !prefix)
        r->segments[i++] = "", r->elements[0] = TEXT; /* "/" is one empty segment */
    r->elements[i] = prefix ? END_OF_PREFIX : END_OF_PATH;
    for (unsigned s = 0; s < i || s == 0; s++) {
        size_t len = strlen(r->path);
        snprintf(r->path + len, TEXT_MAX - len, "/%s", i > 0 ? r->segments[s] : "");
    }
    *(prefix ? &r->match.prefix : &r->match.path) = r->path;
    r->kind = PATTERN;
}

static void make_route(struct bytes *b, struct naive_route *r)
{
    r->host = hosts[draw(b, ARRAY_LEN(hosts))];
    if (r->host)
        r->match.hosts = (struct conf_list){ &r->host, 1 };
    switch (draw(b, 8)) {
    case 0:
        r->kind = ANY;
        break;
    case 1:
        r->kind = REGEX;
        r->ends_with_a = draw(b, 2);
        r->match.regex = r->ends_with_a ? ".*a" : "/b.*";
        break;
    default:
        make_pattern(b, r);
    }
    for (unsigned i = 0, mask = draw(b, 8); i < 3; i++) {
        if (mask & 1u << i) {
            r->methods |= 1u << methods[i];
            r->method_list[r->match.methods.count++] = method_names[i];
        }
    }
    r->match.methods.items = r->method_list;
    if (draw(b, 3) == 0) {
        r->header = (struct header_entry){ .key = "X-A", .match.equals = draw(b, 2) ? "1" : "2" };
        r->match.headers = (struct conf_list){ &r->header, 1 };
    }
}

/* ---- the order, naively ---- */

static int host_rank(const struct naive_route *r, struct slice host)
{
    struct slice want = slice_from(r->host);
    if (!r->host)
        return 0;
    if (want.at[0] != '*')
        return slice_eq(want, host) ? 1000 : -1;
    struct slice suffix = slice_make(want.at + 1, want.len - 1);
    return host.len > suffix.len && slice_ends(host, suffix) ? (int)suffix.len : -1;
}

static bool pattern_matches(const struct naive_route *r, struct slice path)
{
    bool more = true; /* another segment, perhaps an empty one, is left */
    struct slice rest = slice_make(path.at + 1, path.len - 1);
    for (unsigned i = 0;; i++) {
        if (r->elements[i] == END_OF_PREFIX)
            return true;
        if (r->elements[i] == END_OF_PATH)
            return !more;
        if (r->elements[i] == REST)
            return more;
        if (!more)
            return false;
        ptrdiff_t slash = slice_find(rest, '/');
        struct slice segment = slash < 0 ? rest : slice_make(rest.at, (size_t)slash);
        more = slash >= 0;
        rest = more ? slice_make(rest.at + slash + 1, rest.len - (size_t)slash - 1) : SLICE_EMPTY;
        if (r->elements[i] == TEXT ? !slice_eq(segment, slice_from(r->segments[i])) : segment.len == 0)
            return false;
    }
}

static bool path_matches(const struct naive_route *r, struct slice path)
{
    if (r->kind == REGEX)
        return r->ends_with_a ? path.at[path.len - 1] == 'a' : slice_starts(path, SLICE("/b"));
    return r->kind == ANY || pattern_matches(r, path);
}

static bool method_matches(const struct naive_route *r, enum method method)
{
    unsigned want = 1u << method | (method == METHOD_HEAD ? 1u << METHOD_GET : 0);
    return r->methods == 0 || (r->methods & want);
}

static bool names_head(const struct naive_route *r)
{
    return r->methods == 0 || (r->methods & 1u << METHOD_HEAD);
}

/* Is the earlier route a better match than the later one? */
static bool beats(const struct naive_route *a, const struct naive_route *b, const struct message *request,
                  struct slice host)
{
    if (host_rank(a, host) != host_rank(b, host))
        return host_rank(a, host) > host_rank(b, host);
    if (a->kind != b->kind)
        return a->kind > b->kind;
    if (a->kind == REGEX)
        return true;
    for (unsigned i = 0; a->kind == PATTERN; i++) {
        if (a->elements[i] != b->elements[i])
            return a->elements[i] > b->elements[i];
        if (a->elements[i] <= REST)
            break;
    }
    size_t a_weight = (a->methods != 0) + a->match.headers.count, b_weight = (b->methods != 0) + b->match.headers.count;
    if (a_weight != b_weight)
        return a_weight > b_weight;
    return request->method != METHOD_HEAD || names_head(a) || !names_head(b);
}

struct answer {
    const struct naive_route *route;
    unsigned allow;
};

static struct answer ask(const struct naive_route *routes, unsigned count, const struct message *request,
                         struct slice path)
{
    char lower[TEXT_MAX];
    struct slice host = request->authority;
    struct answer answer = { NULL, 0 };
    if (slice_ends(host, SLICE(":80")))
        host = slice_make(host.at, host.len - 4); /* and the dot before it */
    for (size_t i = 0; i < host.len; i++)
        lower[i] = (char)(host.at[i] | ((host.at[i] >= 'A' && host.at[i] <= 'Z') ? 0x20 : 0));
    host.at = lower;
    for (const struct naive_route *r = routes; r < routes + count; r++) {
        const struct field *header = request->fields.count > 0 ? &request->fields.v[0] : NULL;
        bool header_ok =
            r->match.headers.count == 0 || (header && slice_eq(header->value, slice_from(r->header.match.equals)));
        if (!header_ok || host_rank(r, host) < 0 || !path_matches(r, path))
            continue;
        if (!method_matches(r, request->method))
            answer.allow |= r->methods;
        else if (!answer.route || !beats(answer.route, r, request, host))
            answer.route = r;
    }
    return answer;
}

/* ---- comparing ---- */

static void check_allow(struct slice allow, unsigned want)
{
    unsigned got = 0;
    for (struct slice name = slice_next_element(&allow); name.at; name = slice_next_element(&allow))
        got |= 1u << method_from(name);
    ENSURE(got == (want | (want & 1u << METHOD_GET ? 1u << METHOD_HEAD : 0)));
}

/* Captures as a template says: each is a non-empty segment of the path, and the remainder ends it. */
static void check_captures(const struct naive_route *r, const struct route_match *match, struct slice path)
{
    unsigned seen = 0;
    struct slice rest = slice_make(path.at + 1, path.len - 1);
    for (unsigned i = 0; r->kind == PATTERN && r->elements[i] >= REST; i++) {
        struct slice whole = rest, segment = slice_cut(&rest, '/');
        if (r->elements[i] == TEXT)
            continue;
        const struct route_capture *c = &match->captures[seen++];
        ENSURE(seen <= match->capture_count);
        ENSURE(slice_eq(c->name, slice_make(r->segments[i] + 1, r->elements[i] == REST ? 4 : 2)));
        ENSURE(slice_eq(c->raw, r->elements[i] == REST ? whole : segment));
    }
    ENSURE(seen == match->capture_count);
}

static void compare_request(struct bytes *b, const struct router *router, const struct naive_route *routes,
                            unsigned count, struct arena *arena)
{
    char target[TEXT_MAX] = "";
    struct route_match match;
    unsigned m = draw(b, 3), header = draw(b, 3);
    struct message request = { .method = (uint8_t)methods[m], .method_name = slice_from(method_names[m]) };
    request.authority = slice_from(request_hosts[draw(b, ARRAY_LEN(request_hosts))]);
    for (unsigned i = 0, segments = 1 + draw(b, SEGMENTS_MAX); i < segments; i++) {
        size_t len = strlen(target);
        snprintf(target + len, TEXT_MAX - len, "/%s", request_segments[draw(b, ARRAY_LEN(request_segments))]);
    }
    request.path = slice_from(target);
    if (header > 0) {
        int rc = fields_add(&request.fields, arena, SLICE("x-a"), header == 1 ? SLICE("1") : SLICE("2"));
        ENSURE(rc == 0);
    }
    struct slice path;
    int rc = uri_normalise(arena, request.path, &path);
    ENSURE(rc == 0);
    struct answer want = ask(routes, count, &request, path);
    router_match(router, &request, arena, &match);
    ENSURE(match.plan == (want.route ? &want.route->plan : NULL));
    ENSURE(match.err == (want.route ? ERR_NONE : want.allow ? ERR_METHOD_NOT_ALLOWED : ERR_NO_ROUTE));
    if (want.route)
        check_captures(want.route, &match, path);
    else
        check_allow(match.allow, want.allow);
}

static void no_free(struct plan *plan)
{
    ENSURE(!"the plan is held here");
}

void naive_compare(const uint8_t *bytes, size_t len)
{
    struct bytes b = { bytes, bytes + len };
    struct naive_route routes[ROUTES_MAX] = { 0 };
    struct route_entry entries[ROUTES_MAX];
    struct memory memory;
    unsigned count = 1 + draw(&b, ROUTES_MAX);

    for (unsigned i = 0; i < count; i++) {
        make_route(&b, &routes[i]);
        atomic_init(&routes[i].plan.refs, 1);
        routes[i].plan.free = no_free;
        entries[i] = (struct route_entry){ &routes[i].match, NULL, &routes[i].plan };
    }
    int rc = memory_init(&memory, NULL, 0);
    ENSURE(rc == 0);
    struct arena *arena = arena_new(&memory, SIZE_MAX);
    struct conf *conf = conf_new(NULL);
    ENSURE(arena && conf);
    struct router *router = router_build(conf, entries, count);
    ENSURE(router && conf_error_count(conf) == 0);
    for (unsigned i = 0; i < REQUESTS; i++)
        compare_request(&b, router, routes, count, arena);
    router_drop(router);
    for (unsigned i = 0; i < count; i++)
        ENSURE(atomic_load(&routes[i].plan.refs) == 1);
    conf_free(conf);
    arena_free(arena);
    memory_done(&memory);
}
