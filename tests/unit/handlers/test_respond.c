/*
 * The respond handler: what is served, and what is refused when the configuration loads.
 */
#include "answering.h"

#include "base/assert.h"

static void the_status_body_type_and_fields_are_those_of_the_configuration(void **state)
{
    struct answering a;
    answering_load(&a, "respond: { status: 418, body: 'short and stout', content_type: text/tea, headers: { X-A: b, "
                       "Set-Cookie: c=d } }");
    answering_ask(&a, "GET /");
    assert_int_equal(a.response->status, 418);
    assert_slice_equal(a.body, "short and stout");
    assert_slice_equal(answering_field(&a, "Content-Type"), "text/tea");
    assert_slice_equal(answering_field(&a, "X-A"), "b");
    assert_slice_equal(answering_field(&a, "Set-Cookie"), "c=d");
    answering_done(&a);
}

static void text_is_the_type_of_a_body_that_says_nothing_else(void **state)
{
    struct answering a;
    answering_load(&a, "respond: { body: hello }");
    answering_ask(&a, "GET /");
    assert_int_equal(a.response->status, 200);
    assert_int_equal(a.response->body_length, 5);
    assert_slice_equal(answering_field(&a, "Content-Type"), "text/plain; charset=utf-8");
    answering_done(&a);
}

static void an_answer_without_a_body_has_no_type(void **state)
{
    struct answering a;
    answering_load(&a, "respond: 404");
    answering_ask(&a, "POST /");
    assert_int_equal(a.response->status, 404);
    assert_int_equal(a.body.len, 0);
    assert_slice_equal(answering_field(&a, "Content-Type"), "(none)");
    answering_done(&a);
    answering_load(&a, "respond: 204");
    answering_ask(&a, "GET /");
    assert_int_equal(a.response->status, 204);
    answering_done(&a);
}

static void head_is_answered_without_the_body_but_with_its_fields(void **state)
{
    struct answering a;
    answering_load(&a, "respond: { body: hello, headers: { X-A: b } }");
    answering_ask(&a, "HEAD /");
    assert_int_equal(a.body.len, 0);
    assert_slice_equal(answering_field(&a, "Content-Length"), "5");
    assert_slice_equal(answering_field(&a, "X-A"), "b");
    answering_done(&a);
}

static void it_answers_any_number_of_requests(void **state)
{
    struct answering a;
    answering_load(&a, "respond: { body: hello }");
    for (int i = 0; i < 50; i++) {
        answering_ask(&a, "GET /");
        assert_slice_equal(a.body, "hello");
    }
    answering_done(&a);
}

static void what_could_not_be_served_is_refused(void **state)
{
    static const struct {
        const char *yaml, *message;
    } mistakes[] = {
        { "respond: { status: 204, body: x }", "has no body" },
        { "respond: { status: 205, body: x }", "has no body" },
        { "respond: { status: 304, body: x }", "has no body" },
        { "respond: { status: 100 }", "200" },
        { "respond: { status: 600 }", "599" },
        { "respond: { body: x, content_type: '' }", "no media type" },
        { "respond: { body: x, content_type: \"a\\nb\" }", "no media type" },
        { "respond: { headers: { Content-Type: a } }", "`content_type`" },
        { "respond: { headers: { Content-Length: '1' } }", "written by the gateway" },
        { "respond: { headers: { connection: close } }", "written by the gateway" },
        { "respond: { headers: { Host: a } }", "no field of a response" },
        { "respond: { headers: { 'X A': a } }", "is no field name" },
        { "respond: { headers: { X-A: \"a\\r\\nX-Evil: b\" } }", "no line breaks" },
    };
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct answering a;
        answering_load(&a, mistakes[i].yaml);
        if (a.type || !answering_told(&a, mistakes[i].message)) {
            conf_print_diagnostics(a.conf, stderr, true);
            fail_msg("%s does not say `%s`", mistakes[i].yaml, mistakes[i].message);
        }
        answering_done(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_status_body_type_and_fields_are_those_of_the_configuration),
        cmocka_unit_test(text_is_the_type_of_a_body_that_says_nothing_else),
        cmocka_unit_test(an_answer_without_a_body_has_no_type),
        cmocka_unit_test(head_is_answered_without_the_body_but_with_its_fields),
        cmocka_unit_test(it_answers_any_number_of_requests),
        cmocka_unit_test(what_could_not_be_served_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
