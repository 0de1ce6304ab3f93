/*
 * Waiting for a permit: an upstream's `queue`, and how a try stands in it.
 *
 *      upstream_open says UPSTREAM_WAITS -> on_turn, once or more often -> upstream_open again, with the same wait
 *
 * The queue itself is balance/queue.h; here are its settings, the time that a wait may take, and the question to other
 * workers for a connection that they keep idle.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balance/permits.h"
#include "base/err.h"

struct waiting;

struct queue_conf {
    bool on;
    int64_t size; /* waiting at once, over all workers */
    int64_t timeout_ms;
};
extern const struct conf_struct queue_schema;

/* One try's part, zeroed but for `on_turn`. Owner: whoever has the try; touched by its worker alone. */
struct upstream_wait {
    void (*on_turn)(struct upstream_wait *wait); /* to call upstream_open once more, in the exchange's own turn */
    struct waiting *place;                       /* NULL: it does not wait */
    uint64_t waited_ns;                          /* in all, of waits that are over */
    enum limit lacked;                           /* what it waited for last */
};

/* Does not wait any more; harmless when it did not. upstream_open does it itself unless it says UPSTREAM_WAITS. */
void upstream_wait_leave(struct upstream_wait *wait);
