/*
 * Loading, attaching and running policies that another one holds.
 */
#include "policies/composition.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/sys.h"
#include "exchange/exchange.h"

/* ---- loading ---- */

int composition_load(struct conf *conf, const struct conf_list *list, struct composition **ret_c)
{
    const struct conf_choice *choices = list->items;
    struct composition *c = mem_must(sizeof(*c));
    int rc = 0;
    for (size_t i = 0; i < list->count && c->count < COMPOSED_MAX; i++) { /* more than that have been told */
        struct composed *one = &c->v[c->count];
        if (!choices[i].variant) {
            rc = -1; /* told */
            continue;
        }
        one->type = choices[i].variant->type;
        ENSURE(one->type->authenticates && one->type->need[DIR_REQUEST] == BODY_PASS);
        if (one->type->load(conf, choices[i].node, choices[i].value, &one->data) < 0)
            rc = -1;
        else
            c->count++;
    }
    if (rc < 0)
        composition_unload(c);
    else
        *ret_c = c;
    return rc;
}

void composition_unload(struct composition *c)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->v[i].data && c->v[i].type->unload)
            c->v[i].type->unload(c->v[i].data);
    mem_free(c);
}

void composition_begin(struct composition *c, const struct policy_ground *ground)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->v[i].type->begin)
            c->v[i].type->begin(c->v[i].data, ground);
}

/* ---- workers ---- */

static void detach_first(const struct composition *c, unsigned count, struct worker *worker,
                         struct composition_local *local)
{
    while (count-- > 0)
        if (c->v[count].type->detach)
            c->v[count].type->detach(c->v[count].data, worker, local->v[count]);
    mem_free(local);
}

int composition_attach(const struct composition *c, struct worker *worker, struct composition_local **ret_local)
{
    struct composition_local *local = mem_zalloc(sizeof(*local));
    if (!local)
        return -ERR_MEMORY;
    for (unsigned i = 0; i < c->count; i++) {
        int rc = c->v[i].type->attach ? c->v[i].type->attach(c->v[i].data, worker, &local->v[i]) : 0;
        if (rc < 0) {
            detach_first(c, i, worker, local);
            return rc;
        }
    }
    *ret_local = local;
    return 0;
}

void composition_detach(const struct composition *c, struct worker *worker, struct composition_local *local)
{
    detach_first(c, c->count, worker, local);
}

/* ---- running ---- */

enum verdict composition_run(struct exchange *x, const struct composition *c, struct composition_state *state,
                             unsigned index, bool tries, bool *ret_refused)
{
    ENSURE(index < c->count && state->local);
    const struct composed *one = &c->v[index];
    struct inner *outer = x->inner;
    struct inner inner = { .type = one->type,
                           .local = state->local->v[index],
                           .tries = tries || (outer && outer->tries) };
    *ret_refused = false;
    if (!state->states[index] && one->type->state_size) {
        state->states[index] = arena_zalloc(x->arena, one->type->state_size);
        if (!state->states[index]) {
            exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
            return REPLIED;
        }
    }
    state->started[index] = true;
    x->inner = &inner;
    enum verdict verdict = one->type->on_head[DIR_REQUEST](x, state->states[index], one->data);
    x->inner = outer;
    *ret_refused = inner.refused;
    if (inner.refused && !tries)
        outer->refused = true;
    return verdict;
}

void composition_done(struct exchange *x, const struct composition *c, struct composition_state *state)
{
    struct inner *outer = x->inner;
    for (unsigned i = c->count; i-- > 0;) {
        if (!state->started[i] || !c->v[i].type->on_done)
            continue;
        struct inner inner = { .type = c->v[i].type, .local = state->local->v[i] };
        x->inner = &inner;
        c->v[i].type->on_done(x, state->states[i], c->v[i].data);
    }
    x->inner = outer;
}

void composition_disclaim(const struct composition *c, struct fields *fields)
{
    for (unsigned i = 0; i < c->count; i++)
        if (c->v[i].type->disclaim)
            c->v[i].type->disclaim(c->v[i].data, fields);
}

int composition_strip(struct exchange *x, const struct composition *c)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < c->count; i++)
        if (c->v[i].type->strip)
            rc = c->v[i].type->strip(x, c->v[i].data);
    return rc;
}
