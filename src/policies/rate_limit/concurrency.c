/*
 * How many are in flight: taken when a request comes in, given back when its exchange is over, however it ends.  The
 * word is the count.
 */
#include "base/assert.h"
#include "policies/rate_limit/algorithm.h"

static void decide(const struct bound *bound, uint64_t *words, const struct ask *ask, struct answer *ret_answer)
{
    bool fits = words[0] < bound->quota;
    if (ask->kind == ASK_TAKE && fits)
        words[0]++;
    else if (ask->kind == ASK_GIVE) {
        ENSURE(words[0] > 0);
        words[0]--;
    }
    *ret_answer = (struct answer){
        .admitted = fits,
        .remaining = bound->quota - MIN(words[0], bound->quota),
        .retry_ns = fits ? 0 : NS_PER_S, /* nobody knows when one ends */
    };
}

const struct algorithm concurrency = {
    .name = "concurrency", .decide = decide, .in_flight = true, .unit = "concurrent-requests"
};
