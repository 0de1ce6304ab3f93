/*
 * gRPC's facts: which requests are calls, timeouts, statuses, messages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "http/grpc.h"
#include "http/message.h"

static struct memory memory;
static struct arena *arena;

static int set_up(void **state)
{
    if (memory_init(&memory, NULL, 0) < 0)
        return -1;
    arena = arena_new(&memory, SIZE_MAX);
    return arena ? 0 : -1;
}

static int tear_down(void **state)
{
    arena_free(arena);
    memory_done(&memory);
    return 0;
}

static enum grpc_form form_of(enum method method, const char *type)
{
    struct message m = { .method = (uint8_t)method };
    if (type)
        assert_int_equal(fields_add(&m.fields, arena, SLICE("content-type"), slice_from(type)), 0);
    return grpc_form(&m);
}

static void a_call_is_known_by_its_method_and_content_type(void **state)
{
    static const struct {
        const char *type;
        enum grpc_form form;
    } types[] = {
        { "application/grpc", GRPC_CALL },
        { "application/grpc+proto", GRPC_CALL },
        { "Application/GRPC+json; charset=utf-8", GRPC_CALL },
        { "application/grpc;x=y", GRPC_CALL },
        { "application/grpc ; x=y", GRPC_CALL },
        { "application/grpc-web", GRPC_WEB },
        { "application/grpc-web+proto", GRPC_WEB },
        { "application/grpc-web-text", GRPC_WEB_TEXT },
        { "application/grpc-web-text+proto", GRPC_WEB_TEXT },
        { "application/grpcx", GRPC_NONE },
        { "application/grpc+", GRPC_NONE },
        { "application/grpc-webtext", GRPC_NONE },
        { "application/grpc-web-text-more", GRPC_NONE },
        { "application/json", GRPC_NONE },
        { "", GRPC_NONE },
        { NULL, GRPC_NONE },
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (form_of(METHOD_POST, types[i].type) != types[i].form)
            fail_msg("%s", types[i].type);
        assert_int_equal(form_of(METHOD_GET, types[i].type), GRPC_NONE);
    }
    struct slice suffix;
    assert_int_equal(grpc_media_form(SLICE("application/grpc-web+thrift;a=b"), &suffix), GRPC_WEB);
    assert_true(slice_eq(suffix, SLICE("thrift")));
}

static void a_timeout_is_digits_and_a_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t us;
    } good[] = {
        { "1H", 3600000000 },
        { "2M", 120000000 },
        { "3S", 3000000 },
        { "4m", 4000 },
        { "5u", 5 },
        { "1n", 1 },
        { "1000n", 1 },
        { "1001n", 2 },
        { "0m", 0 },
        { "00000001S", 1000000 },
        { "99999999H", 359999996400000000 },
    };
    static const char *const bad[] = { "",    "1",   "S",    "m1",   "1s",  "1h",  " 1S",        "1S ",   "1 S",
                                       "+1S", "-1S", "1.5S", "0x1S", "1mS", "1MS", "123456789S", "1S,2S", "\xc2\xb2S" };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t us = 77;
        assert_true(grpc_timeout_parse(slice_from(good[i].text), &us));
        assert_int_equal(us, good[i].us);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t us;
        if (grpc_timeout_parse(slice_from(bad[i]), &us))
            fail_msg("`%s` was taken for a timeout", bad[i]);
    }
    uint64_t us;
    assert_false(grpc_timeout_parse(slice_make("1\0S", 3), &us));
}

static void a_timeout_is_written_in_the_finest_unit_that_holds_it(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {
        { 0, "0m" },
        { 1, "1m" },
        { 99999999, "99999999m" },
        { 100000000, "100000S" },
        { 99999999999, "99999999S" },
        { 100000000000, "1666666M" },
        { UINT64_MAX, "99999999H" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[GRPC_TIMEOUT_TEXT_MAX];
        uint64_t us;
        struct slice s = { text, grpc_timeout_format(cases[i].ms, text) };
        if (!slice_eq(s, slice_from(cases[i].text)))
            fail_msg("%.*s, not %s", SLICE_ARG(s), cases[i].text);
        assert_true(grpc_timeout_parse(s, &us));
        assert_true(us / 1000 <= cases[i].ms);
    }
}

static struct fields *with_status(const char *value)
{
    static struct fields fields;
    fields = (struct fields){ NULL, 0, 0 };
    assert_int_equal(fields_add_id(&fields, arena, FIELD_GRPC_STATUS, slice_from(value)), 0);
    return &fields;
}

static void a_status_is_read_from_fields(void **state)
{
    assert_int_equal(grpc_status_of(with_status("0")), GRPC_STATUS_OK);
    assert_int_equal(grpc_status_of(with_status("16")), GRPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(grpc_status_of(with_status("17")), GRPC_STATUS_OTHER);
    assert_int_equal(grpc_status_of(with_status("-1")), GRPC_STATUS_OTHER);
    assert_int_equal(grpc_status_of(with_status("99999999999999999999")), GRPC_STATUS_OTHER);
    assert_int_equal(grpc_status_of(with_status("")), GRPC_STATUS_OTHER);
    assert_int_equal(grpc_status_of(NULL), GRPC_STATUS_ABSENT);
    struct fields none = { NULL, 0, 0 };
    assert_int_equal(grpc_status_of(&none), GRPC_STATUS_ABSENT);
}

static void statuses_have_words_and_numbers(void **state)
{
    for (unsigned i = 0; i < GRPC_STATUS_OTHER; i++) {
        assert_int_equal(grpc_status_from_word(slice_from(grpc_status_word((enum grpc_status)i))), i);
        assert_int_equal(grpc_status_of(with_status(grpc_status_digits((enum grpc_status)i))), i);
    }
    assert_int_equal(grpc_status_from_word(SLICE("unavailable")), 14);
    assert_int_equal(grpc_status_from_word(SLICE("UNAVAILABLE")), GRPC_STATUS_ABSENT);
    assert_int_equal(grpc_status_from_word(SLICE("other")), GRPC_STATUS_ABSENT);
    assert_string_equal(grpc_status_digits(GRPC_STATUS_ABSENT), "2");
}

static void errors_become_statuses(void **state)
{
    static const struct {
        enum err err;
        enum grpc_status status;
    } cases[] = {
        { ERR_NO_ROUTE, GRPC_STATUS_UNIMPLEMENTED },
        { ERR_METHOD_NOT_ALLOWED, GRPC_STATUS_UNIMPLEMENTED },
        { ERR_UNAUTHENTICATED, GRPC_STATUS_UNAUTHENTICATED },
        { ERR_FORBIDDEN, GRPC_STATUS_PERMISSION_DENIED },
        { ERR_RATE_LIMITED, GRPC_STATUS_RESOURCE_EXHAUSTED },
        { ERR_BODY_TOO_LARGE, GRPC_STATUS_RESOURCE_EXHAUSTED },
        { ERR_HEAD_TOO_LARGE, GRPC_STATUS_RESOURCE_EXHAUSTED },
        { ERR_BAD_GRPC_TIMEOUT, GRPC_STATUS_INVALID_ARGUMENT },
        { ERR_BAD_BODY, GRPC_STATUS_INVALID_ARGUMENT },
        { ERR_BAD_FIELD, GRPC_STATUS_INTERNAL },
        { ERR_BAD_HOST, GRPC_STATUS_INTERNAL },
        { ERR_BAD_EXPECT, GRPC_STATUS_INTERNAL },
        { ERR_CONNECT_REFUSED, GRPC_STATUS_UNAVAILABLE },
        { ERR_UPSTREAM_RESET, GRPC_STATUS_UNAVAILABLE },
        { ERR_NO_TARGET, GRPC_STATUS_UNAVAILABLE },
        { ERR_UPSTREAM_FULL, GRPC_STATUS_UNAVAILABLE },
        { ERR_CONNECT_TIMEOUT, GRPC_STATUS_UNAVAILABLE },
        { ERR_RESPONSE_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED },
        { ERR_EXCHANGE_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED },
        { ERR_DEADLINE_EXCEEDED, GRPC_STATUS_DEADLINE_EXCEEDED },
        { ERR_UPSTREAM_BAD_HEAD, GRPC_STATUS_INTERNAL },
        { ERR_MEMORY, GRPC_STATUS_UNAVAILABLE },
        { ERR_DRAINING, GRPC_STATUS_UNAVAILABLE },
        { ERR_CANCELLED, GRPC_STATUS_CANCELLED },
        { ERR_INTERNAL, GRPC_STATUS_INTERNAL },
        { ERR_SYSTEM, GRPC_STATUS_INTERNAL },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (grpc_status_of_err(cases[i].err) != cases[i].status)
            fail_msg("%s", err_info(cases[i].err)->word);
    for (int err = 1; err < ERR_COUNT; err++) {
        enum grpc_status status = grpc_status_of_err((enum err)err);
        if (status == GRPC_STATUS_OK || status >= GRPC_STATUS_OTHER || status == GRPC_STATUS_UNKNOWN)
            fail_msg("%s", err_info((enum err)err)->word);
    }
}

static void http_statuses_map_as_grpcs_document_says(void **state)
{
    assert_int_equal(grpc_status_of_http(400), GRPC_STATUS_INTERNAL);
    assert_int_equal(grpc_status_of_http(401), GRPC_STATUS_UNAUTHENTICATED);
    assert_int_equal(grpc_status_of_http(403), GRPC_STATUS_PERMISSION_DENIED);
    assert_int_equal(grpc_status_of_http(404), GRPC_STATUS_UNIMPLEMENTED);
    assert_int_equal(grpc_status_of_http(429), GRPC_STATUS_UNAVAILABLE);
    assert_int_equal(grpc_status_of_http(502), GRPC_STATUS_UNAVAILABLE);
    assert_int_equal(grpc_status_of_http(503), GRPC_STATUS_UNAVAILABLE);
    assert_int_equal(grpc_status_of_http(504), GRPC_STATUS_UNAVAILABLE);
    assert_int_equal(grpc_status_of_http(500), GRPC_STATUS_UNKNOWN);
    assert_int_equal(grpc_status_of_http(200), GRPC_STATUS_UNKNOWN);
}

static void a_message_is_escaped(void **state)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        { "plain text, with ~ and !", "plain text, with ~ and !" },
        { "50% off\r\n", "50%25 off%0D%0A" },
        { "gr\xc3\xbc\xc3\x9f dich", "gr%C3%BC%C3%9F dich" },
        { "\x7f\t", "%7F%09" },
        { "", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice s = grpc_message_escape(arena, slice_from(cases[i].from));
        assert_non_null(s.at);
        assert_true(slice_eq(s, slice_from(cases[i].to)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_known_by_its_method_and_content_type),
        cmocka_unit_test(a_timeout_is_digits_and_a_unit),
        cmocka_unit_test(a_timeout_is_written_in_the_finest_unit_that_holds_it),
        cmocka_unit_test(a_status_is_read_from_fields),
        cmocka_unit_test(statuses_have_words_and_numbers),
        cmocka_unit_test(errors_become_statuses),
        cmocka_unit_test(http_statuses_map_as_grpcs_document_says),
        cmocka_unit_test(a_message_is_escaped),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
