/*
 * The headers policy on an exchange made by hand: loaded from YAML through the registry, its hooks called on a request
 * and a response.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "conf/conf.h"
#include "exchange/exchange.h"
#include "policies/registry.h"

struct bench {
    struct conf *conf;
    const struct policy_type *type;
    void *data; /* NULL after errors */
    struct memory memory;
    struct exchange exchange;
    struct message request;
};

static void load(struct bench *b, const char *yaml)
{
    memset(b, 0, sizeof(*b));
    const struct conf_variant *variant = policy_registry.variants;
    while (strcmp(variant->name, "headers") != 0)
        variant++;
    b->type = variant->type;
    b->conf = conf_new(NULL);
    const struct conf_node *node = conf_parse_text(b->conf, "test.yaml", slice_from(yaml));
    assert_non_null(node);
    void *settings = arena_zalloc(conf_arena(b->conf), variant->structure->size);
    assert_int_equal(conf_load(b->conf, node, variant->structure, settings), 0);
    int rc = b->type->load(b->conf, node, settings, &b->data);
    assert_true((rc == 0) == (b->data != NULL) && (rc == 0) == (conf_error_count(b->conf) == 0));
    assert_int_equal(memory_init(&b->memory, NULL, 0), 0);
    b->exchange.arena = arena_new(&b->memory, SIZE_MAX);
    b->exchange.request = &b->request;
    b->request.authority = SLICE("client.example");
}

static void unload(struct bench *b)
{
    if (b->data)
        b->type->unload(b->data);
    arena_free(b->exchange.arena);
    memory_done(&b->memory);
    conf_free(b->conf);
}

static void add(struct bench *b, struct message *message, const char *name, const char *value)
{
    assert_int_equal(fields_add(&message->fields, b->exchange.arena, slice_from(name), slice_from(value)), 0);
}

static void run(struct bench *b, enum direction direction)
{
    assert_int_equal(b->type->on_head[direction](&b->exchange, NULL, b->data), NEXT);
}

/* "Name: value\n" for each field, in their order. */
static void assert_fields(struct bench *b, const struct message *message, const char *expected)
{
    struct slice text = SLICE("");
    FIELDS_FOR_EACH (f, &message->fields) {
        text = arena_printf(b->exchange.arena, "%.*s%.*s: %.*s\n", SLICE_ARG(text), SLICE_ARG(f->name),
                            SLICE_ARG(f->value));
        assert_int_equal(f->id, field_id(f->name));
    }
    assert_string_equal(arena_printf(b->exchange.arena, "%.*s", SLICE_ARG(text)).at, expected);
}

static void edits_are_done_as_remove_rename_set_add(void **state)
{
    struct bench b;
    load(&b, "request: { add: { X-A: added }, set: { X-A: set }, rename: { X-Old: X-A }, remove: X-A }");
    add(&b, &b.request, "x-a", "removed");
    add(&b, &b.request, "x-old", "renamed");
    add(&b, &b.request, "Accept", "*/*");
    run(&b, DIR_REQUEST);
    assert_fields(&b, &b.request, "X-A: set\nAccept: */*\nX-A: added\n");
    unload(&b);
}

static void fields_are_removed_by_name_without_case_all_lines_of_them(void **state)
{
    struct bench b;
    load(&b, "request: { remove: [ACCEPT, x-debug] }");
    add(&b, &b.request, "Accept", "a");
    add(&b, &b.request, "X-Debug", "1");
    add(&b, &b.request, "X-Debugger", "stays");
    add(&b, &b.request, "accept", "b");
    add(&b, &b.request, "x-DEBUG", "2");
    run(&b, DIR_REQUEST);
    assert_fields(&b, &b.request, "X-Debugger: stays\n");
    unload(&b);
}

static void renaming_keeps_values_and_places_and_drops_the_new_names_old_fields(void **state)
{
    struct bench b;
    load(&b, "response: { rename: { X-Internal-Cookie: Set-Cookie, Server: X-Server, X-Missing: ETag } }");
    add(&b, &b.exchange.response, "X-Internal-Cookie", "a=1");
    add(&b, &b.exchange.response, "Set-Cookie", "forged=1");
    add(&b, &b.exchange.response, "x-internal-cookie", "b=2");
    add(&b, &b.exchange.response, "Server", "s");
    add(&b, &b.exchange.response, "ETag", "\"stays\"");
    run(&b, DIR_RESPONSE);
    assert_fields(&b, &b.exchange.response, "Set-Cookie: a=1\nSet-Cookie: b=2\nX-Server: s\nETag: \"stays\"\n");
    unload(&b);
}

static void set_leaves_one_field_and_add_any_number(void **state)
{
    struct bench b;
    load(&b, "response: { set: { Cache-Control: no-store, X-New: '' }, add: { Link: ['<a>', '<b>'], Vary: Origin } }");
    add(&b, &b.exchange.response, "cache-control", "max-age=1");
    add(&b, &b.exchange.response, "Vary", "Accept");
    add(&b, &b.exchange.response, "Cache-Control", "public");
    run(&b, DIR_RESPONSE);
    assert_non_null(fields_find(&b.exchange.response.fields, FIELD_CACHE_CONTROL));
    fields_remove(&b.exchange.response.fields, FIELD_CACHE_CONTROL); /* its place is the fields' business */
    assert_fields(&b, &b.exchange.response, "Vary: Accept\nX-New: \nLink: <a>\nLink: <b>\nVary: Origin\n");
    unload(&b);
}

static void directions_are_edited_apart(void **state)
{
    struct bench b;
    load(&b, "{ request: { set: { X-Up: '1' } }, response: { set: { X-Down: '2' } } }");
    run(&b, DIR_REQUEST);
    assert_fields(&b, &b.request, "X-Up: 1\n");
    assert_fields(&b, &b.exchange.response, "");
    run(&b, DIR_RESPONSE);
    assert_fields(&b, &b.request, "X-Up: 1\n");
    assert_fields(&b, &b.exchange.response, "X-Down: 2\n");
    unload(&b);
}

static void setting_host_changes_the_authority_and_no_field(void **state)
{
    struct bench b;
    load(&b, "request: { set: { host: 'inner.example:8080' } }");
    run(&b, DIR_REQUEST);
    assert_fields(&b, &b.request, "");
    assert_true(slice_eq(b.request.authority, SLICE("inner.example:8080")));
    unload(&b);
}

static void braces_and_dollars_in_values_are_literal(void **state)
{
    struct bench b;
    load(&b, "request: { set: { X-A: 'a {b} $c' } }");
    run(&b, DIR_REQUEST);
    assert_fields(&b, &b.request, "X-A: a {b} $c\n");
    unload(&b);
}

static void nothing_to_do_is_fine(void **state)
{
    struct bench b;
    load(&b, "{}");
    add(&b, &b.request, "A", "b");
    run(&b, DIR_REQUEST);
    run(&b, DIR_RESPONSE);
    assert_fields(&b, &b.request, "A: b\n");
    unload(&b);
}

struct mistake {
    const char *yaml, *message;
};

static void what_cannot_be_edited_is_refused_with_the_reason(void **state)
{
    static const struct mistake mistakes[] = {
        { "request: { remove: [content-length] }", "says where the message ends" },
        { "request: { set: { Transfer-Encoding: chunked } }", "says where the message ends" },
        { "response: { add: { Trailer: x } }", "says where the message ends" },
        { "response: { set: { Connection: close } }", "belongs to the connection" },
        { "request: { rename: { X-A: Upgrade } }", "belongs to the connection" },
        { "request: { rename: { TE: X-A } }", "belongs to the connection" },
        { "request: { remove: Expect }", "belongs to the connection" },
        { "request: { add: { Keep-Alive: '1' } }", "belongs to the connection" },
        { "request: { remove: Host }", "can only be set" },
        { "request: { rename: { X-Host: Host } }", "can only be set" },
        { "request: { add: { Host: a } }", "can only be set" },
        { "response: { set: { Host: a } }", "no field of a response" },
        { "request: { set: { Host: 'a b' } }", "is no host" },
        { "request: { set: { Host: 'user@a' } }", "is no host" },
        { "request: { set: { 'X A': b } }", "is no field name" },
        { "request: { remove: [''] }", "is no field name" },
        { "request: { rename: { X-A: 'X:B' } }", "is no field name" },
        { "request: { set: { X-A: \"b\\r\\nX-Evil: 1\" } }", "no line breaks" },
        { "response: { add: { X-A: [fine, \"b\\n\"] } }", "no line breaks" },
        { "request: { rename: { X-A: X-B, x-b: X-C } }", "is renamed itself" },
        { "request: { rename: { X-A: x-a } }", "is renamed itself" },
    };
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct bench b;
        bool told = false;
        load(&b, mistakes[i].yaml);
        for (const struct conf_diagnostic *d = conf_diagnostics(b.conf); d; d = d->next)
            told |= strstr(d->message, mistakes[i].message) != NULL && d->mark.line == 1;
        if (b.data || !told)
            fail_msg("%s does not say `%s`", mistakes[i].yaml, mistakes[i].message);
        unload(&b);
    }
}

static void all_mistakes_are_told_at_once(void **state)
{
    struct bench b;
    load(&b, "{ request: { remove: [Host, TE], set: { 'a b': c } }, response: { set: { Host: d } } }");
    assert_int_equal(conf_error_count(b.conf), 4);
    unload(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(edits_are_done_as_remove_rename_set_add),
        cmocka_unit_test(fields_are_removed_by_name_without_case_all_lines_of_them),
        cmocka_unit_test(renaming_keeps_values_and_places_and_drops_the_new_names_old_fields),
        cmocka_unit_test(set_leaves_one_field_and_add_any_number),
        cmocka_unit_test(directions_are_edited_apart),
        cmocka_unit_test(setting_host_changes_the_authority_and_no_field),
        cmocka_unit_test(braces_and_dollars_in_values_are_literal),
        cmocka_unit_test(nothing_to_do_is_fine),
        cmocka_unit_test(what_cannot_be_edited_is_refused_with_the_reason),
        cmocka_unit_test(all_mistakes_are_told_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
