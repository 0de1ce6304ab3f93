/* Methods, statuses, and copies of heads. */
#include "parsing.h"

static void methods_are_known_by_their_exact_name(void **state)
{
    static const char *const names[METHOD_COUNT] = {
#define X(name) [METHOD_##name] = #name,
        METHOD_TABLE(X)
#undef X
    };

    for (enum method m = METHOD_OTHER + 1; m < METHOD_COUNT; m++) {
        assert_int_equal(method_from(slice_from(names[m])), m);
        assert_int_equal(method_from(slice_make(names[m], strlen(names[m]) - 1)), METHOD_OTHER);
    }
    assert_int_equal(method_from(SLICE("get")), METHOD_OTHER);
    assert_int_equal(method_from(SLICE("GETX")), METHOD_OTHER);
    assert_int_equal(method_from(SLICE("")), METHOD_OTHER);
    assert_true(method_is_idempotent(METHOD_PUT) && method_is_idempotent(METHOD_GET) && !method_is_safe(METHOD_PUT));
    assert_false(method_is_idempotent(METHOD_POST) || method_is_idempotent(METHOD_OTHER) ||
                 method_is_idempotent(METHOD_PATCH));
}

static void statuses_say_whether_a_body_may_follow(void **state)
{
    assert_true(status_has_body(200, METHOD_GET));
    assert_false(status_has_body(200, METHOD_HEAD));
    assert_false(status_has_body(204, METHOD_GET));
    assert_false(status_has_body(304, METHOD_GET));
    assert_false(status_has_body(100, METHOD_GET));
    assert_false(status_has_body(200, METHOD_CONNECT));
    assert_true(status_has_body(404, METHOD_CONNECT));
    assert_string_equal(status_reason(404), "Not Found");
    assert_string_equal(status_reason(599), "");
    assert_string_equal(status_reason(99999), "");
}

static void a_copy_shares_nothing(void **state)
{
    char text[] = "GET http://h/p?q HTTP/1.1\r\nHost: h\r\nA: b\r\nC: d\r\n\r\n";

    assert_int_equal(h1_parse_request(arena, slice_make(text, strlen(text)), &rules, &parsed), 0);
    field_remove(&parsed.message->fields.v[0]);
    struct message *copy = message_copy(arena, parsed.message);
    assert_non_null(copy);
    memset(text, '!', sizeof(text));
    memset(parsed.message, 0, sizeof(*parsed.message));
    assert_slice(copy->method_name, "GET");
    assert_slice(copy->authority, "h");
    assert_slice(copy->path, "/p");
    assert_slice(copy->query, "q");
    assert_int_equal(copy->fields.count, 1);
    assert_slice(copy->fields.v[0].name, "C");
    assert_slice(copy->fields.v[0].value, "d");
    assert_null(copy->upgrade.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PARSE_TEST(methods_are_known_by_their_exact_name),
        PARSE_TEST(statuses_say_whether_a_body_may_follow),
        PARSE_TEST(a_copy_shares_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
