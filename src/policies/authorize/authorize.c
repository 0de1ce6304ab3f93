/*
 * The authorize policy.  Rules in their order, the first that fits decides.  Without an identity a rule that asks for
 * one does not fit; when such a rule could have let the request through, it is 401 and not 403.
 */
#include "policies/authorize/policy_authorize.h"

#include "base/arena.h"
#include "base/sys.h"
#include "exchange/authentication.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "policies/authorize/criteria.h"

enum decision { DECISION_DENY, DECISION_ALLOW, DECISION_UNAUTHENTICATED, DECISION_REVOKED, DECISIONS };
enum { RULES_MAX = 256 };

struct rule_conf {
    struct criteria_conf *allow, *deny; /* one of them */
};

struct authorize_conf {
    struct conf_list rules; /* of struct rule_conf */
    int otherwise;          /* DECISION_DENY, DECISION_ALLOW */
};

struct rule {
    struct criteria *criteria;
    enum decision decision;
    struct slice words; /* for the log */
};

struct authorize {
    struct rule *rules;
    unsigned rule_count;
    enum decision otherwise;
    struct series *series[DECISIONS];
    metric_cell *places[DECISIONS];
};

static const struct metric_family authorizations_family = {
    .name = "maitred_authorizations_total",
    .help = "Requests that `authorize` decided on, by decision.",
    .kind = METRIC_COUNTER,
    .labels = { "decision" },
};
static const char *const decision_words[DECISIONS] = { "denied", "allowed", "unauthenticated", "revoked" };

/* ---- the schema ---- */

static const struct conf_field rule_fields[] = {
    { "allow",
      { .kind = CONF_STRUCT, .structure = &criteria_schema, .flags = CONF_POINTER },
      CONF_AT(rule_conf, allow),
      CONF_POINTER,
      NULL,
      "A request that fits goes on." },
    { "deny",
      { .kind = CONF_STRUCT, .structure = &criteria_schema, .flags = CONF_POINTER },
      CONF_AT(rule_conf, deny),
      CONF_POINTER,
      NULL,
      "A request that fits is refused." },
    CONF_END,
};

static void validate_rule(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct rule_conf *rule = value;
    if ((rule->allow != NULL) == (rule->deny != NULL))
        conf_error(conf, node, "a rule has either `allow` or `deny`");
}

static const struct conf_struct rule_schema = {
    .name = "rule",
    .size = sizeof(struct rule_conf),
    .fields = rule_fields,
    .validate = validate_rule,
    .doc = "One rule of `authorize`: `allow` or `deny`.",
};
static const struct conf_type rule_type = { .kind = CONF_STRUCT, .structure = &rule_schema };

static const struct conf_word otherwise_words[] = {
    { "deny", DECISION_DENY, "it is refused" },
    { "allow", DECISION_ALLOW, "it goes on" },
    { NULL },
};

static const struct conf_field authorize_fields[] = {
    { "rules",
      { .kind = CONF_LIST, .item = &rule_type, .max = RULES_MAX },
      CONF_AT(authorize_conf, rules),
      CONF_REQUIRED | CONF_NONEMPTY,
      NULL,
      "The first that fits decides." },
    { "default",
      { .kind = CONF_ENUM, .words = otherwise_words },
      CONF_AT(authorize_conf, otherwise),
      0,
      "deny",
      "What becomes of a request that no rule fits." },
    CONF_END,
};
const struct conf_struct authorize_schema = {
    .name = "authorize",
    .size = sizeof(struct authorize_conf),
    .fields = authorize_fields,
    .shorthand = "rules",
    .doc =
        "Says who may do what, behind the policies that say who it is: 401 when nobody is known and somebody could be "
        "allowed, else 403. CORS preflights pass.",
    .example = "authorize:\n"
               "  rules:\n"
               "    - deny: { paths: [ \"/admin/*\" ], addresses: [ 0.0.0.0/0 ] }\n"
               "    - allow: { groups: staff }\n"
               "    - allow: { methods: [ GET, HEAD ], all_scopes: [ orders:read ] }\n",
};

/* ---- loading ---- */

static void authorize_unload(void *data)
{
    struct authorize *p = data;
    for (unsigned i = 0; i < p->rule_count; i++)
        criteria_free(p->rules[i].criteria);
    for (int i = 0; i < DECISIONS; i++)
        if (p->series[i])
            series_drop(p->series[i]);
    mem_free(p->rules);
    mem_free(p);
}

static int load_rules(struct conf *conf, const struct conf_node *node, const struct authorize_conf *s,
                      struct authorize *p)
{
    const struct rule_conf *rules = s->rules.items;
    const struct conf_node *list = node && node->kind == NODE_MAP ? conf_get(node, "rules") : node;
    const struct conf_node *at = list ? list->first : NULL;
    int rc = 0;
    p->rules = mem_must(s->rules.count * sizeof(*p->rules));
    for (size_t i = 0; i < s->rules.count; i++, at = at ? at->next : NULL) {
        if ((rules[i].allow != NULL) == (rules[i].deny != NULL)) {
            rc = -1; /* told */
            continue;
        }
        struct rule *rule = &p->rules[p->rule_count++];
        rule->decision = rules[i].allow ? DECISION_ALLOW : DECISION_DENY;
        rule->criteria = criteria_compile(conf, at, rules[i].allow ? rules[i].allow : rules[i].deny);
        rule->words = arena_printf(conf_arena(conf), "rules[%zu] %s", i, rules[i].allow ? "allows it" : "denies it");
        if (!rule->criteria)
            rc = -1;
    }
    return rc;
}

static int authorize_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct authorize_conf *s = settings;
    struct authorize *p = mem_must(sizeof(*p));
    p->otherwise = (enum decision)s->otherwise;
    int rc = load_rules(conf, node, s, p);
    for (int i = 0; i < DECISIONS; i++) {
        const char *values[] = { decision_words[i], NULL };
        p->series[i] = series_get(&authorizations_family, values);
        p->places[i] = series_place(p->series[i]);
    }
    if (rc < 0)
        authorize_unload(p);
    else
        *ret_data = p;
    return rc;
}

/* ---- deciding ---- */

static enum decision decide(const struct authorize *p, struct exchange *x, struct slice *ret_words)
{
    bool somebody = false; /* an identity could have been let through by a rule before the one that decides */
    enum decision decision = p->otherwise;
    *ret_words = SLICE("no rule fits");
    for (unsigned i = 0; i < p->rule_count; i++) {
        enum fit fit = criteria_fit(p->rules[i].criteria, x);
        if (fit == FIT_ANONYMOUS)
            somebody |= p->rules[i].decision == DECISION_ALLOW;
        if (fit == FIT_UNKNOWN) {
            *ret_words = SLICE("there was no memory to tell");
            return DECISION_DENY;
        }
        if (fit != FIT_YES)
            continue;
        *ret_words = p->rules[i].words;
        decision = p->rules[i].decision;
        break;
    }
    return decision == DECISION_DENY && somebody ? DECISION_UNAUTHENTICATED : decision;
}

/* With what the policies in front would have taken. */
static void ask_for_identity(struct exchange *x)
{
    const struct challenge *c = x->challenges;
    exchange_fail(x, ERR_UNAUTHENTICATED, SLICE_EMPTY);
    int rc = 0;
    if (!c)
        rc = fields_add_id(&x->response.fields, x->arena, FIELD_WWW_AUTHENTICATE, SLICE("Bearer realm=\"maitred\""));
    for (; c && rc == 0; c = c->next)
        rc = fields_add_id(&x->response.fields, x->arena, FIELD_WWW_AUTHENTICATE, c->text);
    if (rc < 0)
        exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
}

static enum verdict on_request(struct exchange *x, void *state, const void *data)
{
    const struct authorize *p = data;
    struct slice words = SLICE("the credential is revoked");
    if (exchange_is_preflight(x))
        return NEXT;
    enum decision decision = DECISION_REVOKED;
    if (!identity_revoked(x, x->identity))
        decision = decide(p, x, &words);
    place_add(p->places[decision], x->worker->index, 1);
    x->record.access = words;
    if (decision == DECISION_ALLOW)
        return NEXT;
    if (decision == DECISION_DENY)
        exchange_fail(x, ERR_FORBIDDEN, SLICE_EMPTY);
    else
        ask_for_identity(x);
    return REPLIED;
}

const struct policy_type policy_authorize = {
    .name = "authorize",
    .schema = &authorize_schema,
    .load = authorize_load,
    .unload = authorize_unload,
    .on_head = { [DIR_REQUEST] = on_request },
};
