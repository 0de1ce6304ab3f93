#include "unit.h"

#include "base/arena.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/sys.h"
#include "base/sys_torture.h"

struct fixture {
    struct memory memory;
    struct arena *arena;
};

static int setup(void **state)
{
    static struct fixture f;
    *state = &f;
    if (memory_init(&f.memory, NULL, 0))
        return -1;
    f.arena = arena_new(&f.memory, 16 << 20);
    return f.arena ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    arena_free(f->arena);
    if (f->memory.held_bytes > 0)
        return -1; /* memory_done would abort, and hide why the test failed */
    memory_done(&f->memory);
    return 0;
}

/* Parses a copy on the heap of exactly that length, so that AddressSanitizer sees a read past the end. */
static const struct json *parse(struct fixture *f, struct slice text, const struct json_limits *limits,
                                struct json_error *ret_error)
{
    static char *copy;
    free(copy);
    copy = malloc(text.len);
    if (text.len > 0)
        memcpy(copy, text.at, text.len);
    return json_parse(f->arena, slice_make(copy, text.len), limits, ret_error);
}

static const struct json *parse_valid(struct fixture *f, struct slice text)
{
    struct json_error error;
    const struct json *root = parse(f, text, NULL, &error);
    if (root == NULL)
        fail_msg("%.*s: %s at %zu", SLICE_ARG(text), error.what, error.offset);
    return root;
}

static void assert_invalid(struct fixture *f, struct slice text, size_t offset, const char *what)
{
    struct json_error error;
    if (parse(f, text, NULL, &error) != NULL)
        fail_msg("accepted: %.*s", SLICE_ARG(text));
    assert_string_equal(error.what, what);
    assert_int_equal(error.offset, offset);
    assert_false(error.out_of_memory);
}

static void what_the_grammar_allows_is_accepted(void **state)
{
    static const struct slice valid[] = {
        /* the values alone, with space around */
        SLICE("null"),
        SLICE("true"),
        SLICE("false"),
        SLICE(" \t\r\n0 \t\r\n"),
        SLICE("\"\""),
        SLICE("[]"),
        SLICE("{}"),
        /* numbers */
        SLICE("-0"),
        SLICE("-1"),
        SLICE("10"),
        SLICE("0.0"),
        SLICE("0.00001"),
        SLICE("1e5"),
        SLICE("1E+5"),
        SLICE("1e-05"),
        SLICE("0e0"),
        SLICE("0e+1"),
        SLICE("-1.5E3"),
        SLICE("123456789012345678901234567890"),
        SLICE("1e999999999999"),
        SLICE("[1,-2,3.5]"),
        /* strings */
        SLICE("\"a\""),
        SLICE("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
        SLICE("\"\\u0000\""),
        SLICE("\"\\u00e9\\u00E9\""),
        SLICE("\"\\ud834\\udd1e\""),
        SLICE("\"\\uDBFF\\uDFFF\""),
        SLICE("\"\\ue000\\ud7ff\""),
        SLICE("\"\x7f\""),
        SLICE("\"\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e\""),
        SLICE("\"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\""),
        SLICE("\"\\u2028\xe2\x80\xa8\""),
        SLICE("\"\\\\u0000\""),
        SLICE("\"/ // /* */\""),
        SLICE("\"1234567\""),
        SLICE("\"12345678\""),
        SLICE("\"123456789012345\\n\""),
        /* containers */
        SLICE("[[]]"),
        SLICE("[[],[]]"),
        SLICE("[ ]"),
        SLICE("{ }"),
        SLICE("[ null , true ]"),
        SLICE("[{}]"),
        SLICE("{\"a\":{}}"),
        SLICE("{\"\":0}"),
        SLICE("{ \"a\" : 1 , \"b\" : [ { \"a\" : 1 } ] }"),
        SLICE("{\"a\\u0000\":1,\"a\":2}"),
        SLICE("{\"A\":1,\"a\":2}"),
        SLICE("[{\"a\":1},{\"a\":1}]"),
    };
    for (size_t i = 0; i < ARRAY_LEN(valid); i++)
        assert_non_null(parse_valid(*state, valid[i]));
}

static void what_the_grammar_forbids_is_refused_with_its_place(void **state)
{
    static const struct {
        struct slice text;
        size_t offset;
        const char *what;
    } invalid[] = {
        { SLICE(""), 0, "a value is missing" },
        { SLICE(" \n"), 2, "a value is missing" },
        { SLICE("\xef\xbb\xbf{}"), 0, "not a value" },
        { SLICE("nul"), 0, "not a value" },
        { SLICE("nulL"), 0, "not a value" },
        { SLICE("True"), 0, "not a value" },
        { SLICE("nullx"), 4, "text behind the value" },
        { SLICE("truefalse"), 4, "text behind the value" },
        { SLICE("1 2"), 2, "text behind the value" },
        { SLICE("{}}"), 2, "text behind the value" },
        { SLICE("[]\0"), 2, "text behind the value" },
        { SLICE("\f1"), 0, "not a value" },
        { SLICE("\xc2\xa0"
                "1"),
          0, "not a value" },
        { SLICE("'a'"), 0, "not a value" },
        { SLICE("NaN"), 0, "not a value" },
        { SLICE("Infinity"), 0, "not a value" },
        { SLICE("/**/1"), 0, "not a value" },
        /* numbers */
        { SLICE("+1"), 0, "not a value" },
        { SLICE(".5"), 0, "not a value" },
        { SLICE("-"), 1, "a digit is missing" },
        { SLICE("-a"), 1, "a digit is missing" },
        { SLICE("--1"), 1, "a digit is missing" },
        { SLICE("01"), 1, "a number begins with 0" },
        { SLICE("-00"), 2, "a number begins with 0" },
        { SLICE("0x10"), 1, "text behind the value" },
        { SLICE("1."), 2, "a digit is missing behind the point" },
        { SLICE("1.e1"), 2, "a digit is missing behind the point" },
        { SLICE("1e"), 2, "a digit is missing in the exponent" },
        { SLICE("1e+"), 3, "a digit is missing in the exponent" },
        { SLICE("1e1.5"), 3, "text behind the value" },
        { SLICE("1_000"), 1, "text behind the value" },
        /* strings */
        { SLICE("\""), 1, "a string does not end" },
        { SLICE("\"abc"), 4, "a string does not end" },
        { SLICE("\"\\\""), 3, "a string does not end" },
        { SLICE("\"\\"), 1, "an escape is malformed" },
        { SLICE("\"\\x\""), 1, "an escape is malformed" },
        { SLICE("\"\\0\""), 1, "an escape is malformed" },
        { SLICE("\"\\'\""), 1, "an escape is malformed" },
        { SLICE("\"\\\0\""), 1, "an escape is malformed" },
        { SLICE("\"a\\u12\""), 2, "an escape is malformed" },
        { SLICE("\"\\u12"), 1, "an escape is malformed" },
        { SLICE("\"\\u12g4\""), 1, "an escape is malformed" },
        { SLICE("\"\\u 123\""), 1, "an escape is malformed" },
        { SLICE("\"\\U0041\""), 1, "an escape is malformed" },
        { SLICE("\"\\ud800\""), 1, "an escape is malformed" },
        { SLICE("\"\\udc00\""), 1, "an escape is malformed" },
        { SLICE("\"\\ud800\\ud800\""), 1, "an escape is malformed" },
        { SLICE("\"\\ud800\\u0041\""), 1, "an escape is malformed" },
        { SLICE("\"\\ud800\\udc0\""), 1, "an escape is malformed" },
        { SLICE("\"\\ud800x\""), 1, "an escape is malformed" },
        { SLICE("\"\\udc00\\ud800\""), 1, "an escape is malformed" },
        { SLICE("\"\\udc00\\udc00\""), 1, "an escape is malformed" },
        { SLICE("\"\n\""), 1, "a control character in a string" },
        { SLICE("\"abc\tdefghi\""), 4, "a control character in a string" },
        { SLICE("\"\0\""), 1, "a control character in a string" },
        { SLICE("\"\x1f\""), 1, "a control character in a string" },
        { SLICE("\"\xff\""), 1, "not UTF-8" },
        { SLICE("\"\x80\""), 1, "not UTF-8" },
        { SLICE("\"\xc0\x80\""), 1, "not UTF-8" },
        { SLICE("\"12345678\xe0\x80\x80\""), 9, "not UTF-8" },
        { SLICE("\"\xed\xa0\x80\""), 1, "not UTF-8" },
        { SLICE("\"\xf4\x90\x80\x80\""), 1, "not UTF-8" },
        { SLICE("\"\xe2\x82\""), 1, "not UTF-8" },
        { SLICE("\"\xe2\x82"), 1, "not UTF-8" },
        /* arrays */
        { SLICE("["), 1, "a value is missing" },
        { SLICE("[1"), 2, "a comma or ] is missing" },
        { SLICE("[1 2]"), 3, "a comma or ] is missing" },
        { SLICE("[1}"), 2, "a comma or ] is missing" },
        { SLICE("[1,]"), 3, "not a value" },
        { SLICE("[,1]"), 1, "not a value" },
        { SLICE("[1,,2]"), 3, "not a value" },
        { SLICE("[\"a\":1]"), 4, "a comma or ] is missing" },
        { SLICE("]"), 0, "not a value" },
        /* objects */
        { SLICE("{"), 1, "a name is missing" },
        { SLICE("{1:2}"), 1, "a name is missing" },
        { SLICE("{a:1}"), 1, "a name is missing" },
        { SLICE("{null:1}"), 1, "a name is missing" },
        { SLICE("{\"a\"}"), 4, "a colon is missing" },
        { SLICE("{\"a\" 1}"), 5, "a colon is missing" },
        { SLICE("{\"a\""), 4, "a colon is missing" },
        { SLICE("{\"a\":"), 5, "a value is missing" },
        { SLICE("{\"a\":}"), 5, "not a value" },
        { SLICE("{\"a\":1"), 6, "a comma or } is missing" },
        { SLICE("{\"a\":1]"), 6, "a comma or } is missing" },
        { SLICE("{\"a\":1,}"), 7, "a name is missing" },
        { SLICE("{\"a\":1,,\"b\":2}"), 7, "a name is missing" },
        { SLICE("{,\"a\":1}"), 1, "a name is missing" },
        { SLICE("{\"a\":1,\"a\":1}"), 8, "a name stands twice in one object" },
        { SLICE("{\"a\":1,\"\\u0061\":1}"), 17, "a name stands twice in one object" },
        { SLICE("{\"\\u0061\":1,\"a\":1}"), 13, "a name stands twice in one object" },
        { SLICE("[{\"b\":{\"x\":0,\"y\":[],\"x\":0}}]"), 21, "a name stands twice in one object" },
    };
    for (size_t i = 0; i < ARRAY_LEN(invalid); i++)
        assert_invalid(*state, invalid[i].text, invalid[i].offset, invalid[i].what);
}

static void only_plain_bytes_stand_for_themselves_wherever_they_are(void **state)
{
    for (int c = 0; c < 256; c++) {
        for (size_t at = 1; at < 20; at++) {
            char text[] = "\"aaaaaaaaaaaaaaaaaaa\"";
            struct json_error error;
            text[at] = (char)c;
            bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
            const struct json *root = parse(*state, slice_make(text, sizeof(text) - 1), NULL, &error);
            if ((root != NULL) != plain)
                fail_msg("byte %d at %zu", c, at);
            if (root == NULL && c < 0x20)
                assert_int_equal(error.offset, at);
        }
    }
}

/* An object of `count` different names, and at its end one of them again if it is not -1. */
static struct slice wide_object(struct fixture *f, int count, int again)
{
    char *text = arena_alloc(f->arena, (size_t)count * 24 + 64);
    int len = snprintf(text, 16, "{\"first\":{}");
    for (int i = 0; i < count; i++)
        len += snprintf(text + len, 24, ",\"n%d\":[%d]", i, i);
    if (again >= 0)
        len += snprintf(text + len, 24, ",\"\\u006e%d\":0", again);
    text[len++] = '}';
    return slice_make(text, (size_t)len);
}

static void a_name_that_stands_twice_is_found_in_wide_objects_too(void **state)
{
    struct fixture *f = *state;
    struct json_error error;
    for (int count = 1; count <= 40; count++) {
        const struct json *root = parse_valid(f, wide_object(f, count, -1));
        assert_int_equal(root->count, count + 1);
        for (int again = 0; again < count; again++) {
            assert_null(parse(f, wide_object(f, count, again), NULL, &error));
            assert_string_equal(error.what, "a name stands twice in one object");
        }
    }
    assert_non_null(parse_valid(f, wide_object(f, 100000, -1))); /* quadratic time would be noticed */
    assert_null(parse(f, wide_object(f, 100000, 5), NULL, &error));
}

static void the_tape_can_be_walked(void **state)
{
    struct fixture *f = *state;
    const struct json *root =
        parse_valid(f, SLICE("{\"a\":[1,[2,{}],\"x\\ny\"],\"b\\u0062\":{\"c\":true},\"d\":null}"));
    assert_int_equal(root->kind, JSON_OBJECT);
    assert_int_equal(root->count, 3);
    const struct json *a = json_get(root, "a");
    assert_int_equal(a->kind, JSON_ARRAY);
    assert_int_equal(a->count, 3);
    const struct json *member = json_first(a);
    assert_slice(member->text, "1");
    member = json_next(a, member);
    assert_int_equal(member->count, 2);
    assert_int_equal(json_next(member, json_first(member))->kind, JSON_OBJECT);
    assert_null(json_first(json_next(member, json_first(member))));
    member = json_next(a, member);
    assert_slice(json_string(f->arena, member), "x\ny");
    assert_null(json_next(a, member));

    const struct json *bb = json_get(root, "bb");
    assert_int_equal(json_get(bb, "c")->kind, JSON_TRUE);
    assert_null(json_get(bb, "d"));
    assert_int_equal(json_get(root, "d")->kind, JSON_NULL);
    assert_null(json_get(root, "c"));
    assert_null(json_get(a, "c"));
    assert_null(json_get(NULL, "c"));
    assert_null(json_first(json_get(root, "d")));
    assert_null(json_first(NULL));

    member = json_first(root); /* name, value, name ... */
    const char *names[] = { "a", "bb", "d" };
    for (int i = 0; i < 3; i++) {
        assert_slice(json_string(f->arena, member), names[i]);
        member = json_next(root, json_next(root, member));
    }
    assert_null(member);
}

static void strings_are_decoded(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct slice text, decoded;
    } known[] = {
        { SLICE("\"\""), SLICE("") },
        { SLICE("\"plain\""), SLICE("plain") },
        { SLICE("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), SLICE("\"\\/\b\f\n\r\t") },
        { SLICE("\"a\\u0000b\""), SLICE("a\0b") },
        { SLICE("\"\\u00E9\\u20ac\\ud834\\uDD1E\\uffff\""), SLICE("\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e\xef\xbf\xbf") },
        { SLICE("\"\xc3\xa9\\n\xc3\xa9\""), SLICE("\xc3\xa9\n\xc3\xa9") },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct slice decoded = json_string(f->arena, parse_valid(f, known[i].text));
        assert_non_null(decoded.at);
        assert_true(slice_eq(decoded, known[i].decoded));
    }
    assert_null(json_string(f->arena, parse_valid(f, SLICE("1"))).at);
    assert_null(json_string(f->arena, NULL).at);
}

static void whole_numbers_are_exact(void **state)
{
    static const struct {
        struct slice text;
        int64_t value;
    } whole[] = {
        { SLICE("0"), 0 },
        { SLICE("-0"), 0 },
        { SLICE("-0.0e-7"), 0 },
        { SLICE("0e99999999999999999999"), 0 },
        { SLICE("9007199254740993"), 9007199254740993 }, /* no double */
        { SLICE("9223372036854775807"), INT64_MAX },
        { SLICE("-9223372036854775808"), INT64_MIN },
        { SLICE("9223372036854775807.000"), INT64_MAX },
        { SLICE("9.223372036854775807e18"), INT64_MAX },
        { SLICE("-9223372036854775808000e-3"), INT64_MIN },
        { SLICE("1e3"), 1000 },
        { SLICE("1E+18"), 1000000000000000000 },
        { SLICE("1.50e1"), 15 },
        { SLICE("10.0"), 10 },
        { SLICE("1000e-3"), 1 },
        { SLICE("0.001e3"), 1 },
    };
    int64_t value;
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        if (!json_to_i64(parse_valid(*state, whole[i].text), &value) || value != whole[i].value)
            fail_msg("%.*s", SLICE_ARG(whole[i].text));
    }
    static const struct slice other[] = {
        SLICE("9223372036854775808"),
        SLICE("-9223372036854775809"),
        SLICE("1e19"),
        SLICE("1e999999999999999999999"),
        SLICE("1.5"),
        SLICE("1e-1"),
        SLICE("15e-1"),
        SLICE("1e-99999999999999999999"),
        SLICE("0.1"),
        SLICE("123456789012345678901234567890"),
        SLICE("92233720368547758070"),
        SLICE("\"1\""),
        SLICE("null"),
        SLICE("[1]"),
    };
    for (size_t i = 0; i < ARRAY_LEN(other); i++)
        if (json_to_i64(parse_valid(*state, other[i]), &value))
            fail_msg("%.*s", SLICE_ARG(other[i]));
    assert_false(json_to_i64(NULL, &value));
}

static void depth_and_size_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct json_error error;
    const struct json_limits limits = { .depth_max = 3, .entries_max = 5 };
    assert_non_null(parse(f, SLICE("[[[]]]"), &limits, &error));
    assert_null(parse(f, SLICE("[[[[]]]]"), &limits, &error));
    assert_string_equal(error.what, "too deep");
    assert_int_equal(error.offset, 3);
    assert_non_null(parse(f, SLICE("[1,2,3,4]"), &limits, &error));
    assert_null(parse(f, SLICE("[1,2,3,4,5]"), &limits, &error));
    assert_string_equal(error.what, "too many values");
    assert_non_null(parse(f, SLICE("{\"a\":1,\"b\":2}"), &limits, &error));
    assert_null(parse(f, SLICE("{\"a\":1,\"b\":2,\"c\":3}"), &limits, &error));

    char deep[100000];
    memset(deep, '[', sizeof(deep));
    assert_null(parse(f, slice_make(deep, sizeof(deep)), NULL, &error));
    assert_int_equal(error.offset, JSON_DEPTH_DEFAULT);
    const struct json_limits none = { .depth_max = UINT32_MAX, .entries_max = JSON_ENTRIES_DEFAULT };
    memset(deep + sizeof(deep) / 2, ']', sizeof(deep) / 2);
    assert_non_null(parse(f, slice_make(deep, sizeof(deep)), &none, &error)); /* no stack is used up */
}

static void a_document_cut_anywhere_is_refused(void **state)
{
    struct fixture *f = *state;
    struct slice text = SLICE("{\"a\":[1.5e3,\"\\u00e9\xc3\xa9\",{\"b\":null}],\"c\":[true,false]}");
    struct json_error error;
    assert_non_null(parse_valid(f, text));
    for (size_t len = 0; len < text.len; len++) {
        assert_null(parse(f, slice_make(text.at, len), NULL, &error));
        assert_true(error.offset <= len);
    }
}

/* Every allocation fails once: the answer is "out of memory" or right, and nothing stays behind. */
static void without_memory_the_text_is_not_to_blame(void **state)
{
    struct fixture *f = *state;
    struct slice text = wide_object(f, 1000, -1);
    uint64_t n = 1;
    for (;; n++) {
        size_t held = f->memory.held_bytes;
        struct json_error error;
        struct arena *arena = arena_new(&f->memory, ARENA_LIMIT_DEFAULT);
        sys_torture_arm(n);
        const struct json *root = json_parse(arena, text, NULL, &error);
        bool reached = sys_torture_calls() >= n;
        sys_torture_disarm();
        assert_true((root == NULL) == reached);
        assert_true(error.out_of_memory == reached);
        arena_free(arena);
        assert_int_equal(f->memory.held_bytes, held);
        if (!reached)
            break;
    }
    assert_true(n > 3);
    /* an arena that is too small for the tape says so as well, and early */
    struct json_error error;
    struct arena *small = arena_new(&f->memory, 1024);
    assert_null(json_parse(small, text, NULL, &error));
    assert_true(error.out_of_memory);
    assert_null(json_parse(small, wide_object(f, 20, -1), NULL, &error)); /* fits the stack but not the arena */
    assert_true(error.out_of_memory);
    arena_free(small);
}

int main(void)
{
#define READING(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        READING(what_the_grammar_allows_is_accepted),
        READING(what_the_grammar_forbids_is_refused_with_its_place),
        READING(only_plain_bytes_stand_for_themselves_wherever_they_are),
        READING(a_name_that_stands_twice_is_found_in_wide_objects_too),
        READING(the_tape_can_be_walked),
        READING(strings_are_decoded),
        READING(whole_numbers_are_exact),
        READING(depth_and_size_are_bounded),
        READING(a_document_cut_anywhere_is_refused),
        READING(without_memory_the_text_is_not_to_blame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
