/*
 * The sliding log: the time of each that was admitted, in a ring as long as the quota.  Exact: no window, wherever it
 * begins, sees more than the quota.  It costs 8 bytes for each request of each key, so the quota is at most LOG_MAX.
 *
 *      words: 0 when the newest is over, 1 where the oldest is, 2 how many, 3 unused, then the ring
 */
#include "base/assert.h"
#include "policies/rate_limit/algorithm.h"

enum { OVER, HEAD, COUNT, UNUSED, RING };

static uint64_t *at(const struct bound *bound, uint64_t *words, uint64_t index)
{
    return &words[RING + (words[HEAD] + index) % bound->quota];
}

static void drop_oldest(const struct bound *bound, uint64_t *words)
{
    words[HEAD] = (words[HEAD] + 1) % bound->quota;
    words[COUNT]--;
}

/* Times never go back in the ring: a worker whose clock is a turn behind counts at the newest. */
static void push(const struct bound *bound, uint64_t *words, uint64_t now, uint64_t cost)
{
    if (words[COUNT] > 0)
        now = MAX(now, *at(bound, words, words[COUNT] - 1));
    for (uint64_t i = 0; i < cost; i++) {
        if (words[COUNT] == bound->quota)
            drop_oldest(bound, words);
        *at(bound, words, words[COUNT]) = now;
        words[COUNT]++;
    }
    words[OVER] = now + bound->window_ns;
}

static uint64_t until_over(const struct bound *bound, uint64_t *words, uint64_t index, uint64_t now)
{
    uint64_t over = *at(bound, words, index) + bound->window_ns;
    return over > now ? over - now : 0;
}

static void decide(const struct bound *bound, uint64_t *words, const struct ask *ask, struct answer *ret_answer)
{
    uint64_t now = ask->now_ns, quota = bound->quota, cost = ask->cost, retry = 0;
    while (words[COUNT] > 0 && *at(bound, words, 0) + bound->window_ns <= now)
        drop_oldest(bound, words);
    bool fits = words[COUNT] + cost <= quota;
    if (!fits)
        retry = cost > quota ? NEVER_NS : until_over(bound, words, words[COUNT] + cost - quota - 1, now);
    if (ask->kind == ASK_TAKE && fits)
        push(bound, words, now, cost);
    else if (ask->kind == ASK_CHARGE && cost > 0)
        push(bound, words, now, MIN(cost, quota));
    else if (ask->kind == ASK_GIVE)
        words[COUNT] -= MIN(words[COUNT], cost); /* the newest */
    *ret_answer = (struct answer){
        .admitted = fits,
        .remaining = quota - words[COUNT],
        .reset_ns = words[COUNT] > 0 ? until_over(bound, words, words[COUNT] - 1, now) : 0,
        .retry_ns = retry,
    };
}

static uint32_t words_of(const struct bound *bound)
{
    return RING + (uint32_t)bound->quota;
}

const struct algorithm sliding_log = { .name = "sliding_log", .decide = decide, .words = words_of };
