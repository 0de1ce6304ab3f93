/*
 * The fixed window: a quota for each second, minute, hour, day or month of the calendar.  Exact within a window; over
 * the border of two, up to two quotas may pass in a short time.
 *
 *      words: 0 when the window ends, 1 its count
 */
#include "base/assert.h"
#include "policies/rate_limit/algorithm.h"
#include "policies/rate_limit/calendar.h"

enum { END, COUNT, WORDS = 4 };

static void decide(const struct bound *bound, uint64_t *words, const struct ask *ask, struct answer *ret_answer)
{
    uint64_t now = ask->now_ns, quota = bound->quota;
    /* A worker that read the clock a moment before another did counts in the newer window. An end that is further off
     * than that was written before the clock was set back. */
    if (words[END] <= now || words[END] - now > 2 * bound->window_ns) {
        words[END] = calendar_window_end(bound, now);
        words[COUNT] = 0;
    }
    bool fits = words[COUNT] + ask->cost <= quota;
    if (ask->kind == ASK_TAKE && fits)
        words[COUNT] += ask->cost;
    else if (ask->kind == ASK_CHARGE)
        words[COUNT] = MIN(words[COUNT] + ask->cost, MAX(words[COUNT], 2 * quota));
    else if (ask->kind == ASK_GIVE)
        words[COUNT] -= MIN(words[COUNT], ask->cost);
    uint64_t left = words[END] - now;
    *ret_answer = (struct answer){
        .admitted = fits,
        .remaining = words[COUNT] >= quota ? 0 : quota - words[COUNT],
        .reset_ns = left,
        .retry_ns = fits                ? 0
                    : ask->cost > quota ? NEVER_NS
                                        : left,
    };
}

static uint32_t words_of(const struct bound *bound)
{
    return WORDS;
}

const struct algorithm fixed_window = { .name = "fixed_window", .decide = decide, .words = words_of, .calendar = true };
