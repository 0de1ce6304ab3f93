/*
 * What the files of this policy share: the loaded policy, and what one exchange holds of its limits.
 *
 *      rate_limit.c   settings and hooks           limit.c, limit_schema.c   one limit, compiled
 *      decision.c     all limits for one request   algorithm.h ...           pure: words, time, cost
 *      pacing.c       waiting, bodies              fields.c                  what the client is told
 */
#pragma once

#include "base/slice.h"
#include "exchange/exchange.h"
#include "policies/rate_limit/limit.h"

struct rate_limit {
    struct limit *limits;
    int count;
    bool headers;
    bool paid_after;           /* a limit learns its cost from the answer */
    const struct limit *paced; /* the limit of bandwidth; NULL: there is none */
    struct slice policy_field; /* RateLimit-Policy; empty: no limit has a quota to tell */
};

/* What an exchange has of one limit. */
struct held {
    uint64_t key;
    uint64_t cost;
    uint64_t taken_ns; /* on the limit's clock */
    bool empty;        /* its key */
    bool skipped;      /* for that, or because its table is full */
    bool taken;
    bool owing; /* it pays once the answer is known */
};

/* A body that is paced. */
struct paced {
    struct timer timer;
    struct exchange *x;
    enum direction direction;
};

struct rate_limit_state {
    struct held *held; /* one a limit; NULL until they were asked */
    struct timer turn; /* of the leaky bucket */
    struct exchange *x;
    struct paced *paced[DIR_COUNT];
    const struct limit *tightest; /* of those with a quota; NULL: none was asked */
    struct answer answer;         /* of that one */
};

/* ---- decision.c ---- */

enum decided { DECIDED_PASS, DECIDED_REFUSED, DECIDED_MEMORY };

/* Asks all limits, once. PASS: what each took is held, and *ret_wait_ns says how long it has to wait. REFUSED: nothing
 * is held, and state->tightest is the one that lets it in last. */
enum decided decision_take(const struct rate_limit *policy, struct exchange *x, struct rate_limit_state *state,
                           uint64_t *ret_wait_ns);
/* The answer's head is known: what is owed is paid as it says. */
void decision_pay(const struct rate_limit *policy, struct exchange *x, struct rate_limit_state *state);
/* The exchange is over: what was in flight is given back, and what is owed still is paid as if no field said more. */
void decision_end(const struct rate_limit *policy, struct exchange *x, struct rate_limit_state *state);

/* ---- pacing.c ---- */

/* Starts the wait of the request's cursor. */
void pacing_wait(struct exchange *x, struct rate_limit_state *state, uint64_t wait_ns);
/* In on_head: the body of that direction will be paced. -ERR_MEMORY. */
MUST_USE int pacing_begin(struct exchange *x, struct rate_limit_state *state, enum direction direction);
void pacing_body(const struct rate_limit *policy, struct rate_limit_state *state, enum direction direction,
                 struct pipe *in, struct pipe *out);
void pacing_end(struct exchange *x, struct rate_limit_state *state);

/* ---- fields.c ---- */

/* The text of RateLimit-Policy, from mem_must; empty when no limit has a quota to tell. */
struct slice fields_policy_text(const struct limit *limits, int count);
/* Adds RateLimit-Policy and RateLimit, and with `refused` Retry-After. 0 or an error of fields_add. */
MUST_USE int fields_tell(const struct rate_limit *policy, struct exchange *x, const struct rate_limit_state *state,
                         bool refused);
