/*
 * Cookies and parameters of a query, as services read them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "http/cookie.h"
#include "http/fields.h"
#include "http/query.h"

struct bench {
    struct memory memory;
    struct arena *arena;
    struct fields fields;
};

static int set_up(void **state)
{
    static struct bench b;
    b = (struct bench){ .fields = { .count = 0 } };
    if (memory_init(&b.memory, NULL, 0) < 0)
        return -1;
    b.arena = arena_new(&b.memory, SIZE_MAX);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    arena_free(b->arena);
    memory_done(&b->memory);
    return 0;
}

static void add_cookies(struct bench *b, const char *value)
{
    assert_int_equal(fields_add(&b->fields, b->arena, SLICE("Cookie"), slice_from(value)), 0);
}

static void assert_text(struct slice got, const char *wanted)
{
    if (!slice_eq(got, slice_from(wanted)) || !got.at != !wanted)
        fail_msg("got `%.*s`, wanted `%s`", SLICE_ARG(got), wanted ? wanted : "(none)");
}

static void a_cookie_is_found_by_its_whole_name(void **state)
{
    struct bench *b = *state;
    add_cookies(b, "aid=1; ; nothing; =x; id = 2 ;ID=3; id=4; q=\"5 6\"; e=; eq=a=b=");
    assert_text(cookie_find(&b->fields, SLICE("id")), "2");
    assert_text(cookie_find(&b->fields, SLICE("ID")), "3");
    assert_text(cookie_find(&b->fields, SLICE("q")), "5 6");
    assert_text(cookie_find(&b->fields, SLICE("e")), "");
    assert_text(cookie_find(&b->fields, SLICE("eq")), "a=b=");
    assert_text(cookie_find(&b->fields, SLICE("nothing")), NULL);
    assert_text(cookie_find(&b->fields, SLICE("d")), NULL);
}

static void cookies_in_several_fields_are_one_list(void **state)
{
    struct bench *b = *state;
    add_cookies(b, "a=1");
    assert_int_equal(fields_add(&b->fields, b->arena, SLICE("X-Cookie"), SLICE("b=0")), 0);
    add_cookies(b, "b=2; a=3");
    assert_text(cookie_find(&b->fields, SLICE("a")), "1");
    assert_text(cookie_find(&b->fields, SLICE("b")), "2");
}

static void a_cookie_taken_out_leaves_the_others_as_they_were(void **state)
{
    struct bench *b = *state;
    add_cookies(b, "a=1; sid=x;b=\"2\" ; flag; sid=y");
    add_cookies(b, "sid=z");
    add_cookies(b, "c=3");
    assert_int_equal(cookie_remove(&b->fields, b->arena, SLICE("sid")), 0);
    assert_text(b->fields.v[0].value, "a=1; b=\"2\"; flag");
    assert_int_equal(b->fields.v[1].name.len, 0);
    assert_text(b->fields.v[2].value, "c=3");
}

static void a_parameter_is_found_by_what_its_name_says(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *query, *name, *value;
    } cases[] = {
        { "a=1&b=2&a=3", "a", "1" },   { "a+b=1", "a b", "1" }, { "a%20b=1", "a b", "1" }, { "%61=1", "a", "1" },
        { "a=%41+%42%", "a", "A B%" }, { "a=%4", "a", "%4" },   { "a=%zz", "a", "%zz" },   { "a", "a", "" },
        { "&&a=1&", "a", "1" },        { "ab=1", "a", NULL },   { "a=1", "ab", NULL },     { "", "a", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice found = query_find(slice_from(cases[i].query), slice_from(cases[i].name)), text;
        assert_int_equal(query_decode(b->arena, found, &text), 0);
        assert_text(text, cases[i].value);
    }
    struct slice text;
    assert_int_equal(query_decode(b->arena, query_find(SLICE("a=%00b"), SLICE("a")), &text), 0);
    assert_int_equal(text.len, 2);
    assert_memory_equal(text.at, "\0b", 2);
}

static void only_octets_of_a_cookie_make_a_value(void **state)
{
    assert_true(cookie_value_valid(SLICE("0123-abc_=")));
    assert_false(cookie_value_valid(SLICE("a b")));
    assert_false(cookie_value_valid(SLICE("a;b")));
    assert_false(cookie_value_valid(SLICE("a\xff")));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_cookie_is_found_by_its_whole_name),
        TEST(cookies_in_several_fields_are_one_list),
        TEST(a_cookie_taken_out_leaves_the_others_as_they_were),
        TEST(a_parameter_is_found_by_what_its_name_says),
        TEST(only_octets_of_a_cookie_make_a_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
