/*
 * Ops and tickets (see op.h).  A ticket has two owners, the op and the library; each drops its reference once.
 */
#include "loop/op.h"

#include "base/assert.h"
#include "base/sys.h"

void op_complete(struct op *op)
{
    ENSURE(op->pending);
    op->pending = false;
    op->on_complete(op);
}

void op_cancel(struct op *op)
{
    if (!op->pending)
        return;
    op->pending = false;
    op->cancel(op);
}

static void ticket_unref(struct ticket *ticket)
{
    ENSURE(ticket->refs > 0);
    if (--ticket->refs == 0)
        mem_free(ticket);
}

static void ticket_cancel(struct op *op)
{
    struct ticket *ticket = op->provider;

    ENSURE(ticket->op == op);
    ticket->op = NULL;
    ticket_unref(ticket);
}

struct ticket *ticket_new(struct op *op)
{
    struct ticket *ticket = mem_alloc(sizeof(*ticket));

    if (!ticket)
        return NULL;
    ticket->op = op;
    ticket->refs = 2;
    op_start(op, ticket_cancel, ticket);
    return ticket;
}

void ticket_complete(struct ticket *ticket)
{
    struct op *op = ticket->op;

    if (op) {
        ticket->op = NULL;
        ticket_unref(ticket);
    }
    ticket_unref(ticket);
    if (op)
        op_complete(op);
}
