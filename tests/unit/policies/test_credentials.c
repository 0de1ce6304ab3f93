/*
 * Credentials of HTTP's Basic scheme: what is read, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "http/fields.h"
#include "policies/basic/credentials.h"

struct bench {
    struct memory memory;
    struct arena *arena;
    struct fields fields;
    struct slice user, password;
};

static int set_up(void **state)
{
    static struct bench b;
    b = (struct bench){ 0 };
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

static enum credentials_found read(struct bench *b)
{
    enum credentials_found found;
    assert_int_equal(credentials_read(&b->fields, b->arena, &found, &b->user, &b->password), 0);
    assert_true((found == CREDENTIALS_THERE) == (b->user.at != NULL));
    return found;
}

static enum credentials_found read_one(struct bench *b, const char *value)
{
    b->fields = (struct fields){ NULL, 0, 0 };
    assert_int_equal(fields_add_id(&b->fields, b->arena, FIELD_AUTHORIZATION, slice_from(value)), 0);
    return read(b);
}

static void user_and_password_are_what_stands_around_the_first_colon(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *value, *user, *password;
    } cases[] = {
        { "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame" },
        { "bASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ", "Aladdin", "open sesame" },
        { "Basic dGVzdDoxMjPCow==", "test", "123\302\243" }, /* RFC 7617 2.1 */
        { "Basic YTpiOmM=", "a", "b:c" },
        { "Basic Og==", "", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(read_one(b, cases[i].value), CREDENTIALS_THERE);
        assert_true(slice_eq(b->user, slice_from(cases[i].user)));
        assert_true(slice_eq(b->password, slice_from(cases[i].password)));
    }
}

static void what_could_be_read_in_two_ways_is_broken(void **state)
{
    struct bench *b = *state;
    static const char *const broken[] = {
        "Basic",       "Basic ",         "Basic =",     "Basic YQ==",     "Basic YTpi YTpi", "Basic YTpiYg===",
        "Basic YTpi=", "Basic YTp",      "Basic YTpiY", "Basic YTpiYh==", "Basic YTpi\xff",  "Basic YTr/",
        "Basic YToK",  "Basic AGE6Yg==", "Basic Y_Tp",  "Basic Y-Tp",
    };
    for (size_t i = 0; i < ARRAY_LEN(broken); i++)
        if (read_one(b, broken[i]) != CREDENTIALS_BROKEN)
            fail_msg("%s", broken[i]);
    assert_int_equal(read_one(b, "Bearer YTpi"), CREDENTIALS_NONE);
    assert_int_equal(read_one(b, "BasicYTpi"), CREDENTIALS_NONE);
    assert_int_equal(read_one(b, ""), CREDENTIALS_NONE);
}

static void two_fields_are_nobodys(void **state)
{
    struct bench *b = *state;
    assert_int_equal(read(b), CREDENTIALS_NONE);
    assert_int_equal(read_one(b, "Basic YTpi"), CREDENTIALS_THERE);
    assert_int_equal(fields_add_id(&b->fields, b->arena, FIELD_AUTHORIZATION, SLICE("Bearer x")), 0);
    assert_int_equal(read(b), CREDENTIALS_TWICE);
    credentials_strip(&b->fields);
    assert_true(slice_eq(fields_find(&b->fields, FIELD_AUTHORIZATION)->value, SLICE("Bearer x")));
    assert_int_equal(read(b), CREDENTIALS_NONE);
}

static void what_is_too_long_is_not_even_decoded(void **state)
{
    struct bench *b = *state;
    static char value[6 + 8192];
    memset(value, 'Q', sizeof(value) - 1);
    memcpy(value, "Basic YTpi", 10);
    size_t before = b->arena->used_bytes;
    assert_int_equal(read_one(b, value), CREDENTIALS_BROKEN);
    assert_true(b->arena->used_bytes - before < 2048);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(user_and_password_are_what_stands_around_the_first_colon, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_could_be_read_in_two_ways_is_broken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_fields_are_nobodys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_long_is_not_even_decoded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
