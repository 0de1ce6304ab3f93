#include "unit.h"

#include <math.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/sys_torture.h"

static struct slice written(const struct json_out *out)
{
    assert_false(out->failed);
    return slice_make(out->buf, out->len);
}

static void write_sample(struct json_out *out)
{
    json_open(out, '{');
    json_name(out, "none");
    json_open(out, '[');
    json_close(out, ']');
    json_name(out, "list");
    json_open(out, '[');
    json_put_int(out, INT64_MIN);
    json_put_number(out, 0.25);
    json_put_bool(out, true);
    json_put_bool(out, false);
    json_put_null(out);
    json_open(out, '{');
    json_close(out, '}');
    json_close(out, ']');
    json_name(out, "raw");
    json_put_raw(out, SLICE("[1]"));
    json_name(out, "text");
    json_put_string(out, SLICE("a"));
    json_close(out, '}');
}

static void one_line_has_no_space(void **state)
{
    struct json_out out;
    json_out_init(&out, 0);
    write_sample(&out);
    assert_slice(written(&out), "{\"none\":[],\"list\":[-9223372036854775808,0.25,true,false,null,{}],\"raw\":[1],"
                                "\"text\":\"a\"}");
    json_out_done(&out);
}

static void indented_text_breaks_at_each_member(void **state)
{
    struct json_out out;
    json_out_init(&out, 2);
    write_sample(&out);
    assert_slice(written(&out), "{\n"
                                "  \"none\": [],\n"
                                "  \"list\": [\n"
                                "    -9223372036854775808,\n"
                                "    0.25,\n"
                                "    true,\n"
                                "    false,\n"
                                "    null,\n"
                                "    {}\n"
                                "  ],\n"
                                "  \"raw\": [1],\n"
                                "  \"text\": \"a\"\n"
                                "}");
    json_out_done(&out);
}

static void assert_string(struct slice s, const char *expected)
{
    struct json_out out;
    json_out_init(&out, 0);
    json_put_string(&out, s);
    assert_slice(written(&out), expected);
    json_out_done(&out);
}

static void strings_are_escaped_and_always_utf8(void **state)
{
    assert_string(SLICE_EMPTY, "\"\"");
    assert_string(SLICE("\"\\/\b\f\n\r\t"), "\"\\\"\\\\/\\b\\f\\n\\r\\t\"");
    assert_string(SLICE("a\0b\x01\x1f\x7f"), "\"a\\u0000b\\u0001\\u001f\x7f\"");
    assert_string(SLICE("gr\xc3\xbc\xc3\x9f\xf0\x9f\x8d\xbd"), "\"gr\xc3\xbc\xc3\x9f\xf0\x9f\x8d\xbd\"");
    assert_string(SLICE("a\xff"
                        "b\xc0\x80"),
                  "\"a\xef\xbf\xbd"
                  "b\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_string(SLICE("\xed\xa0\x80\xf0\x9f"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_string(SLICE("</script>"), "\"</script>\"");
}

static void assert_number(double value, const char *expected)
{
    struct json_out out;
    json_out_init(&out, 0);
    json_put_number(&out, value);
    assert_slice(written(&out), expected);
    json_out_done(&out);
}

static void numbers_are_json_numbers(void **state)
{
    assert_number(0, "0");
    assert_number(1234567, "1234567");
    assert_number(-999999999999999, "-999999999999999");
    assert_number(0.1, "0.1");
    assert_number(1.0 / 3, "0.333333");
    assert_number(1e300, "1e+300");
    assert_number(-1.5e-9, "-1.5e-09");
    assert_number(NAN, "null");
    assert_number(INFINITY, "null");
    assert_number(-INFINITY, "null");
}

static void a_fixed_buffer_fails_for_good_when_it_is_full(void **state)
{
    char buf[64];
    for (size_t size = 1; size <= 20; size++) {
        struct json_out out;
        memset(buf, '#', sizeof(buf));
        json_out_init_fixed(&out, buf, size);
        json_open(&out, '[');
        json_put_string(&out, SLICE("ab\n"));
        json_put_int(&out, 12);
        json_close(&out, ']');
        assert_true(out.failed == (size < strlen("[\"ab\\n\",12]")));
        assert_true(out.len <= size);
        if (out.failed) {
            size_t len = out.len;
            json_put_null(&out);
            assert_int_equal(out.len, len);
        }
        for (size_t i = size; i < sizeof(buf); i++)
            assert_int_equal(buf[i], '#');
        json_out_done(&out);
    }
}

static void without_memory_the_writer_fails_for_good(void **state)
{
    struct json_out out;
    sys_torture_arm(1);
    json_out_init(&out, 0);
    write_sample(&out);
    assert_true(out.failed);
    assert_int_equal(sys_torture_calls(), 1);
    sys_torture_disarm();
    json_put_null(&out);
    assert_int_equal(out.len, 0);
    json_out_done(&out);
}

static void who_breaks_the_order_aborts(void **state)
{
    struct json_out out;
    json_out_init(&out, 0);
    assert_aborts(json_close(&out, ']'));
    assert_aborts(json_open(&out, ']'));
    assert_aborts(json_name(&out, "x"));
    json_open(&out, '{');
    json_name(&out, "x");
    assert_aborts(json_name(&out, "y"));
    assert_aborts(json_close(&out, '}'));
    json_out_done(&out);
}

/* ---- the property: what was written is read as the same, and what was read is written as the same ---- */

/* A string of random characters, invalid bytes excepted. */
static struct slice random_text(struct rng *rng, char *buf, size_t size)
{
    static const char *const parts[] = { "a",    "Z",    "\"",   "\\",       "/",
                                         "\n",   "\x01", "\x7f", "\xc3\xa9", "\xf0\x9d\x84\x9e",
                                         "u0041" };
    size_t len = 0, wanted = rng_below(rng, (uint32_t)size - 5);
    while (len < wanted) {
        struct slice part = slice_from(parts[rng_below(rng, ARRAY_LEN(parts))]);
        memcpy(buf + len, part.at, part.len);
        len += part.len;
    }
    return slice_make(buf, len);
}

static void write_random(struct rng *rng, struct json_out *out, int depth)
{
    char buf[40];
    uint32_t count = rng_below(rng, depth == 0 ? 20 : 12);
    switch (rng_below(rng, depth < 5 ? 8 : 6)) {
    case 0:
        json_put_null(out);
        return;
    case 1:
        json_put_bool(out, rng_below(rng, 2));
        return;
    case 2:
        json_put_int(out, (int64_t)rng_next(rng));
        return;
    case 3:
        json_put_number(out, (double)(int64_t)rng_next(rng) / 1e9);
        return;
    case 4:
    case 5:
        json_put_string(out, random_text(rng, buf, sizeof(buf)));
        return;
    case 6:
        json_open(out, '[');
        for (uint32_t i = 0; i < count; i++)
            write_random(rng, out, depth + 1);
        json_close(out, ']');
        return;
    default:
        json_open(out, '{');
        for (uint32_t i = 0; i < count; i++) {
            struct slice tail = random_text(rng, buf, sizeof(buf) - 8);
            char name[40];
            int len = snprintf(name, sizeof(name), "%x%.*s", i, SLICE_ARG(tail)); /* unique by its number */
            json_name_slice(out, slice_make(name, (size_t)len));
            write_random(rng, out, depth + 1);
        }
        json_close(out, '}');
    }
}

static void assert_same(struct arena *arena, const struct json *a, const struct json *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->next, b->next);
    if (a->kind == JSON_NUMBER)
        assert_true(slice_eq(a->text, b->text));
    if (a->kind == JSON_STRING)
        assert_true(slice_eq(json_string(arena, a), json_string(arena, b)));
    if (a->kind == JSON_ARRAY || a->kind == JSON_OBJECT) {
        const struct json *x = json_first(a), *y = json_first(b);
        for (; x != NULL; x = json_next(a, x), y = json_next(b, y))
            assert_same(arena, x, y);
        assert_null(y);
    }
}

static void what_was_read_is_written_as_the_same_value(void **state)
{
    struct memory memory;
    assert_int_equal(memory_init(&memory, NULL, 0), 0);
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng rng;
        struct json_out first, second;
        struct json_error error;
        struct arena *arena = arena_new(&memory, 64 << 20);
        rng_seed(&rng, seed);
        json_out_init(&first, rng_below(&rng, 3));
        write_random(&rng, &first, 0);
        const struct json *read = json_parse(arena, written(&first), NULL, &error);
        if (read == NULL)
            fail_msg("seed %d: %s at %zu", (int)seed, error.what, error.offset);
        json_out_init(&second, rng_below(&rng, 3));
        json_put(&second, read);
        const struct json *again = json_parse(arena, written(&second), NULL, &error);
        assert_non_null(again);
        assert_same(arena, read, again);
        json_out_done(&first);
        json_out_done(&second);
        arena_free(arena);
    }
    memory_done(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_has_no_space),
        cmocka_unit_test(indented_text_breaks_at_each_member),
        cmocka_unit_test(strings_are_escaped_and_always_utf8),
        cmocka_unit_test(numbers_are_json_numbers),
        cmocka_unit_test(a_fixed_buffer_fails_for_good_when_it_is_full),
        cmocka_unit_test(without_memory_the_writer_fails_for_good),
        cmocka_unit_test(who_breaks_the_order_aborts),
        cmocka_unit_test(what_was_read_is_written_as_the_same_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
