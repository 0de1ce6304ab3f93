/* See routing.h. */
#include "routing.h"

#include "base/assert.h"

static void never_free(struct plan *plan)
{
    fail_msg("a plan lost its last reference, which the test holds");
}

void routing_build(struct routing *r, const char *yaml)
{
    static struct match_conf matches[ROUTING_MAX];
    struct route_entry entries[ROUTING_MAX];
    memset(r, 0, sizeof(*r));
    memset(matches, 0, sizeof(matches));
    assert_int_equal(memory_init(&r->memory, NULL, 0), 0);
    r->arena = arena_new(&r->memory, SIZE_MAX);
    r->conf = conf_new(NULL);
    assert_non_null(r->arena);
    assert_non_null(r->conf);
    const struct conf_node *root = conf_parse_text(r->conf, "test.yaml", slice_from(yaml));
    assert_non_null(root);
    for (const struct conf_node *node = root->first; node; node = node->next) {
        assert_true(r->count < ROUTING_MAX);
        if (conf_load(r->conf, node, &match_schema, &matches[r->count]) < 0) {
            conf_print_diagnostics(r->conf, stderr, true);
            fail_msg("the schema refuses the test's routes");
        }
        struct plan *plan = &r->plans[r->count];
        plan->free = never_free;
        atomic_init(&plan->refs, 1);
        entries[r->count] = (struct route_entry){ &matches[r->count], node, plan };
        r->count++;
    }
    r->router = router_build(r->conf, entries, r->count);
}

void routing_done(struct routing *r)
{
    router_drop(r->router);
    for (size_t i = 0; i < r->count; i++)
        assert_int_equal(atomic_load(&r->plans[i].refs), 1);
    conf_free(r->conf);
    arena_free(r->arena);
    memory_done(&r->memory);
}

void routing_request(struct routing *r, const char *line)
{
    struct slice rest = slice_from(line), method = slice_cut(&rest, ' ');
    struct message *m = &r->request;
    memset(m, 0, sizeof(*m));
    m->version = HTTP_1_1;
    m->method_name = method;
    m->method = method_from(method);
    m->body_length = BODY_NONE;
    if (slice_starts(rest, SLICE("http://"))) {
        rest = slice_make(rest.at + 7, rest.len - 7);
        ptrdiff_t slash = slice_find(rest, '/');
        m->authority = slash < 0 ? rest : slice_make(rest.at, (size_t)slash);
        rest = slash < 0 ? SLICE_EMPTY : slice_make(rest.at + slash, rest.len - (size_t)slash);
    }
    m->has_query = slice_find(rest, '?') >= 0;
    m->path = slice_cut(&rest, '?');
    m->query = rest;
}

void routing_field(struct routing *r, const char *name, const char *value)
{
    assert_int_equal(fields_add(&r->request.fields, r->arena, slice_from(name), slice_from(value)), 0);
}

int routing_match(struct routing *r)
{
    assert_non_null(r->router);
    router_match(r->router, &r->request, r->arena, &r->match);
    if (!r->match.plan) {
        assert_int_not_equal(r->match.err, ERR_NONE);
        return NO_ROUTE;
    }
    assert_int_equal(r->match.err, ERR_NONE);
    return (int)(r->match.plan - r->plans);
}

int routing_ask(struct routing *r, const char *line)
{
    routing_request(r, line);
    return routing_match(r);
}

struct slice routing_capture(const struct routing *r, const char *name)
{
    for (unsigned i = 0; i < r->match.capture_count; i++)
        if (slice_eq(r->match.captures[i].name, slice_from(name)))
            return r->match.captures[i].value;
    return SLICE("(none)");
}

bool routing_told(const struct routing *r, enum conf_severity severity, const char *text)
{
    for (const struct conf_diagnostic *d = conf_diagnostics(r->conf); d; d = d->next)
        if (d->severity == severity && strstr(d->message, text))
            return true;
    return false;
}
