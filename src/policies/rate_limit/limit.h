/*
 * One limit, compiled: an algorithm and its bound, whose counts they are (key), what a request costs, and the table it
 * counts in.  Immutable but for the table and the counters of metrics; shared by all workers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "exchange/policy.h"
#include "http/template.h"
#include "observe/metrics.h"
#include "policies/rate_limit/algorithm.h"
#include "policies/rate_limit/bandwidth.h"
#include "policies/rate_limit/rate.h"

struct counters;
struct exchange;

enum { LIMITS_MAX = 16 };

/* How a decision went, as in the metric. */
enum outcome { OUTCOME_ALLOWED, OUTCOME_DELAYED, OUTCOME_REFUSED, OUTCOME_DRY_RUN, OUTCOME_UNCOUNTED, OUTCOMES };

enum empty_key { EMPTY_SHARED, EMPTY_SKIP };

/* What a limit is set to. */
struct cost_conf {
    int64_t fixed, max;
    const char *header, *response_header;
};

struct limit_conf {
    const char *name, *key;
    struct cost_conf *cost; /* NULL: 1 */
    int64_t keys;
    int empty_key;
    bool dry_run;
    struct conf_choice algorithm; /* of struct algorithm_conf */
};
/* Of whichever algorithm. */
struct algorithm_conf {
    struct rate rate;
    int64_t burst, queue, limit, offset_ns;
    int64_t bytes_per_s[DIR_COUNT], burst_bytes;
};

struct limit {
    const struct algorithm *algorithm; /* NULL: bandwidth */
    struct bound bound;
    struct bandwidth bandwidth[DIR_COUNT];
    struct counters *counters;
    struct template key;
    int same_key; /* an earlier limit of the policy with the same key, or -1 */
    enum empty_key empty;
    const struct cost_conf *cost;
    bool dry_run;
    const char *name;
    struct series *series[OUTCOMES], *evicted;
    metric_cell *places[OUTCOMES], *evicted_place;
};

/* An entry of `limits` as it stands in the configuration. */
extern const struct conf_struct limit_schema;

/* 0, or -1 after conf_error; then limit_done has been called. `settings` are of limit_schema. */
MUST_USE int limit_compile(struct conf *conf, const struct conf_node *node, const struct limit_conf *settings,
                           struct limit *ret_limit);
void limit_done(struct limit *limit);

/* The time on the clock that the limit counts with. */
uint64_t limit_now(const struct limit *limit, const struct exchange *x);
/* Decides for a key, and counts what the table lost. False: the table had no room and nothing was counted. */
bool limit_ask(const struct limit *limit, const struct exchange *x, uint64_t key, const struct ask *ask,
               struct answer *ret_answer);
