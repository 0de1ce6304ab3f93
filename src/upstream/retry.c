/*
 * The configuration of retries: how often, and which answers of a service are to be tried again.
 *
 * The list of `retry.on` is compiled to bits when it is loaded, so that an answer costs one look-up.
 */
#include "upstream/retry.h"
#include "balance/balance.h"
#include "base/assert.h"
#include "upstream/upstream.h"

#define HOUR_MS 3600000

/* How an item of the list is stored: an HTTP status as it is, one of gRPC's behind these. */
enum { ON_NON_IDEMPOTENT = 1, ON_GRPC = 1000 };

static int parse_on(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    int *on = ret_value;
    int64_t number;
    struct slice text = node->kind == NODE_SCALAR ? node->text : SLICE_EMPTY;
    if (slice_to_u63(text, &number) && number >= RETRY_STATUS_MIN && number <= RETRY_STATUS_MAX) {
        *on = (int)number;
        return 0;
    }
    if (slice_eq(text, SLICE("non_idempotent"))) {
        *on = ON_NON_IDEMPOTENT;
        return 0;
    }
    enum grpc_status status = grpc_status_from_word(text);
    if (status != GRPC_STATUS_ABSENT && status != GRPC_STATUS_OK) {
        *on = ON_GRPC + (int)status;
        return 0;
    }
    conf_error(
        conf, node,
        "expected a status from %d to %d, a status of gRPC such as `unavailable`, or `non_idempotent`, got `%.*s`",
        RETRY_STATUS_MIN, RETRY_STATUS_MAX, SLICE_ARG(text));
    return -1;
}

static const struct conf_type on_type = {
    .kind = CONF_CUSTOM,
    .parse = parse_on,
    .size = sizeof(int),
    .pattern = "400 to 599, a status of gRPC (`unavailable`, `resource_exhausted` ...), or `non_idempotent`",
};

static void retry_set_compile(const struct conf_list *on, struct retry_set *ret_set);
static void check_retry(struct conf *conf, const struct conf_node *node, void *value);

static const struct conf_field retry_fields[] = {
    { .name = "attempts",
      .type = { .kind = CONF_INT, .min = 1, .max = TRIED_MAX },
      .offset = CONF_AT(upstream_retry, attempts),
      .default_text = "3",
      .doc = "Tries in all, the first included; 1 switches retries off. A request is tried again, on another "
             "target if there is one, when it surely was not processed, or when its method is idempotent and the "
             "connection broke before any answer." },
    { .name = "budget",
      .type = { .kind = CONF_PERCENT },
      .offset = CONF_AT(upstream_retry, budget_percent),
      .default_text = "20%",
      .doc = "Retries under way at once, those waiting included, as a share of the active requests; three are "
             "always allowed. It keeps a service in trouble from being hit by several times its load." },
    { .name = "backoff",
      .type = { .kind = CONF_DURATION, .max = HOUR_MS },
      .offset = CONF_AT(upstream_retry, backoff_ms),
      .default_text = "25ms",
      .doc = "The first retry waits a random time up to this, each further one up to twice the one before. `0` "
             "retries at once." },
    { .name = "backoff_max",
      .type = { .kind = CONF_DURATION, .max = HOUR_MS },
      .offset = CONF_AT(upstream_retry, backoff_max_ms),
      .default_text = "250ms",
      .doc = "Where the doubling ends." },
    { .name = "on",
      .type = { .kind = CONF_LIST, .item = &on_type, .max = 256 },
      .offset = CONF_AT(upstream_retry, on),
      .flags = CONF_LONE,
      .doc = "Answers that are tried again as well: HTTP statuses, for idempotent methods unless `non_idempotent` is "
             "listed too, and statuses of gRPC, for answers that have no message. The last try's answer is passed on "
             "whatever it is." },
    { .name = "wait_max",
      .type = { .kind = CONF_DURATION, .max = HOUR_MS },
      .offset = CONF_AT(upstream_retry, wait_max_ms),
      .default_text = "1s",
      .doc =
          "The longest `Retry-After` or `grpc-retry-pushback-ms` of such an answer that is waited for before the next "
          "try. An answer that asks for more is passed on." },
    CONF_END,
};

const struct conf_struct upstream_retry_schema = {
    .name = "retry",
    .size = sizeof(struct upstream_retry),
    .fields = retry_fields,
    .doc = "When and how often a request is tried again.",
    .validate = check_retry,
};

static void check_retry(struct conf *conf, const struct conf_node *node, void *value)
{
    struct upstream_retry *retry = value;
    const struct conf_node *on = conf_get(node, "on");
    if (retry->backoff_ms > retry->backoff_max_ms)
        conf_error(conf, conf_get(node, "backoff_max") ? conf_get(node, "backoff_max") : node,
                   "`backoff_max` is shorter than `backoff`");
    retry_set_compile(&retry->on, &retry->set);
    if (retry->set.non_idempotent && !retry->set.statuses)
        conf_error(conf, on, "`non_idempotent` says nothing without an HTTP status beside it");
    if (on && retry->attempts == 1)
        conf_warn(conf, on, "nothing is tried again with `attempts: 1`");
}

static void retry_set_compile(const struct conf_list *on, struct retry_set *ret_set)
{
    *ret_set = (struct retry_set){ .any = on->count > 0 };
    for (size_t i = 0; i < on->count; i++) {
        int item = *(const int *)conf_item(on, &on_type, i);
        if (item == ON_NON_IDEMPOTENT) {
            ret_set->non_idempotent = true;
        } else if (item >= ON_GRPC) {
            ret_set->calls |= 1u << (item - ON_GRPC);
        } else {
            unsigned bit = (unsigned)(item - RETRY_STATUS_MIN);
            ret_set->http[bit / 64] |= 1ull << bit % 64;
            ret_set->statuses = true;
        }
    }
}

bool retry_set_has_status(const struct retry_set *set, unsigned status)
{
    if (status < RETRY_STATUS_MIN || status > RETRY_STATUS_MAX)
        return false;
    unsigned bit = status - RETRY_STATUS_MIN;
    return set->http[bit / 64] >> bit % 64 & 1;
}

bool retry_set_has_call(const struct retry_set *set, enum grpc_status status)
{
    return status < GRPC_STATUS_OTHER && (set->calls >> status & 1);
}
