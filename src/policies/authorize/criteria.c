/*
 * Compiling criteria to slices, and holding a request against them.  What the request says by itself is looked at
 * first, so that 401 is answered only where an identity could change the outcome.
 */
#include "policies/authorize/criteria.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/json.h"
#include "base/sys.h"
#include "exchange/exchange.h"
#include "exchange/forwarding.h"
#include "exchange/identity.h"
#include "http/uri.h"
#include "net/address.h"

struct names {
    struct slice *v;
    unsigned count;
};

struct path_pattern {
    struct slice text;
    bool below; /* and all that stands below it */
};

struct claim_rule {
    struct slice name;
    struct names values;
};

struct criteria {
    struct names consumers, groups, all_groups, scopes, all_scopes, methods;
    struct claim_rule *claims;
    struct path_pattern *paths;
    const struct network *addresses;
    unsigned claim_count, path_count, address_count;
    bool wants_identity;
};

/* ---- the schema ---- */

static const struct conf_type text_type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY };
static const struct conf_type values_type = {
    .kind = CONF_LIST, .item = &text_type, .flags = CONF_LONE | CONF_NONEMPTY, .max = 64
};

#define TEXTS(word, member, meaning)                                                                                   \
    {                                                                                                                  \
        word, { .kind = CONF_LIST, .item = &text_type, .max = 256, .flags = CONF_NONEMPTY },                           \
            CONF_AT(criteria_conf, member), CONF_LONE, NULL, meaning                                                   \
    }

static const struct conf_field criteria_fields[] = {
    TEXTS("consumers", consumers, "It is one of these consumers."),
    TEXTS("groups", groups, "It belongs to one of these groups."),
    TEXTS("all_groups", all_groups, "It belongs to all of these groups."),
    TEXTS("scopes", scopes, "Its token has one of these scopes."),
    TEXTS("all_scopes", all_scopes, "Its token has all of these scopes."),
    { "claims",
      { .kind = CONF_MAP, .item = &values_type, .max = 32 },
      CONF_AT(criteria_conf, claims),
      0,
      NULL,
      "Claims of the token or attributes of the consumer, each with the values of which it has one. Of a claim that is "
      "a list one item counts." },
    TEXTS("methods", methods, "The method is one of these, in capitals as a rule: they count with case."),
    TEXTS("paths", paths,
          "The path is one of these; `/admin/*` is `/admin` and all below it. Compared as routes are: without escapes "
          "and dot segments that hide what it is."),
    { "addresses",
      { .kind = CONF_LIST, .item = &network_type, .max = 1024, .flags = CONF_NONEMPTY },
      CONF_AT(criteria_conf, addresses),
      CONF_LONE,
      NULL,
      "The client's address is in one of these networks. It is the one that trusted hops tell "
      "(`forwarding.trusted`)." },
    CONF_END,
};
const struct conf_struct criteria_schema = {
    .name = "criteria",
    .size = sizeof(struct criteria_conf),
    .fields = criteria_fields,
    .doc = "What a rule of `authorize` asks. All that are given have to fit; one that has none fits every request.",
};

/* ---- compiling ---- */

static struct names compile_names(const struct conf_list *list)
{
    const char *const *items = list->items;
    struct names names = { NULL, 0 };
    if (list->count > 0)
        names.v = mem_must(list->count * sizeof(*names.v));
    for (size_t i = 0; i < list->count; i++)
        names.v[names.count++] = slice_from(items[i] ? items[i] : ""); /* a mistake that was told */
    return names;
}

static bool compile_path(struct conf *conf, const struct conf_node *node, const char *text, struct path_pattern *path)
{
    static const struct uri_rules rules;
    struct slice pattern = slice_from(text);
    *path = (struct path_pattern){ .below = slice_ends(pattern, SLICE("/*")) };
    if (path->below)
        pattern.len -= 2;
    bool fine = (path->below && pattern.len == 0) || (pattern.len > 0 && pattern.at[0] == '/');
    fine = fine && slice_find(pattern, '*') < 0 && slice_find(pattern, '?') < 0;
    if (fine && pattern.len > 0)
        fine = uri_settle(conf_arena(conf), pattern, &rules, &pattern) == 0;
    if (!fine)
        conf_error(conf, node, "`%s`: expected a path such as `/orders`, or `/admin/*` for all below", text);
    path->text = pattern;
    return fine;
}

static void compile_claims(struct criteria *c, const struct conf_list *map)
{
    if (map->count > 0)
        c->claims = mem_must(map->count * sizeof(*c->claims));
    for (size_t i = 0; i < map->count; i++) {
        const struct conf_entry *entry = conf_entry_at(map, &values_type, i);
        c->claims[c->claim_count++] =
            (struct claim_rule){ slice_from(entry->key),
                                 compile_names((const struct conf_list *)(const void *)entry->value) };
    }
}

struct criteria *criteria_compile(struct conf *conf, const struct conf_node *node, const struct criteria_conf *settings)
{
    struct criteria *c = mem_must(sizeof(*c));
    const char *const *paths = settings->paths.items;
    bool fine = true;
    c->consumers = compile_names(&settings->consumers);
    c->groups = compile_names(&settings->groups);
    c->all_groups = compile_names(&settings->all_groups);
    c->scopes = compile_names(&settings->scopes);
    c->all_scopes = compile_names(&settings->all_scopes);
    c->methods = compile_names(&settings->methods);
    compile_claims(c, &settings->claims);
    if (settings->paths.count > 0)
        c->paths = mem_must(settings->paths.count * sizeof(*c->paths));
    for (size_t i = 0; i < settings->paths.count; i++)
        fine &= paths[i] && compile_path(conf, node, paths[i], &c->paths[c->path_count++]);
    c->addresses = settings->addresses.items;
    c->address_count = (unsigned)settings->addresses.count;
    c->wants_identity = c->consumers.count || c->groups.count || c->all_groups.count || c->scopes.count ||
                        c->all_scopes.count || c->claim_count;
    if (fine)
        return c;
    criteria_free(c);
    return NULL;
}

void criteria_free(struct criteria *criteria)
{
    if (!criteria)
        return;
    for (unsigned i = 0; i < criteria->claim_count; i++)
        mem_free(criteria->claims[i].values.v);
    mem_free(criteria->claims);
    mem_free(criteria->paths);
    mem_free(criteria->consumers.v);
    mem_free(criteria->groups.v);
    mem_free(criteria->all_groups.v);
    mem_free(criteria->scopes.v);
    mem_free(criteria->all_scopes.v);
    mem_free(criteria->methods.v);
    mem_free(criteria);
}

/* ---- the request ---- */

static bool path_fits(const struct criteria *c, struct slice path)
{
    bool fits = c->path_count == 0;
    for (unsigned i = 0; !fits && i < c->path_count; i++) {
        const struct path_pattern *p = &c->paths[i];
        fits = slice_eq(path, p->text) ||
               (p->below && slice_starts(path, p->text) && path.len > p->text.len && path.at[p->text.len] == '/');
    }
    return fits;
}

/* A client whose address is not known is in no network. */
static bool address_fits(const struct criteria *c, const struct exchange *x)
{
    struct address address;
    bool fits = c->address_count == 0;
    if (fits || address_parse_ip(x->record.client, &address) < 0)
        return fits;
    for (unsigned i = 0; !fits && i < c->address_count; i++)
        fits = network_contains(&c->addresses[i], &address);
    return fits;
}

/* ---- the identity ---- */

static bool has_one(const struct names *wanted, const struct slice *list, unsigned count)
{
    bool fits = wanted->count == 0;
    for (unsigned i = 0; !fits && i < wanted->count; i++)
        fits = slices_have(list, count, wanted->v[i]);
    return fits;
}

static bool has_all(const struct names *wanted, const struct slice *list, unsigned count)
{
    for (unsigned i = 0; i < wanted->count; i++)
        if (!slices_have(list, count, wanted->v[i]))
            return false;
    return true;
}

static bool list_has(struct exchange *x, const struct names *wanted, struct slice text, bool *ret_unknown)
{
    struct json_error error = { 0 };
    const struct json *list = json_parse(x->arena, text, NULL, &error);
    *ret_unknown |= !list && error.out_of_memory;
    if (!list || list->kind != JSON_ARRAY)
        return false;
    for (const struct json *item = json_first(list); item; item = json_next(list, item)) {
        struct slice value = item->kind == JSON_STRING ? json_string(x->arena, item) : item->text;
        *ret_unknown |= !value.at;
        if (value.at && slices_have(wanted->v, wanted->count, value))
            return true;
    }
    return false;
}

static bool claims_fit(const struct criteria *c, struct exchange *x, bool *ret_unknown)
{
    for (unsigned i = 0; i < c->claim_count; i++) {
        const struct names *wanted = &c->claims[i].values;
        struct slice text = identity_claim(x->identity, c->claims[i].name);
        if (!text.at || !(slices_have(wanted->v, wanted->count, text) ||
                          (text.len > 0 && text.at[0] == '[' && list_has(x, wanted, text, ret_unknown))))
            return false;
    }
    return true;
}

static bool identity_fits(const struct criteria *c, struct exchange *x, bool *ret_unknown)
{
    const struct identity *id = x->identity;
    return (c->consumers.count == 0 || slices_have(c->consumers.v, c->consumers.count, id->consumer)) &&
           has_one(&c->groups, id->groups, id->group_count) && has_all(&c->all_groups, id->groups, id->group_count) &&
           has_one(&c->scopes, id->scopes, id->scope_count) && has_all(&c->all_scopes, id->scopes, id->scope_count) &&
           claims_fit(c, x, ret_unknown);
}

enum fit criteria_fit(const struct criteria *criteria, struct exchange *x)
{
    const struct names *methods = &criteria->methods;
    if ((methods->count > 0 && !slices_have(methods->v, methods->count, x->request->method_name)) ||
        !path_fits(criteria, x->request->path) || !address_fits(criteria, x))
        return FIT_NO;
    if (!criteria->wants_identity)
        return FIT_YES;
    if (!x->identity)
        return FIT_ANONYMOUS;
    bool unknown = false, fits = identity_fits(criteria, x, &unknown);
    return fits ? FIT_YES : unknown ? FIT_UNKNOWN : FIT_NO;
}
