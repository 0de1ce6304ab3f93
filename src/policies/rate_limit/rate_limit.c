/*
 * The rate_limit policy: its settings, and its hooks.
 */
#include "policies/rate_limit/policy_rate_limit.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/sys.h"
#include "policies/rate_limit/rate_limit.h"

struct rate_limit_conf {
    struct conf_list limits; /* struct limit_conf */
    bool headers, dry_run;
};

static const struct conf_type limit_type = { .kind = CONF_STRUCT, .structure = &limit_schema };

static const struct conf_field rate_limit_fields[] = {
    { "limits",
      { .kind = CONF_LIST, .item = &limit_type, .max = LIMITS_MAX, .flags = CONF_LONE | CONF_NONEMPTY },
      CONF_AT(rate_limit_conf, limits),
      CONF_REQUIRED,
      NULL,
      "A limit, or several: a request passes when all of them let it, and a refused one takes nothing of any." },
    { "headers",
      { .kind = CONF_BOOL },
      CONF_AT(rate_limit_conf, headers),
      0,
      "false",
      "Tell what is left on every answer (`RateLimit-Policy` and `RateLimit`); a refusal always tells it." },
    { "dry_run", { .kind = CONF_BOOL }, CONF_AT(rate_limit_conf, dry_run), 0, "false", "`dry_run` for all limits." },
    CONF_END,
};
const struct conf_struct rate_limit_schema = {
    .name = "rate_limit",
    .size = sizeof(struct rate_limit_conf),
    .fields = rate_limit_fields,
    .shorthand = "limits",
    .doc = "Limits how often, how many at once and how fast. Counts are exact over all workers, and one policy is one "
           "place to count: see [Policies](policies.md).",
    .example = "rate_limit:\n"
               "  headers: true\n"
               "  limits:\n"
               "    - token_bucket: { rate: 100/s, burst: 200 }\n"
               "    - name: per-day\n"
               "      key: \"{consumer}\"\n"
               "      fixed_window: { quota: 10000/d, timezone: \"+01:00\" }\n",
};

/* ---- loading ---- */

static void rate_limit_unload(void *data)
{
    struct rate_limit *policy = data;
    for (int i = 0; i < policy->count; i++)
        limit_done(&policy->limits[i]);
    mem_free((void *)policy->policy_field.at);
    mem_free(policy->limits);
    mem_free(policy);
}

static const struct limit_conf *setting_at(const struct rate_limit_conf *s, int index)
{
    return conf_item(&s->limits, &limit_type, (size_t)index);
}

static const struct conf_node *node_at(const struct conf_node *node, int index)
{
    const struct conf_node *list = node && node->kind == NODE_MAP ? conf_get(node, "limits") : node;
    const struct conf_node *item = list && list->kind == NODE_LIST ? list->first : NULL;
    for (int i = 0; item && i < index; i++)
        item = item->next;
    return item ? item : list;
}

/* Two limits of one name could not be told apart; of two keys that are the same, one is made. */
static int compare_with_others(struct conf *conf, const struct conf_node *node, const struct rate_limit_conf *s,
                               struct rate_limit *policy, int index)
{
    const struct limit_conf *own = setting_at(s, index);
    int rc = 0;
    ENSURE(own->name && own->key); /* it has been compiled */
    for (int i = index - 1; i >= 0; i--) {
        const struct limit_conf *other = setting_at(s, i);
        if (!other->name || !other->key)
            continue;
        if (strcmp(other->name, own->name) == 0) {
            conf_error(conf, node, "two limits are named `%s`: give each a `name` of its own", own->name);
            rc = -1;
        }
        /* a key that is skipped when empty says no more than that; one that is shared knows its text */
        if (strcmp(other->key, own->key) == 0 && other->empty_key == own->empty_key)
            policy->limits[index].same_key = i;
    }
    return rc;
}

static int load_limit(struct conf *conf, const struct conf_node *node, const struct rate_limit_conf *s,
                      struct rate_limit *policy, int index)
{
    struct limit *limit = &policy->limits[index];
    if (limit_compile(conf, node, setting_at(s, index), limit) < 0)
        return -1;
    limit->dry_run |= s->dry_run;
    policy->paid_after |= limit->cost->response_header != NULL;
    if (!limit->algorithm && policy->paced) {
        conf_error(conf, node, "one `bandwidth` in a policy is enough: for another, add another policy");
        return -1;
    }
    if (!limit->algorithm && !limit->dry_run)
        policy->paced = limit;
    return compare_with_others(conf, node, s, policy, index);
}

static int rate_limit_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct rate_limit_conf *s = settings;
    struct rate_limit *policy = mem_must(sizeof(*policy));
    int rc = 0, count = (int)s->limits.count;
    policy->limits = mem_must((size_t)count * sizeof(*policy->limits));
    policy->headers = s->headers;
    policy->count = count;
    for (int i = 0; i < count; i++)
        if (load_limit(conf, node_at(node, i), s, policy, i) < 0)
            rc = -1;
    if (rc < 0) {
        rate_limit_unload(policy);
        return -1;
    }
    policy->policy_field = fields_policy_text(policy->limits, count);
    *ret_data = policy;
    return 0;
}

/* ---- hooks ---- */

static enum verdict fail(struct exchange *x, enum err err)
{
    exchange_fail(x, err, SLICE_EMPTY);
    return REPLIED;
}

static enum verdict refuse(const struct rate_limit *policy, struct exchange *x, const struct rate_limit_state *state)
{
    uint64_t retry = state->answer.retry_ns;
    const char *name = state->tightest->name;
    struct slice detail;
    if (retry == NEVER_NS)
        detail = arena_printf(x->arena, "The request costs more than the limit `%s` ever allows.", name);
    else if (state->tightest->algorithm->in_flight)
        detail = arena_printf(x->arena, "The limit `%s` is reached: wait for a request to end.", name);
    else
        detail = arena_printf(x->arena, "The limit `%s` is reached: try again in %u s.", name,
                              (unsigned)(retry / NS_PER_S + 1));
    exchange_fail(x, ERR_RATE_LIMITED, detail.at ? detail : SLICE_EMPTY);
    int rc = x->ended ? 0 : fields_tell(policy, x, state, true);
    return rc < 0 ? fail(x, ERR_MEMORY) : REPLIED;
}

static enum verdict on_request(struct exchange *x, void *state_, const void *data)
{
    const struct rate_limit *policy = data;
    struct rate_limit_state *state = state_;
    uint64_t wait_ns;
    if (!state->held) {
        enum decided decided = decision_take(policy, x, state, &wait_ns);
        if (decided == DECIDED_MEMORY)
            return fail(x, ERR_MEMORY);
        if (decided == DECIDED_REFUSED)
            return refuse(policy, x, state);
        if (wait_ns > 0) {
            pacing_wait(x, state, wait_ns);
            return WAIT;
        }
    }
    if (policy->paced && policy->paced->bandwidth[DIR_REQUEST].bytes_per_s && pacing_begin(x, state, DIR_REQUEST) < 0)
        return fail(x, ERR_MEMORY);
    return NEXT;
}

static enum verdict on_response(struct exchange *x, void *state_, const void *data)
{
    const struct rate_limit *policy = data;
    struct rate_limit_state *state = state_;
    if (!state->held)
        return NEXT; /* it ended before it was asked for */
    if (policy->paid_after)
        decision_pay(policy, x, state);
    int rc = policy->headers ? fields_tell(policy, x, state, false) : 0;
    if (rc < 0)
        return fail(x, rc == -ERR_HEAD_TOO_LARGE ? ERR_UPSTREAM_HEAD_TOO_LARGE : (enum err) - rc);
    if (policy->paced && policy->paced->bandwidth[DIR_RESPONSE].bytes_per_s && pacing_begin(x, state, DIR_RESPONSE) < 0)
        return fail(x, ERR_MEMORY);
    return NEXT;
}

static enum verdict on_request_body(struct exchange *x, void *state, const void *data, struct pipe *in,
                                    struct pipe *out)
{
    pacing_body(data, state, DIR_REQUEST, in, out);
    return NEXT;
}

static enum verdict on_response_body(struct exchange *x, void *state, const void *data, struct pipe *in,
                                     struct pipe *out)
{
    pacing_body(data, state, DIR_RESPONSE, in, out);
    return NEXT;
}

static void on_done(struct exchange *x, void *state, const void *data)
{
    if (!state)
        return; /* there was no memory for it */
    pacing_end(x, state);
    decision_end(data, x, state);
}

static bool takes_body(const void *data, enum direction direction)
{
    const struct rate_limit *policy = data;
    return policy->paced && policy->paced->bandwidth[direction].bytes_per_s > 0;
}

const struct policy_type policy_rate_limit = {
    .name = "rate_limit",
    .schema = &rate_limit_schema,
    .state_size = sizeof(struct rate_limit_state),
    .need = { [DIR_REQUEST] = BODY_STREAM, [DIR_RESPONSE] = BODY_STREAM },
    .takes_body = takes_body,
    .load = rate_limit_load,
    .unload = rate_limit_unload,
    .on_head = { [DIR_REQUEST] = on_request, [DIR_RESPONSE] = on_response },
    .on_body = { [DIR_REQUEST] = on_request_body, [DIR_RESPONSE] = on_response_body },
    .on_done = on_done,
};
