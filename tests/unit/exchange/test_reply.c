/*
 * Which form a local answer has, from Accept, and what it says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "exchange/reply.h"
#include "http/message.h"

static struct memory memory;
static struct arena *arena;

static int begin(void **state)
{
    assert_int_equal(memory_init(&memory, NULL, 0), 0);
    arena = arena_new(&memory, SIZE_MAX);
    return arena ? 0 : -1;
}

static int end(void **state)
{
    arena_free(arena);
    memory_done(&memory);
    return 0;
}

static void text_is_chosen_only_where_it_is_preferred(void **state)
{
    static const struct {
        const char *accept;
        enum reply_form form;
    } cases[] = {
        { NULL, REPLY_PROBLEM },
        { "", REPLY_PROBLEM },
        { "*/*", REPLY_PROBLEM },
        { "application/json", REPLY_PROBLEM },
        { "application/problem+json", REPLY_PROBLEM },
        { "text/html, application/xml", REPLY_PROBLEM },
        { "text/plain", REPLY_TEXT },
        { "TEXT/Plain", REPLY_TEXT },
        { "text/*", REPLY_TEXT },
        { "text/plain, */*", REPLY_PROBLEM },
        { "text/plain, */*;q=0.1", REPLY_TEXT },
        { "text/plain;q=0.5, application/json;q=0.6", REPLY_PROBLEM },
        { "text/plain;q=0.6, application/json;q=0.5", REPLY_TEXT },
        { "text/plain;q=0.501, application/*;q=0.5", REPLY_TEXT },
        { "text/plain;q=0", REPLY_PROBLEM },
        { "text/plain;q=0, */*", REPLY_PROBLEM },
        { "text/*;q=0.1, text/plain;q=0.9, application/*;q=0.5", REPLY_TEXT },
        { "text/plain; charset=utf-8", REPLY_TEXT },
        { ",,text/plain,,", REPLY_TEXT },
        { "text/plain;q", REPLY_TEXT },
        { ";;;", REPLY_PROBLEM },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct message request = { 0 };
        if (cases[i].accept)
            assert_int_equal(fields_add(&request.fields, arena, SLICE("Accept"), slice_from(cases[i].accept)), 0);
        if (reply_choose(&request) != cases[i].form)
            fail_msg("Accept: %s", cases[i].accept ? cases[i].accept : "(none)");
    }
}

static void accept_may_stand_on_several_lines(void **state)
{
    struct message request = { 0 };
    assert_int_equal(fields_add(&request.fields, arena, SLICE("Accept"), SLICE("application/json;q=0.1")), 0);
    assert_int_equal(fields_add(&request.fields, arena, SLICE("Accept"), SLICE("text/plain")), 0);
    assert_int_equal(reply_choose(&request), REPLY_TEXT);
}

static void assert_body(enum reply_form form, const char *detail, const char *instance, const char *wanted)
{
    struct slice body = reply_body(arena, form, ERR_NO_ROUTE, 404, slice_from(detail), slice_from(instance));
    assert_non_null(body.at);
    if (!slice_eq(body, slice_from(wanted)))
        fail_msg("got %.*s", SLICE_ARG(body));
}

static void a_problem_has_the_members_of_its_rfc(void **state)
{
    assert_body(
        REPLY_PROBLEM, "", "",
        "{\"type\":\"urn:maitred:problem:no_route\",\"title\":\"No route matches the request\",\"status\":404}\n");
    assert_body(REPLY_PROBLEM, "say \"please\"\n", "r1",
                "{\"type\":\"urn:maitred:problem:no_route\",\"title\":\"No route matches the request\",\"status\":404,"
                "\"detail\":\"say \\\"please\\\"\\n\",\"instance\":\"r1\"}\n");
}

static void text_says_the_same_in_one_or_two_lines(void **state)
{
    assert_body(REPLY_TEXT, "", "", "404 Not Found: No route matches the request\n");
    assert_body(REPLY_TEXT, "look elsewhere", "r1", "404 Not Found: No route matches the request\nlook elsewhere\n");
}

static void a_detail_that_is_all_escapes_still_fits(void **state)
{
    char detail[300];
    memset(detail, 1, sizeof(detail) - 1);
    detail[sizeof(detail) - 1] = '\0';
    struct slice body = reply_body(arena, REPLY_PROBLEM, ERR_NO_ROUTE, 404, slice_from(detail), SLICE_EMPTY);
    assert_non_null(body.at);
    assert_true(body.len > 6 * strlen(detail));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_chosen_only_where_it_is_preferred),
        cmocka_unit_test(accept_may_stand_on_several_lines),
        cmocka_unit_test(a_problem_has_the_members_of_its_rfc),
        cmocka_unit_test(text_says_the_same_in_one_or_two_lines),
        cmocka_unit_test(a_detail_that_is_all_escapes_still_fits),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
