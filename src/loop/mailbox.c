/*
 * The mailbox: a stack that any thread pushes to with one compare-and-swap and the worker takes whole with one
 * exchange, then turns around.  Only who finds it empty wakes the worker: whoever pushes behind him is taken by the
 * same exchange. The worker drains the wake-up before it takes the letters, so none is left without a wake-up.
 */
#include <stdatomic.h>

#include "base/sys.h"
#include "loop/loop.h"
#include "loop/turn.h"

void loop_post(struct loop *loop, struct letter *letter)
{
    struct letter *before = atomic_load_explicit(&loop->mailbox, memory_order_relaxed);

    do {
        letter->next = before;
    } while (!atomic_compare_exchange_weak_explicit(&loop->mailbox, &before, letter, memory_order_release,
                                                    memory_order_relaxed));
    if (!before)
        sys->wake_signal(loop->wake_fd);
}

void loop_deliver(struct loop *loop)
{
    struct letter *newest, *oldest = NULL;

    if (!atomic_load_explicit(&loop->mailbox, memory_order_relaxed))
        return;
    newest = atomic_exchange_explicit(&loop->mailbox, NULL, memory_order_acquire);
    while (newest) {
        struct letter *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct letter *next = oldest->next;
        oldest->deliver(oldest, loop);
        oldest = next;
    }
}
