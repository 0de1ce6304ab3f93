#include "base/sys.h"
#include "unit.h"

static void letters_compare_without_case_and_nothing_else_does(void **state)
{
    /* every pair of bytes, at every place of a short and of a long text */
    for (size_t len = 1; len <= 19; len += 6) {
        for (size_t at = 0; at < len; at++) {
            for (int x = 0; x < 256; x++) {
                for (int y = 0; y < 256; y++) {
                    char a[32], b[32];
                    memset(a, 'q', sizeof(a));
                    memset(b, 'Q', sizeof(b));
                    a[at] = (char)x;
                    b[at] = (char)y;
                    int fx = x >= 'A' && x <= 'Z' ? x + 32 : x, fy = y >= 'A' && y <= 'Z' ? y + 32 : y;
                    if (slice_eq_nocase(slice_make(a, len), slice_make(b, len)) != (fx == fy))
                        fail_msg("%d and %d at %zu of %zu", x, y, at, len);
                }
            }
        }
    }
    assert_true(slice_eq_nocase(SLICE("Content-Length"), SLICE("content-lengtH")));
    assert_false(slice_eq_nocase(SLICE("Content-Length"), SLICE("Content-Lengthy")));
    assert_true(slice_eq_nocase(SLICE_EMPTY, SLICE("")));
}

static void starts_and_ends_are_found(void **state)
{
    assert_true(slice_starts(SLICE("text/html"), SLICE("text/")));
    assert_false(slice_starts(SLICE("tex"), SLICE("text/")));
    assert_true(slice_starts(SLICE("x"), SLICE_EMPTY));
    assert_true(slice_ends(SLICE("a.example"), SLICE(".example")));
    assert_false(slice_ends(SLICE("example"), SLICE(".example")));
    assert_true(slice_ends(SLICE_EMPTY, SLICE_EMPTY));
}

static void a_byte_is_found_or_not(void **state)
{
    assert_int_equal(slice_find(SLICE("a=b=c"), '='), 1);
    assert_int_equal(slice_find(SLICE("abc"), '='), -1);
    assert_int_equal(slice_find(SLICE_EMPTY, '='), -1);
}

static void only_space_and_tab_are_trimmed(void **state)
{
    assert_slice(slice_trim(SLICE(" \t a b\t ")), "a b");
    assert_slice(slice_trim(SLICE("\r\na\n")), "\r\na\n");
    assert_slice(slice_trim(SLICE(" \t ")), "");
    assert_slice(slice_trim(SLICE_EMPTY), "");
}

static void cutting_gives_every_part_once(void **state)
{
    struct slice rest = SLICE("a&&b&");
    assert_slice(slice_cut(&rest, '&'), "a");
    assert_slice(slice_cut(&rest, '&'), "");
    assert_slice(slice_cut(&rest, '&'), "b");
    struct slice last = slice_cut(&rest, '&');
    assert_non_null(last.at);
    assert_int_equal(last.len, 0);
    assert_null(rest.at);
    assert_null(slice_cut(&rest, '&').at);

    rest = SLICE("");
    assert_non_null(slice_cut(&rest, '&').at);
    assert_null(slice_cut(&rest, '&').at);
}

static void list_elements_come_trimmed_and_empty_ones_do_not_come(void **state)
{
    struct slice rest = SLICE(" , a ,,\t\"b, \\\",c\";q=1 ,d,");
    assert_slice(slice_next_element(&rest), "a");
    assert_slice(slice_next_element(&rest), "\"b, \\\",c\";q=1");
    assert_slice(slice_next_element(&rest), "d");
    assert_null(slice_next_element(&rest).at);
    assert_null(slice_next_element(&rest).at);
}

static void an_open_quote_reaches_to_the_end(void **state)
{
    struct slice rest = SLICE("a, \"b, c");
    assert_slice(slice_next_element(&rest), "a");
    assert_slice(slice_next_element(&rest), "\"b, c");
    assert_null(slice_next_element(&rest).at);
    rest = SLICE("\"b\\");
    assert_slice(slice_next_element(&rest), "\"b\\");
    assert_null(slice_next_element(&rest).at);
}

static void only_digits_within_63_bits_are_numbers(void **state)
{
    int64_t value;
    assert_true(slice_to_u63(SLICE("0"), &value));
    assert_int_equal(value, 0);
    assert_true(slice_to_u63(SLICE("000123"), &value));
    assert_int_equal(value, 123);
    assert_true(slice_to_u63(SLICE("9223372036854775807"), &value));
    assert_true(value == INT64_MAX);
    const char *bad[] = { "",
                          "+1",
                          "-1",
                          " 1",
                          "1 ",
                          "1x",
                          "0x10",
                          "9223372036854775808",
                          "18446744073709551616",
                          "1,",
                          "1.0",
                          "\xb1",
                          "99999999999999999999999999" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(slice_to_u63(slice_from(bad[i]), &value));
    assert_false(slice_to_u63(slice_make("1\0", 2), &value));
}

/* In memory of exactly that size, so that a byte too far is seen. */
static void what_is_put_is_there_and_nothing_else_is_touched(void **state)
{
    for (size_t len = 0; len < 80; len++) {
        char *from = mem_must(len + 1), *to = mem_must(len + 2);
        for (size_t i = 0; i < len; i++)
            from[i] = (char)('A' + i % 60);
        to[len] = to[len + 1] = '!';
        assert_ptr_equal(slice_put(slice_make(from, len), to), to + len);
        assert_memory_equal(from, to, len);
        assert_int_equal(to[len], '!');
        assert_int_equal(to[len + 1], '!');
        mem_free(from);
        mem_free(to);
    }
    char none = 0;
    assert_ptr_equal(slice_put(SLICE_EMPTY, &none), &none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_compare_without_case_and_nothing_else_does),
        cmocka_unit_test(starts_and_ends_are_found),
        cmocka_unit_test(a_byte_is_found_or_not),
        cmocka_unit_test(only_space_and_tab_are_trimmed),
        cmocka_unit_test(cutting_gives_every_part_once),
        cmocka_unit_test(list_elements_come_trimmed_and_empty_ones_do_not_come),
        cmocka_unit_test(an_open_quote_reaches_to_the_end),
        cmocka_unit_test(what_is_put_is_there_and_nothing_else_is_touched),
        cmocka_unit_test(only_digits_within_63_bits_are_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
