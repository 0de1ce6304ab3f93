/*
 * The settings of hedging, and when a try is late.
 *
 * A quantile is looked up at most so often and kept by each worker meanwhile. Tries that lost against a hedge count
 * with the time that they had taken until then: left out, the quantile would sink with every hedge, and make ever more.
 */
#include "upstream/hedge.h"

#include "conf/conf.h"
#include "upstream/state.h"

enum { PERCENT_MIN = 50, PERCENT_MAX = 99 };

#define HOUR_MS       3600000
#define LOOK_AGAIN_NS 100000000ull

struct delay {
    int64_t ms;
};

static const struct conf_field delay_fields[] = {
    { .name = "delay", .type = { .kind = CONF_DURATION, .min = 1, .max = HOUR_MS }, .offset = CONF_AT(delay, ms) },
    CONF_END,
};

static const struct conf_struct delay_schema = {
    .name = "delay", .size = sizeof(struct delay), .fields = delay_fields, .shorthand = "delay"
};

static int parse_after(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    struct hedge_after *after = ret_value;
    struct slice text = node->kind == NODE_SCALAR ? node->text : SLICE_EMPTY;
    if (slice_starts(text, SLICE("p"))) {
        int64_t percent;
        if (!slice_to_u63(slice_make(text.at + 1, text.len - 1), &percent) || percent < PERCENT_MIN ||
            percent > PERCENT_MAX) {
            conf_error(conf, node, "expected a quantile from `p%d` to `p%d`, got `%.*s`", PERCENT_MIN, PERCENT_MAX,
                       SLICE_ARG(text));
            return -1;
        }
        after->percent = (unsigned)percent;
        return 0;
    }
    if (text.len == 0 || text.at[0] < '0' || text.at[0] > '9') {
        conf_error(conf, node, "expected a duration such as `50ms`, or a quantile such as `p95`");
        return -1;
    }
    struct delay delay = { 0 };
    if (conf_load(conf, node, &delay_schema, &delay) < 0)
        return -1;
    after->ms = delay.ms;
    return 0;
}

static const struct conf_field hedge_fields[] = {
    { .name = "after",
      .type = { .kind = CONF_CUSTOM,
                .parse = parse_after,
                .size = sizeof(struct hedge_after),
                .pattern = "a duration, or `p50` to `p99`" },
      .offset = CONF_AT(hedge_conf, after),
      .flags = CONF_REQUIRED,
      .doc = "How long an answer may take before another target is asked as well: a time, or a quantile of what the "
             "upstream's answers took of late (`p95`: longer than 95 of 100 did; nothing is hedged until 100 of the "
             "last half minute are known)." },
    { .name = "max",
      .type = { .kind = CONF_INT, .min = 1, .max = HEDGES_MAX },
      .offset = CONF_AT(hedge_conf, max),
      .default_text = "1",
      .doc = "Tries of a request beside the first that is under way, one after the other." },
    { .name = "non_idempotent",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(hedge_conf, non_idempotent),
      .default_text = "false",
      .doc = "Hedge requests of every method. Only where doing a thing twice at once is harmless, as for calls of gRPC "
             "(all of them are `POST`) that only read." },
    CONF_END,
};

const struct conf_struct hedge_schema = {
    .name = "hedge",
    .size = sizeof(struct hedge_conf),
    .fields = hedge_fields,
    .shorthand = "after",
    .doc = "Ask another target as well when an answer takes longer than usual; see docs/retries.md.",
    .example = "hedge: { after: p95 }\n",
};

bool upstream_hedge_begin(struct upstream *upstream)
{
    return upstream_budget_take(upstream);
}

void upstream_hedge_sent(struct upstream *upstream)
{
    atomic_fetch_add_explicit(&upstream->budget->hedges, 1, memory_order_relaxed);
}

void upstream_hedge_won(struct upstream *upstream)
{
    atomic_fetch_add_explicit(&upstream->budget->hedges_won, 1, memory_order_relaxed);
}

uint64_t upstream_hedge_after_ms(struct upstream *upstream, unsigned worker)
{
    const struct hedge_conf *hedge = upstream->conf->hedge;
    struct upstream_worker *w = upstream->attached[worker];
    if (hedge->after.percent == 0 || !w)
        return (uint64_t)hedge->after.ms;
    if (w->hedge_looked_ns == 0 || w->loop->now_ns >= w->hedge_looked_ns + LOOK_AGAIN_NS) {
        struct head_times *times = &upstream->cluster->head_times;
        w->hedge_after_ns = head_times_quantile_ns(times, hedge->after.percent, w->loop->now_ns);
        w->hedge_looked_ns = w->loop->now_ns;
    }
    return (w->hedge_after_ns + 999999) / 1000000;
}

void upstream_note_head_time(const struct upstream_try *try_)
{
    const struct hedge_conf *hedge = try_->upstream->conf->hedge;
    if (!hedge || hedge->after.percent == 0 || !try_->local)
        return;
    uint64_t now_ns = try_->local->loop->now_ns;
    head_times_add(&try_->upstream->cluster->head_times, now_ns - try_->started_ns, now_ns);
}
