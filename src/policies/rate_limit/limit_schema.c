/*
 * What a limit is set to: its name, its key, its cost, and exactly one algorithm with what that takes.
 */
#include "policies/rate_limit/limit.h"

/* ---- algorithms ---- */

static const struct conf_field token_bucket_fields[] = {
    { "rate", RATE_TYPE, CONF_AT(algorithm_conf, rate), CONF_REQUIRED, NULL, "How fast the bucket fills." },
    { "burst",
      { .kind = CONF_INT, .min = 1, .max = 1000000000 },
      CONF_AT(algorithm_conf, burst),
      0,
      NULL,
      "How much the bucket holds: what a client that was quiet may ask for at once. Left out, it is the number of the "
      "`rate`." },
    CONF_END,
};
static const struct conf_struct token_bucket_schema = {
    .name = "token_bucket",
    .size = sizeof(struct algorithm_conf),
    .fields = token_bucket_fields,
    .shorthand = "rate",
    .doc = "A bucket of tokens that fills at a rate; a request takes one. In any time `t` at most `burst` + `rate` x "
           "`t` are let through.",
};

static const struct conf_field leaky_bucket_fields[] = {
    { "rate", RATE_TYPE, CONF_AT(algorithm_conf, rate), CONF_REQUIRED, NULL, "How fast requests leave the bucket." },
    { "queue",
      { .kind = CONF_INT, .min = 1, .max = 100000 },
      CONF_AT(algorithm_conf, queue),
      CONF_REQUIRED,
      NULL,
      "How many requests of a key may wait for their turn; what comes beyond is refused. nginx's `burst`." },
    { "burst",
      { .kind = CONF_INT, .min = 0, .max = 100000 },
      CONF_AT(algorithm_conf, burst),
      0,
      "0",
      "How many, beyond the first, pass at once before others have to wait. nginx's `delay`." },
    CONF_END,
};
static const struct conf_struct leaky_bucket_schema = {
    .name = "leaky_bucket",
    .size = sizeof(struct algorithm_conf),
    .fields = leaky_bucket_fields,
    .doc = "A bucket that leaks at a rate: requests that come faster wait for their turn, so that the service sees "
           "them evenly spaced.",
};

static const struct conf_field window_fields[] = {
    { "rate", RATE_TYPE, CONF_AT(algorithm_conf, rate), CONF_REQUIRED, NULL, "How many in which time." },
    CONF_END,
};
static const struct conf_struct sliding_window_schema = {
    .name = "sliding_window",
    .size = sizeof(struct algorithm_conf),
    .fields = window_fields,
    .shorthand = "rate",
    .doc = "Two counters: this window's, and a fading share of the one before. Near the rate for steady traffic; never "
           "as much as twice the rate in any window.",
};
static const struct conf_struct sliding_log_schema = {
    .name = "sliding_log",
    .size = sizeof(struct algorithm_conf),
    .fields = window_fields,
    .shorthand = "rate",
    .doc = "The time of each request: exact in any window, for 8 bytes a request and key. At most 10000 in a window.",
};

static const struct conf_field fixed_window_fields[] = {
    { "quota", RATE_TYPE, CONF_AT(algorithm_conf, rate), CONF_REQUIRED, NULL,
      "How many in each second, minute, hour, day, week (from Monday) or month of the calendar." },
    { "timezone", OFFSET_TYPE, CONF_AT(algorithm_conf, offset_ns), 0, "UTC",
      "Whose midnight it is: a fixed offset; there is no summer time in it." },
    CONF_END,
};
static const struct conf_struct fixed_window_schema = {
    .name = "fixed_window",
    .size = sizeof(struct algorithm_conf),
    .fields = fixed_window_fields,
    .shorthand = "quota",
    .doc = "A quota for each window of the calendar, that begins anew with the next.",
};

static const struct conf_field concurrency_fields[] = {
    { "limit",
      { .kind = CONF_INT, .min = 1, .max = 1000000000 },
      CONF_AT(algorithm_conf, limit),
      CONF_REQUIRED,
      NULL,
      "How many exchanges may be in progress at the same time. A tunnel is one until it ends." },
    CONF_END,
};
static const struct conf_struct concurrency_schema = {
    .name = "concurrency",
    .size = sizeof(struct algorithm_conf),
    .fields = concurrency_fields,
    .shorthand = "limit",
    .doc = "How many at the same time.",
};

static const struct conf_field bandwidth_fields[] = {
    { "response",
      { .kind = CONF_BYTES, .min = 1024, .max = INT64_C(1) << 40 },
      CONF_AT(algorithm_conf, bytes_per_s[DIR_RESPONSE]),
      0,
      NULL,
      "Bytes a second of the answers' bodies." },
    { "request",
      { .kind = CONF_BYTES, .min = 1024, .max = INT64_C(1) << 40 },
      CONF_AT(algorithm_conf, bytes_per_s[DIR_REQUEST]),
      0,
      NULL,
      "Bytes a second of the requests' bodies." },
    { "burst",
      { .kind = CONF_BYTES, .min = 1024, .max = INT64_C(1) << 30 },
      CONF_AT(algorithm_conf, burst_bytes),
      0,
      NULL,
      "How many bytes pass at once after a pause. Left out, it is what passes in a quarter of a second, and 16 KiB at "
      "the least." },
    CONF_END,
};
static const struct conf_struct bandwidth_schema = {
    .name = "bandwidth",
    .size = sizeof(struct algorithm_conf),
    .fields = bandwidth_fields,
    .shorthand = "response",
    .doc = "Paces bodies; nothing is refused. All bodies of a key share the rate of their direction. What a tunnel "
           "carries is not paced.",
};

static const struct conf_variant algorithm_variants[] = {
    { "token_bucket", &token_bucket_schema, &token_bucket },
    { "leaky_bucket", &leaky_bucket_schema, &leaky_bucket },
    { "sliding_window", &sliding_window_schema, &sliding_window },
    { "sliding_log", &sliding_log_schema, &sliding_log },
    { "fixed_window", &fixed_window_schema, &fixed_window },
    { "concurrency", &concurrency_schema, &concurrency },
    { "bandwidth", &bandwidth_schema, NULL },
    CONF_END,
};
static const struct conf_registry algorithm_registry = { "limit", algorithm_variants };

/* ---- a limit ---- */

static const struct conf_field cost_fields[] = {
    { "fixed",
      { .kind = CONF_INT, .min = 1, .max = COST_MAX },
      CONF_AT(cost_conf, fixed),
      0,
      "1",
      "What a request costs, or costs when the header does not say a number." },
    { "header",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(cost_conf, header),
      0,
      NULL,
      "A field of the request that says what it costs, at least 1. A client could write it: let a policy before this "
      "one remove or set it." },
    { "response_header",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(cost_conf, response_header),
      0,
      NULL,
      "A field of the answer that says what the request has cost, 0 or more. It is charged afterwards: a request "
      "passes while anything is left." },
    { "max",
      { .kind = CONF_INT, .min = 1, .max = COST_MAX },
      CONF_AT(cost_conf, max),
      0,
      "1000",
      "A header that says more counts as this." },
    CONF_END,
};
static const struct conf_struct cost_schema = {
    .name = "cost",
    .size = sizeof(struct cost_conf),
    .fields = cost_fields,
    .shorthand = "fixed",
    .doc = "What a request takes of a limit.",
};

static const struct conf_word empty_words[] = {
    { "shared", EMPTY_SHARED, "All requests whose key is empty share one count." },
    { "skip", EMPTY_SKIP, "A request whose key is empty is not counted by this limit, nor refused." },
    CONF_END,
};

static const struct conf_field limit_fields[] = {
    { "name",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(limit_conf, name),
      0,
      "default",
      "For the answer's fields, logs and metrics: letters, digits, `_`, `-` and `.`. Limits of one policy have "
      "different names." },
    { "key",
      { .kind = CONF_STRING },
      CONF_AT(limit_conf, key),
      0,
      "{client.network}",
      "Whose requests are counted together: a template. A text without parts is one count for all." },
    { "empty_key",
      { .kind = CONF_ENUM, .words = empty_words },
      CONF_AT(limit_conf, empty_key),
      0,
      "shared",
      "What happens to requests whose key is empty." },
    { "cost",
      { .kind = CONF_STRUCT, .structure = &cost_schema, .flags = CONF_POINTER },
      CONF_AT(limit_conf, cost),
      0,
      NULL,
      "What a request takes of the limit; 1 when left out. Not of `concurrency` and `bandwidth`." },
    { "keys",
      { .kind = CONF_INT, .min = 1, .max = 10000000 },
      CONF_AT(limit_conf, keys),
      0,
      "20000",
      "For how many keys at the same time there is room; memory is taken once. When there are more, the count is lost "
      "that would be over soonest (`concurrency` lets the new key through uncounted instead)." },
    { "dry_run",
      { .kind = CONF_BOOL },
      CONF_AT(limit_conf, dry_run),
      0,
      "false",
      "Count, and say in the metrics and the log what would have been refused; refuse and delay nothing." },
    { "algorithm",
      { .kind = CONF_UNION, .registry = &algorithm_registry },
      CONF_AT(limit_conf, algorithm),
      CONF_INLINE | CONF_REQUIRED,
      NULL,
      "How it counts." },
    CONF_END,
};
const struct conf_struct limit_schema = {
    .name = "limit",
    .size = sizeof(struct limit_conf),
    .fields = limit_fields,
    .doc = "One limit: exactly one algorithm, and whose requests it counts.",
};
