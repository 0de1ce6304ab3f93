/*
 * The sliding window of two counters: what was counted in the window before counts for the share of it that a window
 * back from now still covers.  That takes it for evenly spread: of a steady stream the quota is met within a request,
 * and whatever arrives, fewer than two quotas are let through in any window (all of one at the end of a window, and
 * nearly all of the next as it fades).  Who needs it exact takes the sliding log.
 *
 *      words: 0 when both counters are over, 1 the window's begin, 2 its count, 3 the count of the one before
 */
#include "base/assert.h"
#include "policies/rate_limit/algorithm.h"

__extension__ typedef unsigned __int128 wide;

enum { OVER, BEGIN, COUNT, BEFORE, WORDS };

static uint64_t scaled_up(uint64_t value, uint64_t by, uint64_t of)
{
    return (uint64_t)(((wide)value * by + of - 1) / of);
}

/* Brings the counters to the window that `now` is in, and returns how far into it that is. A worker whose clock is a
 * turn behind counts in the newer window. */
static uint64_t roll(const struct bound *bound, uint64_t *words, uint64_t now)
{
    uint64_t begin = now - now % bound->window_ns;
    if (words[OVER] == 0) {
        words[BEGIN] = begin;
        words[COUNT] = words[BEFORE] = 0;
    } else if (begin > words[BEGIN]) {
        words[BEFORE] = begin - words[BEGIN] == bound->window_ns ? words[COUNT] : 0;
        words[COUNT] = 0;
        words[BEGIN] = begin;
    }
    return now > words[BEGIN] ? now - words[BEGIN] : 0;
}

static uint64_t when_it_fits(const struct bound *bound, const uint64_t *words, uint64_t into, uint64_t cost)
{
    uint64_t window = bound->window_ns, quota = bound->quota;
    if (cost > quota)
        return NEVER_NS;
    if (words[COUNT] + cost <= quota) { /* once enough of the window before has faded */
        uint64_t room = quota - words[COUNT] - cost;
        return window - (uint64_t)((wide)room * window / words[BEFORE]) - into;
    }
    /* or of this one, in the next */
    return window - into + window - (uint64_t)((wide)(quota - cost) * window / words[COUNT]);
}

static void decide(const struct bound *bound, uint64_t *words, const struct ask *ask, struct answer *ret_answer)
{
    uint64_t quota = bound->quota, cost = ask->cost;
    uint64_t into = roll(bound, words, ask->now_ns);
    uint64_t faded = scaled_up(words[BEFORE], bound->window_ns - into, bound->window_ns);
    bool fits = faded + words[COUNT] + cost <= quota;
    uint64_t retry = fits ? 0 : when_it_fits(bound, words, into, cost);
    if (ask->kind == ASK_TAKE && fits)
        words[COUNT] += cost;
    else if (ask->kind == ASK_CHARGE)
        words[COUNT] = MIN(words[COUNT] + cost, MAX(words[COUNT], 2 * quota));
    else if (ask->kind == ASK_GIVE)
        words[COUNT] -= MIN(words[COUNT], cost);
    uint64_t used = faded + words[COUNT];
    words[OVER] = words[BEGIN] + (words[COUNT] ? 2 : words[BEFORE] ? 1 : 0) * bound->window_ns;
    *ret_answer = (struct answer){
        .admitted = fits,
        .remaining = used >= quota ? 0 : quota - used,
        .reset_ns = used == 0 ? 0 : words[OVER] - words[BEGIN] - into,
        .retry_ns = retry,
    };
}

static uint32_t words_of(const struct bound *bound)
{
    return WORDS;
}

const struct algorithm sliding_window = { .name = "sliding_window", .decide = decide, .words = words_of };
