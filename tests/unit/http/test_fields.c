/* Fields: ids by name, adding, replacing, removing, lists; and what may stand in a name or a value. */
#include "parsing.h"

#include <ctype.h>

#include "http/chars.h"

static void every_name_of_the_table_is_found_in_any_case(void **state)
{
    for (enum field_id id = FIELD_OTHER + 1; id < FIELD_COUNT; id++) {
        struct slice name = field_name(id);
        char other[64];
        assert_int_equal(field_id(name), id);
        for (size_t i = 0; i < name.len; i++)
            other[i] = (char)toupper((unsigned char)name.at[i]);
        assert_int_equal(field_id(slice_make(other, name.len)), id);
        for (size_t i = 0; i < name.len; i++)
            other[i] = (char)tolower((unsigned char)name.at[i]);
        assert_int_equal(field_id(slice_make(other, name.len)), id);
    }
}

static void one_byte_off_is_another_name(void **state)
{
    for (enum field_id id = FIELD_OTHER + 1; id < FIELD_COUNT; id++) {
        struct slice name = field_name(id);
        char other[64];
        for (size_t i = 0; i < name.len; i++) {
            for (int c = 0; c < 256; c++) {
                memcpy(other, name.at, name.len);
                other[i] = (char)c;
                enum field_id expected = tolower(c) == tolower((unsigned char)name.at[i]) && c < 128 ? id : FIELD_OTHER;
                if (field_id(slice_make(other, name.len)) != expected)
                    fail_msg("byte %d of %s as %d", (int)i, name.at, c);
            }
        }
        assert_int_equal(field_id(slice_make(name.at, name.len - 1)), FIELD_OTHER);
    }
    assert_int_equal(field_id(SLICE("")), FIELD_OTHER);
    assert_int_equal(field_id(SLICE("x")), FIELD_OTHER);
    assert_int_equal(field_id(SLICE("an-unusually-long-name-of-a-header-field")), FIELD_OTHER);
}

/* Of each length there is, and in each place: they are looked at in pieces that depend on both. */
static void values_are_judged_byte_by_byte(void **state)
{
    for (size_t len = 1; len <= 50; len++) {
        char *value = (char *)exact_copy((char[50]){ 0 }, len).at;
        for (size_t at = 0; at < len; at++) {
            memset(value, 'v', len);
            for (int c = 0; c < 256; c++) {
                value[at] = (char)c;
                bool good = c == '\t' || (c >= ' ' && c != 0x7f);
                if (field_value_valid(slice_make(value, len)) != good)
                    fail_msg("byte %d at %zu of %zu", c, at, len);
                if (chars_visible(value, len) != (c > ' ' && c != 0x7f))
                    fail_msg("visible: byte %d at %zu of %zu", c, at, len);
            }
        }
    }
    assert_true(chars_visible("", 0));
    assert_true(field_value_valid(SLICE_EMPTY));
    for (int c = 0; c < 256; c++) {
        char name[2] = { 'a', (char)c };
        bool good = c < 128 && c > 0 && (isalnum(c) || strchr("!#$%&'*+-.^_`|~", c));
        assert_int_equal(field_name_valid(slice_make(name, 2)), good);
    }
    assert_false(field_name_valid(SLICE("")));
}

static void add(struct fields *fields, const char *name, const char *value)
{
    assert_int_equal(fields_add(fields, arena, slice_from(name), slice_from(value)), 0);
}

static unsigned count(const struct fields *fields)
{
    unsigned n = 0;
    FIELDS_FOR_EACH (field, fields) {
        n++;
    }
    return n;
}

static void setting_replaces_all_of_a_name_by_one(void **state)
{
    struct fields fields = { 0 };

    add(&fields, "x-a", "1");
    add(&fields, "Via", "2");
    add(&fields, "X-A", "3");
    assert_int_equal(fields_set(&fields, arena, SLICE("X-a"), SLICE("4")), 0);
    assert_int_equal(count(&fields), 2);
    assert_slice(fields_find_name(&fields, SLICE("X-A"))->value, "4");
    assert_int_equal(fields_set_id(&fields, arena, FIELD_VIA, SLICE("5")), 0);
    assert_slice(fields_find(&fields, FIELD_VIA)->value, "5");
    assert_int_equal(fields_set_id(&fields, arena, FIELD_DATE, SLICE("6")), 0);
    assert_slice(fields_find_name(&fields, SLICE("date"))->name, "Date");
    assert_int_equal(count(&fields), 3);
}

static void removing_takes_all_of_a_name(void **state)
{
    struct fields fields = { 0 };

    add(&fields, "Cookie", "1");
    add(&fields, "x", "2");
    add(&fields, "cookie", "3");
    assert_int_equal(fields_remove(&fields, FIELD_COOKIE), 2);
    assert_int_equal(fields_remove(&fields, FIELD_COOKIE), 0);
    assert_int_equal(fields_remove_name(&fields, SLICE("X")), 1);
    assert_int_equal(count(&fields), 0);
    assert_null(fields_find(&fields, FIELD_COOKIE));
    assert_null(fields_find_name(&fields, SLICE("x")));
}

static void lists_are_looked_through_on_all_lines(void **state)
{
    struct fields fields = { 0 };

    add(&fields, "Vary", "accept, \"a, b\" ,");
    add(&fields, "Vary", " Origin");
    assert_true(fields_list_has(&fields, FIELD_VARY, SLICE("Accept")));
    assert_true(fields_list_has(&fields, FIELD_VARY, SLICE("origin")));
    assert_false(fields_list_has(&fields, FIELD_VARY, SLICE("b")));
    assert_false(fields_list_has(&fields, FIELD_VARY, SLICE("orig")));
}

static void there_is_a_limit(void **state)
{
    struct fields fields = { 0 };

    for (int i = 0; i < FIELDS_MAX; i++)
        add(&fields, "x", "y");
    assert_int_equal(fields_add(&fields, arena, SLICE("x"), SLICE("y")), -ERR_HEAD_TOO_LARGE);
}

static void names_that_tell_the_way_are_known_as_services_read_them(void **state)
{
    static const char *const telling[] = { "X-Forwarded-For",   "x-forwarded-ssl", "X_Forwarded_For",
                                           "x-FORWARDED_proto", "X-Real-IP",       "x_real_ip" };
    static const char *const others[] = { "X-Forwarded-", "X-Forwarded", "X.Forwarded.For", "X-Real-IPs", "Forward" };

    for (size_t i = 0; i < ARRAY_LEN(telling); i++)
        assert_true(field_tells_the_way(slice_from(telling[i])));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        assert_false(field_tells_the_way(slice_from(others[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PARSE_TEST(every_name_of_the_table_is_found_in_any_case),
        PARSE_TEST(one_byte_off_is_another_name),
        PARSE_TEST(values_are_judged_byte_by_byte),
        PARSE_TEST(setting_replaces_all_of_a_name_by_one),
        PARSE_TEST(removing_takes_all_of_a_name),
        PARSE_TEST(lists_are_looked_through_on_all_lines),
        PARSE_TEST(there_is_a_limit),
        PARSE_TEST(names_that_tell_the_way_are_known_as_services_read_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
