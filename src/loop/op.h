/*
 * An op is one pending wait of an exchange: a timer, a name, an answer from a store.  Exactly one of *completed* and
 * *cancelled* happens.  Cancel is synchronous.  Libraries that may call back late hold a ticket: it is owned
 * separately, carries the op, and cancelling detaches it, so that a late callback finds it dead.  Completing inline,
 * before the starter returned, is legal.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct op {
    void (*on_complete)(struct op *op); /* the waiter's: sets bits, queues, never runs an exchange */
    void (*cancel)(struct op *op);      /* the provider's: after it, on_complete never comes */
    void *provider;                     /* the provider's own */
    bool pending;
};

/* Provider: begins the wait. */
static inline void op_start(struct op *op, void (*cancel)(struct op *), void *provider)
{
    op->cancel = cancel;
    op->provider = provider;
    op->pending = true;
}
/* Provider: ends it; calls on_complete once. */
void op_complete(struct op *op);
/* Waiter: no-op when nothing is pending. */
void op_cancel(struct op *op);

struct ticket {
    struct op *op; /* NULL once cancelled or completed */
    uint32_t refs;
};
struct ticket *ticket_new(struct op *op);    /* NULL without memory; starts the op */
void ticket_complete(struct ticket *ticket); /* op may be dead; drops the library's reference */
