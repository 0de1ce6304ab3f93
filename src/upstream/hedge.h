/*
 * Hedging: a second try of a request while the first is still open, because its answer takes longer than answers
 * usually do.  The settings, and what the workers share of it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct upstream;
struct upstream_try;
extern const struct conf_struct hedge_schema;

enum { HEDGES_MAX = 2 };

struct hedge_after {
    int64_t ms;       /* with percent 0 */
    unsigned percent; /* of the upstream's recent times to the head */
};
struct hedge_conf {
    struct hedge_after after;
    int64_t max; /* tries beside the first */
    bool non_idempotent;
};

/* May a hedge begin now? It counts in the retry budget until upstream_retry_end. */
bool upstream_hedge_begin(struct upstream *upstream);
/* There was a target for it. */
void upstream_hedge_sent(struct upstream *upstream);
/* Its answer was the first. */
void upstream_hedge_won(struct upstream *upstream);
/* After how long a try of this worker's is hedged, at least a millisecond; 0: it is not, for now. */
uint64_t upstream_hedge_after_ms(struct upstream *upstream, unsigned worker);
/* The answer's head has come, or is not waited for any more: what quantiles are made of. */
void upstream_note_head_time(const struct upstream_try *try_);
