/*
 * The leaky bucket that queues: requests leave it one an interval.  `burst` of them pass at once (nginx's `delay`), up
 * to `queue` more wait for their turn, what comes beyond is refused.  The word is the time when the bucket is empty
 * again, so each request knows at once how long it waits, and no list of those that wait is kept.  Over any window of
 * w at most 1 + burst + w * rate leave.
 */
#include "base/assert.h"
#include "policies/rate_limit/algorithm.h"

static void decide(const struct bound *bound, uint64_t *words, const struct ask *ask, struct answer *ret_answer)
{
    uint64_t now = ask->now_ns, interval = bound->interval_ns;
    uint64_t at_once = bound->burst * interval, depth = at_once + (1 + bound->queue) * interval;
    uint64_t need = ask->cost * interval;
    uint64_t ahead = words[0] > now ? words[0] - now : 0;
    bool fits = ahead + need <= depth;
    uint64_t left = ahead;
    switch (ask->kind) {
    case ASK_TAKE:
        left = fits ? ahead + need : ahead;
        break;
    case ASK_CHARGE:
        left = MIN(ahead + need, MAX(ahead, 2 * depth));
        break;
    case ASK_GIVE:
        left = ahead - MIN(ahead, need);
        break;
    case ASK_PEEK:
        break;
    }
    if (left != ahead)
        words[0] = now + left;
    *ret_answer = (struct answer){
        .admitted = fits,
        .remaining = left >= depth ? 0 : (depth - left) / interval,
        .reset_ns = left,
        .retry_ns = fits           ? 0
                    : need > depth ? NEVER_NS
                                   : ahead + need - depth,
        .wait_ns = fits && ahead > at_once ? ahead - at_once : 0,
    };
}

const struct algorithm leaky_bucket = { .name = "leaky_bucket", .decide = decide };
