/*
 * Policies within a policy: what any_of and all_of have in common.  They know the ones they hold by the registry alone.
 *
 * While one runs, exchange_local and refusals are its own (struct inner). Only policies that say who a request comes
 * from can be held: they look at the request's head, may wait, and answer or go on.
 *
 * Owner: the policy that holds them; the state lives in the exchange's arena.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "exchange/policy.h"

enum { COMPOSED_MAX = 8 };

struct composition_conf {
    struct conf_list policies; /* of struct conf_choice */
};

struct composed {
    const struct policy_type *type;
    void *data;
};

struct composition {
    unsigned count;
    struct composed v[COMPOSED_MAX];
};

struct composition_local {
    void *v[COMPOSED_MAX];
};

struct composition_state {
    const struct composition_local *local;
    void *states[COMPOSED_MAX];
    bool started[COMPOSED_MAX];
};

/* 0, or -1 after conf_error. */
MUST_USE int composition_load(struct conf *conf, const struct conf_list *list, struct composition **ret_c);
void composition_unload(struct composition *c);
void composition_begin(struct composition *c, const struct policy_ground *ground);
MUST_USE int composition_attach(const struct composition *c, struct worker *worker,
                                struct composition_local **ret_local);
void composition_detach(const struct composition *c, struct worker *worker, struct composition_local *local);

/* Runs the one at an index, or goes on with it after WAIT. With `tries` a refusal is noted: REPLIED, *ret_refused, and
 * nothing of it in x->response but fields that were added; without it whoever is outside decides. */
enum verdict composition_run(struct exchange *x, const struct composition *c, struct composition_state *state,
                             unsigned index, bool tries, bool *ret_refused);
/* on_done of those that were started. */
void composition_done(struct exchange *x, const struct composition *c, struct composition_state *state);
/* What only they may write, and their credentials. */
void composition_disclaim(const struct composition *c, struct fields *fields);
MUST_USE int composition_strip(struct exchange *x, const struct composition *c);
