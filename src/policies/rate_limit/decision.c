/*
 * All limits of the policy for one request.
 *
 * They are asked in their order and each takes at once.  When one refuses, what those before it took is given back,
 * and those behind are only looked at, to tell the client when all of them would let it in.  So no limit ever lets
 * through more than it says; a request that is refused may, for the moment between, stand in the way of another that
 * comes at the same time on another worker.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "exchange/template.h"
#include "exchange/worker.h"
#include "observe/log.h"
#include "policies/rate_limit/rate_limit.h"

static void count(const struct limit *limit, const struct exchange *x, enum outcome outcome)
{
    place_add(limit->places[outcome], x->worker->index, 1);
}

/* ---- what it is asked for ---- */

static int find_key(const struct limit *limit, const struct exchange *x, struct held *all, struct held *held)
{
    struct slice text;
    if (limit->same_key >= 0) {
        held->key = all[limit->same_key].key;
        held->empty = all[limit->same_key].empty;
    } else {
        if (template_text(&limit->key, x, &text) < 0)
            return -ERR_MEMORY;
        held->empty = text.len == 0;
        held->key = hash_bytes(held->empty ? SLICE("") : text);
    }
    held->skipped = held->empty && limit->empty == EMPTY_SKIP;
    return 0;
}

static uint64_t cost_in(const struct fields *fields, const char *header, const struct cost_conf *cost, int64_t least)
{
    int64_t value;
    const struct field *field = fields_find_name(fields, slice_from(header));
    if (!field || !slice_to_u63(slice_trim(field->value), &value))
        return (uint64_t)cost->fixed;
    return (uint64_t)MIN(MAX(value, least), cost->max);
}

static uint64_t cost_before(const struct limit *limit, const struct exchange *x)
{
    const struct cost_conf *cost = limit->cost;
    if (cost->response_header)
        return 1;
    return cost->header ? cost_in(&x->request->fields, cost->header, cost, 1) : (uint64_t)cost->fixed;
}

/* ---- asking ---- */

static bool ask(const struct limit *limit, const struct exchange *x, const struct held *held, enum ask_kind kind,
                struct answer *ret_answer)
{
    const struct ask it = { .now_ns = held->taken_ns, .cost = held->cost, .kind = kind };
    return limit_ask(limit, x, held->key, &it, ret_answer);
}

/* Of two limits the one of which less is left, as a share of all it has. */
static void note_tightest(const struct limit *limit, const struct answer *answer, struct rate_limit_state *state)
{
    const struct limit *other = state->tightest;
    if (!limit->dry_run && (!other || (double)answer->remaining * (double)other->bound.quota <
                                          (double)state->answer.remaining * (double)limit->bound.quota)) {
        state->tightest = limit;
        state->answer = *answer;
    }
}

static void would_refuse(const struct limit *limit, const struct exchange *x)
{
    count(limit, x, OUTCOME_DRY_RUN);
    log_notice("rate_limit", "dry run: the limit `%s` would have refused a request of the route `%s`", limit->name,
               x->record.route ? x->record.route : "");
}

/* False: it refuses. */
static bool take(const struct rate_limit *policy, const struct limit *limit, struct exchange *x, struct held *held,
                 struct rate_limit_state *state, uint64_t *wait_ns)
{
    struct answer answer;
    bool after = limit->cost->response_header != NULL;
    if (!ask(limit, x, held, after ? ASK_PEEK : ASK_TAKE, &answer)) {
        held->skipped = true;
        count(limit, x, OUTCOME_UNCOUNTED);
        return true;
    }
    if (!answer.admitted) {
        if (limit->dry_run)
            would_refuse(limit, x);
        else
            count(limit, x, OUTCOME_REFUSED);
        return limit->dry_run;
    }
    held->taken = !after;
    held->owing = after;
    if (!limit->dry_run)
        *wait_ns = MAX(*wait_ns, answer.wait_ns);
    count(limit, x, answer.wait_ns && !limit->dry_run ? OUTCOME_DELAYED : OUTCOME_ALLOWED);
    if (policy->headers)
        note_tightest(limit, &answer, state);
    return true;
}

static void give_back(const struct rate_limit *policy, const struct exchange *x, struct held *all, int before)
{
    struct answer unused;
    for (int i = 0; i < before; i++) {
        if (all[i].taken)
            ask(&policy->limits[i], x, &all[i], ASK_GIVE, &unused);
        all[i].taken = all[i].owing = false;
    }
}

/* The one that has refused, or one behind it that would let the request in even later. */
static void find_last(const struct rate_limit *policy, struct exchange *x, struct rate_limit_state *state, int from)
{
    state->tightest = NULL;
    for (int i = from; i < policy->count; i++) {
        const struct limit *limit = &policy->limits[i];
        struct held *held = &state->held[i];
        struct answer answer;
        if (i != from && find_key(limit, x, state->held, held) < 0)
            return; /* without memory the first one's answer is good enough */
        if (held->skipped || limit->dry_run || !limit->algorithm)
            continue;
        held->taken_ns = limit_now(limit, x);
        held->cost = cost_before(limit, x);
        ask(limit, x, held, ASK_PEEK, &answer);
        if (i != from && (answer.admitted || answer.retry_ns <= state->answer.retry_ns))
            continue;
        state->tightest = limit;
        state->answer = answer;
    }
}

enum decided decision_take(const struct rate_limit *policy, struct exchange *x, struct rate_limit_state *state,
                           uint64_t *ret_wait_ns)
{
    struct held *held = arena_zalloc(x->arena, (size_t)policy->count * sizeof(*held));
    *ret_wait_ns = 0;
    state->held = held;
    if (!held)
        return DECIDED_MEMORY;
    for (int i = 0; i < policy->count; i++) {
        const struct limit *limit = &policy->limits[i];
        if (find_key(limit, x, held, &held[i]) < 0) {
            give_back(policy, x, held, i);
            return DECIDED_MEMORY;
        }
        if (held[i].skipped || !limit->algorithm)
            continue;
        held[i].taken_ns = limit_now(limit, x);
        held[i].cost = cost_before(limit, x);
        if (!take(policy, limit, x, &held[i], state, ret_wait_ns)) {
            give_back(policy, x, held, i);
            find_last(policy, x, state, i);
            return DECIDED_REFUSED;
        }
    }
    return DECIDED_PASS;
}

/* ---- afterwards ---- */

static void pay(const struct rate_limit *policy, struct exchange *x, struct rate_limit_state *state, int index,
                uint64_t cost)
{
    const struct limit *limit = &policy->limits[index];
    struct held *held = &state->held[index];
    struct answer answer;
    held->owing = false;
    held->cost = cost;
    held->taken_ns = limit_now(limit, x);
    ask(limit, x, held, ASK_CHARGE, &answer);
    if (state->tightest == limit)
        state->answer = answer;
}

void decision_pay(const struct rate_limit *policy, struct exchange *x, struct rate_limit_state *state)
{
    for (int i = 0; state->held && i < policy->count; i++) {
        const struct cost_conf *cost = policy->limits[i].cost;
        if (state->held[i].owing)
            pay(policy, x, state, i, cost_in(&x->response.fields, cost->response_header, cost, 0));
    }
}

void decision_end(const struct rate_limit *policy, struct exchange *x, struct rate_limit_state *state)
{
    struct answer unused;
    for (int i = 0; state->held && i < policy->count; i++) {
        const struct limit *limit = &policy->limits[i];
        struct held *held = &state->held[i];
        if (held->owing)
            pay(policy, x, state, i, (uint64_t)limit->cost->fixed);
        if (held->taken && limit->algorithm->in_flight)
            ask(limit, x, held, ASK_GIVE, &unused);
        held->taken = false;
    }
}
