/*
 * Compiling one `match`: its hosts, its path, its methods and conditions.  Each mistake is reported at the field it
 * stands in, and the rest is looked at all the same.
 */
#include "route/compile.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/sys.h"
#include "exchange/plan.h"
#include "http/chars.h"
#include "http/uri.h"
#include "route/condition.h"
#include "route/pattern.h"
#include "route/regex.h"
#include "route/router.h"

static const struct conf_type text_type = { CONF_STRING };
static const struct conf_type value_match_type = { CONF_STRUCT, .structure = &field_match_schema };

struct job {
    struct compilation *c;
    const struct route_entry *from;
    struct entry *entry;
    struct route route; /* what the placements copy */
    struct pattern pattern;
    enum place_kind kind;
};

/* The node of a field of the match, for messages; the route's own when there is none. */
static const struct conf_node *place_of(const struct job *job, const char *field)
{
    const struct conf_node *node = job->from->node;
    const struct conf_node *match = node ? conf_get(node, "match") : NULL;
    const struct conf_node *found = match ? conf_get(match, field) : NULL;
    if (!found && node)
        found = conf_get(node, field);
    return found ? found : node;
}

/* ---- methods ---- */

static bool add_custom_method(struct job *job, struct slice name, uint64_t *bits)
{
    struct router *router = job->c->router;
    unsigned i = 0;
    while (i < router->custom_method_count && !slice_eq(router->custom_methods[i], name))
        i++;
    if (i == CUSTOM_METHODS_MAX) {
        conf_error(job->c->conf, place_of(job, "methods"),
                   "at most %d methods of your own can be named in all routes together", CUSTOM_METHODS_MAX);
        return false;
    }
    if (i == router->custom_method_count)
        router->custom_methods[router->custom_method_count++] = name;
    *bits |= 1ull << (METHOD_COUNT + i);
    return true;
}

static struct slice upper_case(struct conf *conf, struct slice text)
{
    struct slice upper = arena_copy(conf_arena(conf), text);
    for (size_t i = 0; upper.at && i < upper.len; i++)
        if (upper.at[i] >= 'a' && upper.at[i] <= 'z')
            ((char *)upper.at)[i] &= (char)~0x20;
    return upper;
}

static bool compile_method(struct job *job, struct slice name, uint64_t *bits)
{
    struct conf *conf = job->c->conf;
    enum method method = method_from(name);
    if (method != METHOD_OTHER) {
        *bits |= 1ull << method;
        return true;
    }
    if (name.len == 0 || !field_name_valid(name)) { /* a method is a token, as a field's name is */
        conf_error(conf, place_of(job, "methods"), "`%.*s` is no method", SLICE_ARG(name));
        return false;
    }
    struct slice upper = upper_case(conf, name);
    if (upper.at && method_from(upper) != METHOD_OTHER) {
        conf_error(conf, place_of(job, "methods"), "methods are written in capitals: `%.*s`", SLICE_ARG(upper));
        return false;
    }
    return add_custom_method(job, name, bits);
}

static void compile_methods(struct job *job)
{
    const struct conf_list *list = &job->from->match->methods;
    uint64_t bits = 0;
    for (size_t i = 0; i < list->count; i++) {
        const char *name = *(const char **)conf_item(list, &text_type, i);
        if (name && !compile_method(job, slice_from(name), &bits))
            job->c->failed = true;
    }
    job->route.methods = list->count > 0 ? bits : METHODS_ALL;
    job->route.weight += list->count > 0;
}

/* ---- conditions ---- */

static void compile_conditions_of(struct job *job, enum condition_kind kind, const struct conf_list *map)
{
    struct entry *e = job->entry;
    for (size_t i = 0; i < map->count; i++) {
        const struct conf_entry *from = conf_entry_at(map, &value_match_type, i);
        if (condition_compile(job->c->conf, kind, from, &e->conditions[e->condition_count]) < 0)
            job->c->failed = true;
        e->condition_count++;
    }
}

static void compile_conditions(struct job *job)
{
    enum { CONDITIONS_MAX = 1000 };
    const struct match_conf *match = job->from->match;
    size_t count = match->headers.count + match->query.count + match->cookies.count;
    if (count > CONDITIONS_MAX) {
        conf_error(job->c->conf, job->from->node, "a route has at most %d conditions", CONDITIONS_MAX);
        job->c->failed = true;
        return;
    }
    if (count > 0)
        job->entry->conditions = mem_must(count * sizeof(*job->entry->conditions));
    compile_conditions_of(job, CONDITION_HEADER, &match->headers);
    compile_conditions_of(job, CONDITION_QUERY, &match->query);
    compile_conditions_of(job, CONDITION_COOKIE, &match->cookies);
    job->route.conditions = job->entry->conditions;
    job->route.condition_count = (uint16_t)count;
    job->route.weight += (uint16_t)count;
}

/* ---- the path ---- */

static bool same_names(const struct slice *a, const struct slice *b, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!slice_eq(a[i], b[i]))
            return false;
    return true;
}

/* Thousands of routes name their captures alike: they share one list, which requests then find in the cache. */
static const struct slice *capture_list(struct job *job)
{
    struct compilation *c = job->c;
    const struct pattern *p = &job->pattern;
    for (unsigned i = 0; i < c->list_count; i++)
        if (c->lists[i].count == p->capture_count && same_names(c->lists[i].names, p->captures, p->capture_count))
            return c->lists[i].names;
    job->entry->captures = mem_must(p->capture_count * sizeof(struct slice));
    memcpy(job->entry->captures, p->captures, p->capture_count * sizeof(struct slice));
    if (c->list_count < CAPTURE_LISTS_MAX) {
        c->lists[c->list_count].names = job->entry->captures;
        c->lists[c->list_count++].count = p->capture_count;
    }
    return job->entry->captures;
}

static int compile_template(struct job *job)
{
    const char *path = job->from->match->path;
    struct pattern *p = &job->pattern;
    if (pattern_parse_template(job->c->conf, place_of(job, "path"), path, p) < 0)
        return -1;
    job->route.captures = p->capture_count > 0 ? capture_list(job) : NULL;
    job->route.takes_rest = p->segments[p->count - 1].kind == SEGMENT_REST;
    job->kind = job->route.takes_rest ? PLACE_REST : PLACE_EXACT;
    return 0;
}

static int compile_regex(struct job *job)
{
    const char *text = job->from->match->regex;
    const struct conf_node *node = place_of(job, "regex");
    struct entry *e = job->entry;
    struct regex_group groups[ROUTE_CAPTURES_MAX];
    if (regex_compile(job->c->conf, node, text, &e->regex) < 0)
        return -1;
    unsigned count = regex_groups(e->regex, text, groups, ROUTE_CAPTURES_MAX);
    if (count > ROUTE_CAPTURES_MAX) {
        conf_error(job->c->conf, node, "a regular expression has at most %d named groups", ROUTE_CAPTURES_MAX);
        return -1;
    }
    if (count > 0) {
        e->groups = mem_must(count * sizeof(*e->groups));
        memcpy(e->groups, groups, count * sizeof(*e->groups));
    }
    job->route.regex = e->regex;
    job->route.groups = e->groups;
    job->route.group_count = (uint8_t)count;
    job->kind = PLACE_REGEX;
    return 0;
}

static int compile_path(struct job *job)
{
    const struct match_conf *match = job->from->match;
    if (match->path)
        return compile_template(job);
    if (match->regex)
        return compile_regex(job);
    job->kind = match->prefix ? PLACE_PREFIX : PLACE_ANY;
    return match->prefix ? pattern_parse_prefix(job->c->conf, place_of(job, "prefix"), match->prefix, &job->pattern)
                         : 0;
}

/* ---- hosts ---- */

static int read_host(struct job *job, const char *text, struct slice *ret_name)
{
    const struct conf_node *node = place_of(job, "host");
    struct conf *conf = job->c->conf;
    struct slice whole = slice_from(text), host;
    bool wild = slice_starts(whole, SLICE("*."));
    struct slice plain = wild ? slice_make(whole.at + 2, whole.len - 2) : whole;
    uint16_t port;

    if (slice_ends(plain, SLICE(".")))
        plain.len--;
    if (slice_find(plain, '*') >= 0) {
        conf_error(conf, node,
                   "`%s`: a `*` can only stand for the first labels (`*.example.com`); without `host` a route is for "
                   "every host",
                   text);
        return -1;
    }
    if (plain.len == 0 || plain.at[0] == '.' || whole.len > HOST_BYTES_MAX ||
        uri_parse_authority(plain, &host, &port) < 0) {
        conf_error(conf, node, "`%s` is no host name", text);
        return -1;
    }
    if (host.len != plain.len) {
        conf_error(conf, node, "`%s`: the port is no part of the host; requests are matched whatever port they name",
                   text);
        return -1;
    }
    if (wild && plain.at[0] == '[') {
        conf_error(conf, node, "`%s`: an address has no names below it", text);
        return -1;
    }
    /* in the form that requests are looked up by: lower case, a suffix with its dot */
    struct slice name = arena_copy(conf_arena(conf), wild ? slice_make(plain.at - 1, plain.len + 1) : plain);
    for (size_t i = 0; name.at && i < name.len; i++)
        ((char *)name.at)[i] = char_lower(name.at[i]);
    *ret_name = name;
    return name.at ? 0 : -1;
}

static uint32_t add_path(struct job *job, uint32_t root)
{
    struct trie *trie = &job->c->router->trie;
    uint32_t node = root;
    if (job->kind == PLACE_REGEX || job->kind == PLACE_ANY)
        return root;
    for (unsigned i = 0; i < job->pattern.count; i++) {
        const struct segment *segment = &job->pattern.segments[i];
        if (segment->kind == SEGMENT_LITERAL)
            node = trie_add_literal(trie, node, segment->text);
        else if (segment->kind == SEGMENT_PARAM)
            node = trie_add_param(trie, node);
    }
    return node;
}

static void add_placement(struct job *job, struct slice host_name)
{
    struct compilation *c = job->c;
    struct router *router = c->router;
    if (c->placement_count == c->placement_size) {
        uint32_t size = c->placement_size ? c->placement_size * 2 : 64;
        struct placement *larger = mem_must(size * sizeof(*larger));
        if (c->placement_count > 0)
            memcpy(larger, c->placements, c->placement_count * sizeof(*larger));
        mem_free(c->placements);
        c->placements = larger;
        c->placement_size = size;
    }
    uint32_t host = host_table_add(&router->hosts, host_name, &router->trie);
    uint32_t node = add_path(job, router->hosts.hosts[host].root);
    c->placements[c->placement_count++] = (struct placement){ job->route, host, node, job->kind };
}

static void compile_hosts(struct job *job)
{
    const struct conf_list *list = &job->from->match->hosts;
    for (size_t i = 0; i < list->count; i++) {
        struct slice name;
        const char *text = *(const char **)conf_item(list, &text_type, i);
        if (text && read_host(job, text, &name) == 0)
            add_placement(job, name);
        else
            job->c->failed = true;
    }
    if (list->count == 0)
        add_placement(job, SLICE_EMPTY);
}

void compile_entry(struct compilation *c, const struct route_entry *from)
{
    struct router *router = c->router;
    struct job job = { .c = c, .from = from, .entry = &router->entries[router->entry_count] };

    if (from->plan)
        plan_hold(from->plan);
    else
        c->failed = true; /* reported by whoever could not build it */
    job.entry->plan = from->plan;
    job.route.plan = from->plan;
    job.route.entry = router->entry_count++;
    compile_methods(&job);
    compile_conditions(&job);
    if (compile_path(&job) < 0) {
        job.kind = PLACE_ANY; /* its hosts are looked at still; the router is given up */
        c->failed = true;
    }
    compile_hosts(&job);
}
