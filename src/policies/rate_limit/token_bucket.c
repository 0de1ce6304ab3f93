/*
 * The token bucket, as the generic cell rate algorithm (ITU-T I.371): one word, the theoretical arrival time, says
 * until when the bucket would take to be full again.  Over any window of w the cost admitted is at most
 * burst + w * rate.
 */
#include "base/assert.h"
#include "policies/rate_limit/algorithm.h"

enum { DEBT_MAX = 4 /* buckets that may be owed after CHARGE: who made that debt is let in again within 5 of them */ };

static void decide(const struct bound *bound, uint64_t *words, const struct ask *ask, struct answer *ret_answer)
{
    uint64_t now = ask->now_ns, interval = bound->interval_ns, depth = bound->burst * interval;
    uint64_t need = ask->cost * interval;
    uint64_t owed = words[0] > now ? words[0] - now : 0;
    bool fits = owed + need <= depth;
    uint64_t left = owed;
    switch (ask->kind) {
    case ASK_TAKE:
        left = fits ? owed + need : owed;
        break;
    case ASK_CHARGE:
        left = MIN(owed + need, MAX(owed, (1 + DEBT_MAX) * depth));
        break;
    case ASK_GIVE:
        left = owed - MIN(owed, need);
        break;
    case ASK_PEEK:
        break;
    }
    if (left != owed)
        words[0] = now + left;
    *ret_answer = (struct answer){
        .admitted = fits,
        .remaining = left >= depth ? 0 : (depth - left) / interval,
        .reset_ns = left,
        .retry_ns = fits           ? 0
                    : need > depth ? NEVER_NS
                                   : owed + need - depth,
    };
}

const struct algorithm token_bucket = { .name = "token_bucket", .decide = decide };
