/*
 * The all_of policy.  Every part has to accept a credential, and no two of them may say two consumers.  The identity is
 * the first one's, with the groups, scopes and claims of all; each part stays known, so that revoking one credential
 * revokes the whole.
 */
#include "policies/all_of/policy_all_of.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/sys.h"
#include "exchange/authentication.h"
#include "exchange/exchange.h"
#include "policies/composition.h"
#include "policies/registry.h"

struct all_of_state {
    struct composition_state parts;
    const struct identity *merged; /* of the parts before; NULL: none yet */
    unsigned at;
    bool begun, running;
};

static const struct conf_type part_type = { .kind = CONF_UNION, .registry = &authentication_registry };

static const struct conf_field all_of_fields[] = {
    { "policies",
      { .kind = CONF_LIST, .item = &part_type, .max = COMPOSED_MAX },
      CONF_AT(composition_conf, policies),
      CONF_REQUIRED | CONF_NONEMPTY,
      NULL,
      "Those that all have to accept a credential, in the order in which they are asked." },
    CONF_END,
};
const struct conf_struct all_of_schema = {
    .name = "all_of",
    .size = sizeof(struct composition_conf),
    .fields = all_of_fields,
    .shorthand = "policies",
    .depth_max = 4,
    .doc = "Takes several credentials together: each policy has to accept one, and none may name another consumer than "
           "the others. The first that refuses answers.",
    .example = "all_of:\n  - client_certificate: {}\n  - api_key: {}\n",
};

/* ---- merging ---- */

/* Both lists in one, of items of a size. */
static void *join(struct exchange *x, const void *a, unsigned a_count, const void *b, unsigned b_count, size_t size)
{
    char *list = arena_alloc(x->arena, (a_count + b_count) * size + 1);
    if (list && a_count > 0)
        memcpy(list, a, a_count * size);
    if (list && b_count > 0)
        memcpy(list + a_count * size, b, b_count * size);
    return list;
}

static struct slice either(struct slice first, struct slice second)
{
    return first.len > 0 ? first : second;
}

/* The chain of parts that revocations are looked up in: those of `next` in front of what is there. */
static bool add_parts(struct exchange *x, struct identity *merged, const struct identity *next)
{
    for (const struct identity *part = next; part; part = part->also) {
        struct identity *copy = arena_alloc(x->arena, sizeof(*copy));
        if (!copy)
            return false;
        *copy = *part;
        copy->also = merged->also;
        merged->also = copy;
    }
    return true;
}

/* NULL without memory. */
static const struct identity *merge(struct exchange *x, const struct identity *a, const struct identity *b)
{
    struct identity *merged = arena_alloc(x->arena, sizeof(*merged));
    if (!merged)
        return NULL;
    *merged = *a;
    merged->method = "all_of";
    merged->consumer = either(a->consumer, b->consumer);
    merged->subject = either(a->subject, b->subject);
    merged->session = either(a->session, b->session);
    merged->groups = join(x, a->groups, a->group_count, b->groups, b->group_count, sizeof(*a->groups));
    merged->scopes = join(x, a->scopes, a->scope_count, b->scopes, b->scope_count, sizeof(*a->scopes));
    merged->claims = join(x, a->claims, a->claim_count, b->claims, b->claim_count, sizeof(*a->claims));
    merged->group_count = a->group_count + b->group_count;
    merged->scope_count = a->scope_count + b->scope_count;
    merged->claim_count = a->claim_count + b->claim_count;
    return merged->groups && merged->scopes && merged->claims && add_parts(x, merged, b) ? merged : NULL;
}

/* ---- running ---- */

static enum verdict fail(struct exchange *x, enum err err, const char *why)
{
    if (why)
        x->record.access = slice_from(why);
    exchange_fail(x, err, SLICE_EMPTY);
    return REPLIED;
}

/* A part that is content without a credential (`required: false`) is not content here. */
static enum verdict refuse_absent(struct exchange *x)
{
    const struct challenge *c = x->challenges;
    enum verdict verdict = fail(x, ERR_UNAUTHENTICATED, "one of the credentials is missing");
    if (c && fields_add_id(&x->response.fields, x->arena, FIELD_WWW_AUTHENTICATE, c->text) < 0)
        return fail(x, ERR_MEMORY, NULL);
    return verdict;
}

static enum verdict take_in(struct exchange *x, struct all_of_state *st)
{
    const struct identity *next = x->identity;
    if (!next)
        return refuse_absent(x);
    if (st->merged && st->merged->consumer.len > 0 && next->consumer.len > 0 &&
        !slice_eq(st->merged->consumer, next->consumer))
        return fail(x, ERR_FORBIDDEN, "the credentials are those of two consumers");
    st->merged = st->merged ? merge(x, st->merged, next) : next;
    return st->merged ? NEXT : fail(x, ERR_MEMORY, NULL);
}

static enum verdict run_all(struct exchange *x, const struct composition *c, struct all_of_state *st)
{
    for (; st->at < c->count; st->at++) {
        bool refused;
        if (!st->running)
            x->identity = NULL;
        st->running = true;
        enum verdict verdict = composition_run(x, c, &st->parts, st->at, false, &refused);
        if (verdict == WAIT)
            return WAIT;
        st->running = false;
        if (verdict == NEXT)
            verdict = take_in(x, st);
        if (verdict != NEXT)
            return verdict;
    }
    x->identity = st->merged;
    if (st->merged->consumer.len > 0)
        x->record.consumer = st->merged->consumer;
    return NEXT;
}

static enum verdict on_request(struct exchange *x, void *state, const void *data)
{
    const struct composition *c = data;
    struct all_of_state *st = state;
    if (!st->begun) {
        st->begun = true;
        st->parts.local = exchange_local(x, &policy_all_of);
        composition_disclaim(c, &x->request->fields);
        if (exchange_is_preflight(x))
            return composition_strip(x, c) == 0 ? NEXT : fail(x, ERR_MEMORY, NULL);
    }
    return run_all(x, c, st);
}

/* ---- the rest ---- */

static void on_done(struct exchange *x, void *state, const void *data)
{
    struct all_of_state *st = state;
    if (!st)
        return;
    x->identity = x->identity == st->merged ? NULL : x->identity; /* what it points to goes with the parts */
    composition_done(x, data, &st->parts);
}

static int all_of_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct composition_conf *s = settings;
    struct composition *c;
    int rc = composition_load(conf, &s->policies, &c);
    if (rc == 0)
        *ret_data = c;
    return rc;
}

static void all_of_unload(void *data)
{
    composition_unload(data);
}

static void all_of_begin(void *data, const struct policy_ground *ground)
{
    composition_begin(data, ground);
}

static int all_of_attach(void *data, struct worker *worker, void **ret_local)
{
    struct composition_local *local;
    int rc = composition_attach(data, worker, &local);
    if (rc == 0)
        *ret_local = local;
    return rc;
}

static void all_of_detach(void *data, struct worker *worker, void *local)
{
    composition_detach(data, worker, local);
}

static int all_of_strip(struct exchange *x, const void *data)
{
    return composition_strip(x, data);
}

static void all_of_disclaim(const void *data, struct fields *fields)
{
    composition_disclaim(data, fields);
}

const struct policy_type policy_all_of = {
    .name = "all_of",
    .schema = &all_of_schema,
    .state_size = sizeof(struct all_of_state),
    .authenticates = true,
    .strip = all_of_strip,
    .disclaim = all_of_disclaim,
    .load = all_of_load,
    .unload = all_of_unload,
    .begin = all_of_begin,
    .attach = all_of_attach,
    .detach = all_of_detach,
    .on_head = { [DIR_REQUEST] = on_request },
    .on_done = on_done,
};
