/*
 * Counting and taking out parameters of a query, by the names that services read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "http/query.h"

static void a_parameter_goes_however_its_name_is_written_and_the_others_stay_as_they_are(void **state)
{
    static const struct {
        const char *query, *left;
        unsigned count;
    } cases[] = {
        { "key=1", "", 1 },
        { "a=1&key=2&b=%33", "a=1&b=%33", 1 },
        { "%6bey=1&k%65y=2&key&a", "a", 3 },
        { "KEY=1&keys=2&ke=3&key%=4", "KEY=1&keys=2&ke=3&key%=4", 0 },
        { "a&&b=&key=&", "a&&b=&", 1 },
        { "", "", 0 },
        { "key=a=b&c", "c", 1 },
    };
    struct memory memory;
    assert_int_equal(memory_init(&memory, NULL, 0), 0);
    struct arena *arena = arena_new(&memory, SIZE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice left;
        assert_int_equal(query_count(slice_from(cases[i].query), SLICE("key")), cases[i].count);
        assert_int_equal(query_remove(arena, slice_from(cases[i].query), SLICE("key"), &left), 0);
        if (!slice_eq(left, slice_from(cases[i].left)))
            fail_msg("%s: `%.*s`", cases[i].query, SLICE_ARG(left));
    }
    arena_free(arena);
    memory_done(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_parameter_goes_however_its_name_is_written_and_the_others_stay_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
