/*
 * Ops and tickets: exactly one of completed and cancelled, whichever order the waiter and the library act in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "loop/op.h"

static int completed, cancelled;

static void on_complete(struct op *op)
{
    completed++;
}

static void on_cancel(struct op *op)
{
    cancelled++;
}

static int reset(void **state)
{
    completed = cancelled = 0;
    return 0;
}

static void completing_tells_the_waiter_once_and_cancel_is_nothing_then(void **state)
{
    struct op op = { .on_complete = on_complete };

    op_start(&op, on_cancel, NULL);
    assert_true(op.pending);
    op_complete(&op);
    op_cancel(&op);
    assert_false(op.pending);
    assert_int_equal(completed, 1);
    assert_int_equal(cancelled, 0);
}

static void cancelling_tells_the_provider_once(void **state)
{
    struct op op = { .on_complete = on_complete };

    op_start(&op, on_cancel, NULL);
    op_cancel(&op);
    op_cancel(&op);
    assert_int_equal(completed, 0);
    assert_int_equal(cancelled, 1);
}

static void cancelling_what_never_started_is_nothing(void **state)
{
    struct op op = { .on_complete = on_complete };

    op_cancel(&op);
    assert_int_equal(cancelled, 0);
}

static void a_ticket_completes_its_op(void **state)
{
    struct op op = { .on_complete = on_complete };
    struct ticket *ticket = ticket_new(&op);

    assert_non_null(ticket);
    assert_true(op.pending);
    ticket_complete(ticket);
    assert_false(op.pending);
    assert_int_equal(completed, 1);
}

static void a_library_that_calls_late_finds_its_ticket_dead(void **state)
{
    struct op op = { .on_complete = on_complete };
    struct ticket *ticket = ticket_new(&op);

    assert_non_null(ticket);
    op_cancel(&op);
    assert_null(ticket->op);
    ticket_complete(ticket);
    assert_int_equal(completed, 0);
}

static void restart(struct op *op)
{
    struct ticket *again;

    if (completed++ > 0)
        return;
    again = ticket_new(op);
    assert_non_null(again);
    ticket_complete(again);
}

static void an_op_may_start_again_from_its_own_completion(void **state)
{
    struct op op = { .on_complete = restart };
    struct ticket *ticket = ticket_new(&op);

    assert_non_null(ticket);
    ticket_complete(ticket);
    assert_int_equal(completed, 2);
    assert_false(op.pending);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(completing_tells_the_waiter_once_and_cancel_is_nothing_then, reset),
        cmocka_unit_test_setup(cancelling_tells_the_provider_once, reset),
        cmocka_unit_test_setup(cancelling_what_never_started_is_nothing, reset),
        cmocka_unit_test_setup(a_ticket_completes_its_op, reset),
        cmocka_unit_test_setup(a_library_that_calls_late_finds_its_ticket_dead, reset),
        cmocka_unit_test_setup(an_op_may_start_again_from_its_own_completion, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
