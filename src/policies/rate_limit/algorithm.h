/*
 * What every algorithm of a limit is: a pure function of a key's words, a time and a cost.  The words lie in a table
 * of the room `stores`; words[0] is the time until when they mean anything, on the clock that the algorithm counts
 * with, and zeros are a key that nobody has seen.
 *
 * An ask TAKES what it costs, if that fits; PEEK says what TAKE would say and takes nothing; CHARGE takes without
 * asking, for what is known only afterwards (the debt is bounded); GIVE gives back what was taken.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_S   UINT64_C(1000000000)
#define NEVER_NS   UINT64_MAX /* `retry_ns` of what costs more than a limit ever has */
#define WINDOW_MAX (366 * 86400 * NS_PER_S)

enum ask_kind { ASK_TAKE, ASK_PEEK, ASK_CHARGE, ASK_GIVE };

struct ask {
    uint64_t now_ns; /* monotonic, or of the wall for a `calendar` */
    uint64_t cost;   /* at most the bound's cost_max */
    enum ask_kind kind;
};

struct answer {
    bool admitted;
    uint64_t remaining; /* that could be taken now */
    uint64_t reset_ns;  /* until all of it is there again */
    uint64_t retry_ns;  /* when not admitted: until it may be */
    uint64_t wait_ns;   /* leaky bucket: until it is this one's turn */
};

enum { COST_MAX = 1000000, LOG_MAX = 10000 };

enum period { PERIOD_FIXED, PERIOD_MONTH };

/* What a limit is bound to; which members count is the algorithm's. */
struct bound {
    uint64_t quota;       /* requests (or cost) a window; what a bucket holds */
    uint64_t window_ns;   /* a month's is that of 31 days */
    uint64_t interval_ns; /* buckets: from one to the next, rounded up, so that never more are let through */
    uint64_t burst;       /* buckets: that pass at once */
    uint64_t queue;       /* leaky bucket: that may wait behind those */
    uint64_t cost_max;    /* asks for more are asks for this: it never fits, and nothing overflows */
    int64_t offset_ns;    /* calendar: local time less UTC */
    enum period period;
};

struct algorithm {
    const char *name;
    void (*decide)(const struct bound *bound, uint64_t *words, const struct ask *ask, struct answer *ret_answer);
    uint32_t (*words)(const struct bound *bound); /* NULL: one */
    bool calendar;                                /* counts by the wall's clock */
    bool in_flight;                               /* what was taken is given back at the end; `now_ns` is 0 */
    const char *unit;                             /* of the quota, as `qu` of RateLimit-Policy; NULL: requests */
};

extern const struct algorithm token_bucket, leaky_bucket, sliding_window, sliding_log, fixed_window, concurrency;
