/*
 * The any_of policy.  The alternatives are tried in their order; the first that accepts its credential is the one. A
 * credential that is wrong does not end it: two alternatives may read the same field (two issuers of tokens), so only
 * the one that a credential was made for can know it.  What was tried in vain, or not at all, does not reach the
 * service: nobody has vouched for it.
 */
#include "policies/any_of/policy_any_of.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/sys.h"
#include "exchange/authentication.h"
#include "exchange/exchange.h"
#include "policies/composition.h"
#include "policies/registry.h"

/* What an alternative may have changed before it refused (a part of all_of takes its own credential out). */
struct before {
    struct fields fields;
    struct slice query, consumer;
    bool has_query;
    const struct identity *identity;
};

struct any_of_state {
    struct composition_state parts;
    struct before before;
    struct slice access; /* what the log said before: why one did not fit is of no interest once another did */
    unsigned at;
    bool begun, running, refused;
    struct challenge *first, **last;
};

static const struct conf_type part_type = { .kind = CONF_UNION, .registry = &authentication_registry };

static const struct conf_field any_of_fields[] = {
    { "policies",
      { .kind = CONF_LIST, .item = &part_type, .max = COMPOSED_MAX },
      CONF_AT(composition_conf, policies),
      CONF_REQUIRED | CONF_NONEMPTY,
      NULL,
      "The alternatives, in the order in which they are tried." },
    CONF_END,
};
const struct conf_struct any_of_schema = {
    .name = "any_of",
    .size = sizeof(struct composition_conf),
    .fields = any_of_fields,
    .shorthand = "policies",
    .depth_max = 4,
    .doc =
        "Takes one of several credentials: the first policy that accepts its own says who it is. When none does, 401 "
        "with the challenges of all.",
    .example = "any_of:\n  - api_key: {}\n  - basic: { realm: shop }\n",
};

/* ---- the request before a try ---- */

static int keep_before(struct exchange *x, struct before *before)
{
    const struct message *m = x->request;
    *before = (struct before){
        .query = m->query, .consumer = x->record.consumer, .has_query = m->has_query, .identity = x->identity
    };
    size_t size = m->fields.count * sizeof(struct field);
    before->fields.v = arena_alloc(x->arena, size + 1);
    if (!before->fields.v)
        return -ERR_MEMORY;
    if (size > 0)
        memcpy(before->fields.v, m->fields.v, size);
    before->fields.count = before->fields.size = m->fields.count;
    x->identity = NULL;
    return 0;
}

static void put_back(struct exchange *x, const struct before *before)
{
    x->request->fields = before->fields;
    x->request->query = before->query;
    x->request->has_query = before->has_query;
    x->record.consumer = before->consumer;
    x->identity = before->identity;
}

/* ---- challenges ---- */

static int keep_challenges(struct exchange *x, struct any_of_state *st)
{
    FIELDS_FOR_EACH (f, &x->response.fields) {
        if (f->id != FIELD_WWW_AUTHENTICATE)
            continue;
        struct challenge *c = arena_alloc(x->arena, sizeof(*c));
        if (!c)
            return -ERR_MEMORY;
        *c = (struct challenge){ f->value, NULL };
        if (!st->last)
            st->last = &st->first;
        *st->last = c;
        st->last = &c->next;
    }
    return 0;
}

static enum verdict refuse(struct exchange *x, const struct any_of_state *st)
{
    exchange_fail(x, ERR_UNAUTHENTICATED, SLICE("None of the credentials that are taken here was valid."));
    int rc = 0;
    for (const struct challenge *c = st->first; c && rc == 0; c = c->next)
        rc = fields_add_id(&x->response.fields, x->arena, FIELD_WWW_AUTHENTICATE, c->text);
    if (rc < 0)
        exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
    return REPLIED;
}

/* ---- trying ---- */

static enum verdict fail(struct exchange *x, int rc)
{
    exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
    return REPLIED;
}

static enum verdict settle(struct exchange *x, const struct composition *c, const struct any_of_state *st)
{
    x->record.access = st->access;
    int rc = composition_strip(x, c);
    return rc == 0 ? NEXT : fail(x, rc);
}

static enum verdict try_all(struct exchange *x, const struct composition *c, struct any_of_state *st)
{
    for (; st->at < c->count; st->at++) {
        bool refused;
        int rc = st->running ? 0 : keep_before(x, &st->before);
        if (rc < 0)
            return fail(x, rc);
        st->running = true;
        enum verdict verdict = composition_run(x, c, &st->parts, st->at, true, &refused);
        if (verdict == WAIT || (verdict == REPLIED && !refused))
            return verdict;
        st->running = false;
        if (!refused && x->identity)
            return settle(x, c, st);
        rc = refused ? keep_challenges(x, st) : 0;
        put_back(x, &st->before);
        if (rc < 0)
            return fail(x, rc);
        st->refused |= refused;
    }
    return st->refused ? refuse(x, st) : NEXT;
}

static enum verdict on_request(struct exchange *x, void *state, const void *data)
{
    const struct composition *c = data;
    struct any_of_state *st = state;
    if (!st->begun) {
        st->begun = true;
        st->access = x->record.access;
        st->parts.local = exchange_local(x, &policy_any_of);
        composition_disclaim(c, &x->request->fields);
        if (exchange_is_preflight(x)) {
            int rc = composition_strip(x, c);
            return rc == 0 ? NEXT : fail(x, rc);
        }
    }
    return try_all(x, c, st);
}

/* ---- the rest ---- */

static void on_done(struct exchange *x, void *state, const void *data)
{
    struct any_of_state *st = state;
    if (st)
        composition_done(x, data, &st->parts);
}

static int any_of_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct composition_conf *s = settings;
    struct composition *c;
    int rc = composition_load(conf, &s->policies, &c);
    if (rc == 0)
        *ret_data = c;
    return rc;
}

static void any_of_unload(void *data)
{
    composition_unload(data);
}

static void any_of_begin(void *data, const struct policy_ground *ground)
{
    composition_begin(data, ground);
}

static int any_of_attach(void *data, struct worker *worker, void **ret_local)
{
    struct composition_local *local;
    int rc = composition_attach(data, worker, &local);
    if (rc == 0)
        *ret_local = local;
    return rc;
}

static void any_of_detach(void *data, struct worker *worker, void *local)
{
    composition_detach(data, worker, local);
}

static int any_of_strip(struct exchange *x, const void *data)
{
    return composition_strip(x, data);
}

static void any_of_disclaim(const void *data, struct fields *fields)
{
    composition_disclaim(data, fields);
}

const struct policy_type policy_any_of = {
    .name = "any_of",
    .schema = &any_of_schema,
    .state_size = sizeof(struct any_of_state),
    .authenticates = true,
    .strip = any_of_strip,
    .disclaim = any_of_disclaim,
    .load = any_of_load,
    .unload = any_of_unload,
    .begin = any_of_begin,
    .attach = any_of_attach,
    .detach = any_of_detach,
    .on_head = { [DIR_REQUEST] = on_request },
    .on_done = on_done,
};
