/*
 * Compiling a limit, and asking it.
 */
#include "policies/rate_limit/limit.h"

#include "base/assert.h"
#include "base/sys.h"
#include "exchange/captures.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "stores/counters.h"

enum {
    NAME_MAX_LEN = 64,
    INTERVAL_NS_MIN = 1000, /* what is rounded up to a nanosecond is then off by 1 in 1000 at the most */
    COST_ROOM = 8,          /* of what a bucket holds: see DEBT_MAX of the token bucket */
};

#define DEPTH_NS_MAX (UINT64_C(10) * WINDOW_MAX) /* COST_ROOM times this still fits 63 bits */
#define TABLE_MAX    (UINT64_C(512) << 20)
#define BURST_SHARE  4 /* of a second, of a bandwidth */

static const struct metric_family decisions_family = {
    .name = "maitred_rate_limit_decisions_total",
    .help = "Decisions of limits, by result: allowed, delayed, refused, dry_run (would have been refused), uncounted "
            "(no room for its key).",
    .kind = METRIC_COUNTER,
    .labels = { "limit", "result" },
};
static const struct metric_family evictions_family = {
    .name = "maitred_rate_limit_evictions_total",
    .help = "Keys whose count was lost because more keys were in use than there is room for.",
    .kind = METRIC_COUNTER,
    .labels = { "limit" },
};
static const char *const outcome_words[OUTCOMES] = {
    [OUTCOME_ALLOWED] = "allowed", [OUTCOME_DELAYED] = "delayed",     [OUTCOME_REFUSED] = "refused",
    [OUTCOME_DRY_RUN] = "dry_run", [OUTCOME_UNCOUNTED] = "uncounted",
};

static const struct conf_node *member_or(const struct conf_node *node, const char *name)
{
    const struct conf_node *member = node ? conf_get(node, name) : NULL;
    return member ? member : node;
}

static bool is_name(const char *name)
{
    size_t len = strlen(name);
    for (const char *at = name; *at; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        if (!letter && *at != '_' && *at != '-' && *at != '.')
            return false;
    }
    return len > 0 && len <= NAME_MAX_LEN;
}

/* ---- bounds ---- */

static int bind_bucket(struct conf *conf, const struct conf_node *node, struct bound *bound)
{
    if (bound->interval_ns < INTERVAL_NS_MIN) {
        conf_error(conf, node, "a bucket's rate is at most 1000000 a second");
        return -1;
    }
    if (bound->quota > DEPTH_NS_MAX / bound->interval_ns) {
        conf_error(conf, node, "at this rate the bucket would take more than ten years to fill: lower its size");
        return -1;
    }
    bound->cost_max = COST_ROOM * bound->quota;
    return 0;
}

static int bind_algorithm(struct conf *conf, const struct conf_node *node, const struct algorithm *algorithm,
                          const struct algorithm_conf *s, struct bound *bound)
{
    const struct rate *rate = &s->rate;
    if (rate->count == 0 && !algorithm->in_flight)
        return -1; /* told */
    *bound = (struct bound){
        .quota = algorithm->in_flight ? (uint64_t)s->limit : rate->count,
        .window_ns = rate->window_ns,
        .period = rate->period,
        .offset_ns = s->offset_ns,
        .burst = (uint64_t)s->burst,
        .queue = (uint64_t)s->queue,
        .cost_max = COST_MAX,
    };
    if (rate->period == PERIOD_MONTH && algorithm != &fixed_window) {
        conf_error(conf, node, "months are for `fixed_window`: they are not all as long");
        return -1;
    }
    if (algorithm == &sliding_log && rate->count > LOG_MAX) {
        conf_error(conf, node,
                   "a `sliding_log` holds at most %d: take a `sliding_window`, which costs the same for "
                   "any number",
                   LOG_MAX);
        return -1;
    }
    if (algorithm != &token_bucket && algorithm != &leaky_bucket)
        return 0;
    if (algorithm == &token_bucket && bound->burst == 0)
        bound->burst = rate->count;
    bound->interval_ns = (rate->window_ns + rate->count - 1) / rate->count;
    bound->quota = bound->burst + (algorithm == &leaky_bucket ? 1 + bound->queue : 0);
    return bind_bucket(conf, node, bound);
}

static int bind_bandwidth(struct conf *conf, const struct conf_node *node, const struct algorithm_conf *s,
                          struct limit *limit)
{
    for (enum direction d = DIR_REQUEST; d < DIR_COUNT; d++) {
        uint64_t rate = (uint64_t)s->bytes_per_s[d], burst = (uint64_t)s->burst_bytes;
        if (burst == 0)
            burst = MAX(rate / BURST_SHARE, (uint64_t)BANDWIDTH_PIECE);
        limit->bandwidth[d] = (struct bandwidth){ .bytes_per_s = rate, .burst_bytes = burst };
    }
    if (s->bytes_per_s[DIR_REQUEST] || s->bytes_per_s[DIR_RESPONSE])
        return 0;
    conf_error(conf, node, "`bandwidth` needs `response` or `request`, or both");
    return -1;
}

/* ---- compiling ---- */

static const struct cost_conf cost_of_one = { .fixed = 1, .max = 1 };

static int check_cost(struct conf *conf, const struct conf_node *node, struct limit *limit)
{
    const struct cost_conf *cost = limit->cost;
    const char *header = cost->header ? cost->header : cost->response_header;
    if (cost != &cost_of_one && (!limit->algorithm || limit->algorithm->in_flight)) {
        conf_error(conf, node, "`concurrency` and `bandwidth` have no `cost`");
        return -1;
    }
    if (cost->header && cost->response_header) {
        conf_error(conf, node, "either `header` or `response_header`: a request is paid for once");
        return -1;
    }
    if (header && !field_name_valid(slice_from(header))) {
        conf_error(conf, node, "`%s` is no field name", header);
        return -1;
    }
    if (cost->response_header && limit->algorithm == &leaky_bucket) {
        conf_error(conf, node, "a `leaky_bucket` has to know the cost before: it says when it is a request's turn");
        return -1;
    }
    return 0;
}

static int make_table(struct conf *conf, const struct conf_node *node, const struct limit_conf *s, struct limit *limit)
{
    const struct algorithm *a = limit->algorithm;
    const struct counters_shape shape = {
        .keys = (uint32_t)s->keys,
        .words = a && a->words ? a->words(&limit->bound) : 1,
        .keep_live = a && a->in_flight,
    };
    uint64_t bytes = counters_bytes(&shape);
    if (bytes > TABLE_MAX) {
        conf_error(conf, node, "counting %u keys so takes %u MiB, more than 512: lower `keys`%s", shape.keys,
                   (unsigned)(bytes >> 20), a == &sliding_log ? ", or take a `sliding_window`" : "");
        return -1;
    }
    limit->counters = counters_new(&shape);
    if (limit->counters)
        return 0;
    conf_error(conf, node, "no memory for %u keys", shape.keys);
    return -1;
}

static void make_series(struct limit *limit)
{
    for (int i = 0; i < OUTCOMES; i++) {
        const char *const values[] = { limit->name, outcome_words[i], NULL };
        limit->series[i] = series_get(&decisions_family, values);
        limit->places[i] = series_place(limit->series[i]);
    }
    const char *const values[] = { limit->name, NULL };
    limit->evicted = series_get(&evictions_family, values);
    limit->evicted_place = series_place(limit->evicted);
}

static int compile(struct conf *conf, const struct conf_node *node, const struct limit_conf *s, struct limit *limit)
{
    int rc = 0;
    const struct conf_node *at = s->algorithm.node;
    if (!is_name(limit->name)) {
        conf_error(conf, member_or(node, "name"), "`%s` is no name: 1 to %d letters, digits, `_`, `-` and `.`",
                   limit->name, NAME_MAX_LEN);
        rc = -1;
    }
    if (limit->algorithm ? bind_algorithm(conf, at, limit->algorithm, s->algorithm.value, &limit->bound) < 0
                         : bind_bandwidth(conf, at, s->algorithm.value, limit) < 0)
        rc = -1;
    if (check_cost(conf, member_or(node, "cost"), limit) < 0)
        rc = -1;
    if (template_compile(conf, member_or(node, "key"), slice_from(s->key), capture_known, &limit->key) < 0)
        rc = -1;
    if (rc == 0)
        rc = make_table(conf, node, s, limit);
    if (rc == 0)
        make_series(limit);
    return rc;
}

int limit_compile(struct conf *conf, const struct conf_node *node, const struct limit_conf *s, struct limit *ret_limit)
{
    *ret_limit = (struct limit){ .same_key = -1 };
    if (!s->name || !s->key || !s->algorithm.variant)
        return -1; /* it was told what is wrong with them */
    *ret_limit = (struct limit){
        .algorithm = s->algorithm.variant->type,
        .same_key = -1,
        .empty = (enum empty_key)s->empty_key,
        .cost = s->cost ? s->cost : &cost_of_one,
        .dry_run = s->dry_run,
        .name = s->name,
    };
    if (compile(conf, node, s, ret_limit) == 0)
        return 0;
    limit_done(ret_limit);
    return -1;
}

void limit_done(struct limit *limit)
{
    for (int i = 0; i < OUTCOMES; i++)
        series_drop(limit->series[i]);
    series_drop(limit->evicted);
    template_done(&limit->key);
    counters_free(limit->counters);
    *limit = (struct limit){ .same_key = -1 };
}

/* ---- asking ---- */

struct asking {
    const struct limit *limit;
    struct ask ask;
    struct answer *answer;
};

static void step(uint64_t *words, void *ctx)
{
    const struct asking *a = ctx;
    a->limit->algorithm->decide(&a->limit->bound, words, &a->ask, a->answer);
}

uint64_t limit_now(const struct limit *limit, const struct exchange *x)
{
    const struct loop *loop = &x->worker->loop;
    if (!limit->algorithm)
        return loop->now_ns;
    return limit->algorithm->in_flight ? 0 : limit->algorithm->calendar ? loop->wall_ns : loop->now_ns;
}

bool limit_ask(const struct limit *limit, const struct exchange *x, uint64_t key, const struct ask *ask,
               struct answer *ret_answer)
{
    struct asking a = { .limit = limit, .ask = *ask, .answer = ret_answer };
    a.ask.cost = MIN(ask->cost, limit->bound.cost_max);
    bool make = ask->kind == ASK_TAKE || ask->kind == ASK_CHARGE;
    enum counters_result result = counters_update(limit->counters, key, ask->now_ns, make, step, &a);
    if (result == COUNTERS_EVICTED)
        place_add(limit->evicted_place, x->worker->index, 1);
    return result != COUNTERS_FULL;
}
