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
enum { ON_NON_IDEMPOTENT = 1, ON_CONNECT_FAILURE, ON_REFUSED_STREAM, ON_RESET, ON_TIMEOUT, ON_5XX, ON_GATEWAY_ERROR };
enum { ON_GRPC = 1000 };

static const struct {
    const char *word;
    int on;
} conditions[] = {
    { "connect_failure", ON_CONNECT_FAILURE },
    { "refused_stream", ON_REFUSED_STREAM },
    { "reset", ON_RESET },
    { "timeout", ON_TIMEOUT },
    { "5xx", ON_5XX },
    { "gateway_error", ON_GATEWAY_ERROR },
    { "non_idempotent", ON_NON_IDEMPOTENT },
};

static int parse_on(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    int *on = ret_value;
    int64_t number;
    struct slice text = node->kind == NODE_SCALAR ? node->text : SLICE_EMPTY;
    if (slice_to_u63(text, &number) && number >= RETRY_STATUS_MIN && number <= RETRY_STATUS_MAX) {
        *on = (int)number;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(conditions); i++)
        if (slice_eq(text, slice_from(conditions[i].word))) {
            *on = conditions[i].on;
            return 0;
        }
    enum grpc_status status = grpc_status_from_word(text);
    if (status != GRPC_STATUS_ABSENT && status != GRPC_STATUS_OK) {
        *on = ON_GRPC + (int)status;
        return 0;
    }
    conf_error(
        conf, node,
        "expected a status from %d to %d, a status of gRPC such as `unavailable`, `connect_failure`, `refused_stream`, "
        "`reset`, `timeout`, `5xx`, `gateway_error`, or `non_idempotent`, got `%.*s`",
        RETRY_STATUS_MIN, RETRY_STATUS_MAX, SLICE_ARG(text));
    return -1;
}

static const struct conf_type on_type = {
    .kind = CONF_CUSTOM,
    .parse = parse_on,
    .size = sizeof(int),
    .pattern =
        "400 to 599, `5xx`, `gateway_error`, `timeout`, `reset`, `connect_failure`, `refused_stream`, a status of "
        "gRPC (`unavailable`, `resource_exhausted` ...), or `non_idempotent`",
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
      .doc =
          "Retries and hedges under way at once, those waiting for their back-off included, as a share of the active "
          "requests. It keeps a service in trouble from being hit by several times its load." },
    { .name = "budget_min",
      .type = { .kind = CONF_INT, .max = 1000000 },
      .offset = CONF_AT(upstream_retry, budget_min),
      .default_text = "3",
      .doc = "So many are allowed at once however few requests are active." },
    { .name = "per_try_timeout",
      .type = { .kind = CONF_DURATION, .max = HOUR_MS },
      .offset = CONF_AT(upstream_retry, per_try_ms),
      .default_text = "off",
      .doc = "How long one try may take from its begin (connecting and sending included) to the answer's head. Then "
             "another is made if the request is of an idempotent method or `on` says so, else the answer is 504 "
             "(`try_timeout`)." },
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
      .doc =
          "What is tried again as well. Answers: HTTP statuses, `5xx` (500 to 599), `gateway_error` (502, 503, 504), "
          "and statuses of gRPC, for answers that have no message; the last try's answer is passed on whatever it "
          "is. Failures: `timeout` (no answer within `timeouts.response`). It holds for idempotent methods, with "
          "`non_idempotent` for all. What is always tried again may be written down too: `connect_failure` and "
          "`refused_stream` (any method), `reset` (no answer before the connection broke; it, too, is for all "
          "methods only when it is listed beside `non_idempotent`)." },
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
    if (retry->set.non_idempotent && !retry->set.statuses && !retry->set.resets && !retry->set.timeouts)
        conf_error(conf, on, "`non_idempotent` says nothing without an HTTP status, `reset` or `timeout` beside it");
    if (on && retry->attempts == 1)
        conf_warn(conf, on, "nothing is tried again with `attempts: 1`");
}

static void add_statuses(struct retry_set *set, int from, int to)
{
    for (int status = from; status <= to; status++) {
        unsigned bit = (unsigned)(status - RETRY_STATUS_MIN);
        set->http[bit / 64] |= 1ull << bit % 64;
    }
    set->statuses = true;
}

static void retry_set_compile(const struct conf_list *on, struct retry_set *ret_set)
{
    *ret_set = (struct retry_set){ 0 };
    for (size_t i = 0; i < on->count; i++) {
        int item = *(const int *)conf_item(on, &on_type, i);
        switch (item) {
        case ON_NON_IDEMPOTENT:
            ret_set->non_idempotent = true;
            break;
        case ON_RESET:
            ret_set->resets = true;
            break;
        case ON_TIMEOUT:
            ret_set->timeouts = true;
            break;
        case ON_5XX:
            add_statuses(ret_set, 500, 599);
            break;
        case ON_GATEWAY_ERROR:
            add_statuses(ret_set, 502, 504);
            break;
        case ON_CONNECT_FAILURE: /* always */
        case ON_REFUSED_STREAM:
            break;
        default:
            if (item >= ON_GRPC)
                ret_set->calls |= 1u << (item - ON_GRPC);
            else
                add_statuses(ret_set, item, item);
        }
    }
    ret_set->any = ret_set->statuses || ret_set->calls;
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
