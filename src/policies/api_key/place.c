/*
 * Places of keys.  A service must not see another key than the one that was looked up here, so names are compared as
 * services read them (parameters decoded, fields without case), and a key that stands there twice is no key.
 */
#include "policies/api_key/place.h"

#include "base/arena.h"
#include "exchange/authentication.h"
#include "exchange/exchange.h"
#include "http/cookie.h"
#include "http/query.h"

/* ---- the setting ---- */

static bool place_named(struct conf *conf, const struct conf_node *node, struct key_place *place)
{
    struct slice name = place->name;
    if (!field_name_valid(name)) {
        conf_error(conf, node, "`%.*s` is no name of a field, a parameter, a cookie or a scheme", SLICE_ARG(name));
        return false;
    }
    if (place->where == KEY_HEADER && field_id(name) != FIELD_OTHER) {
        conf_error(conf, node, "`%.*s` has a meaning of its own: use a name such as `X-Api-Key`%s", SLICE_ARG(name),
                   field_id(name) == FIELD_AUTHORIZATION ? ", or `authorization SCHEME`" : "");
        return false;
    }
    return true;
}

int key_place_parse(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    static const struct {
        struct slice word;
        enum key_where where;
    } words[] = {
        { { "header ", 7 }, KEY_HEADER },
        { { "query ", 6 }, KEY_QUERY },
        { { "cookie ", 7 }, KEY_COOKIE },
        { { "authorization ", 14 }, KEY_AUTHORIZATION },
    };
    struct key_place *place = ret_value;
    for (size_t i = 0; node->kind == NODE_SCALAR && i < sizeof(words) / sizeof(words[0]); i++) {
        if (!slice_starts(node->text, words[i].word))
            continue;
        struct slice rest = { node->text.at + words[i].word.len, node->text.len - words[i].word.len };
        *place = (struct key_place){ words[i].where, slice_trim(rest) };
        return place_named(conf, node, place) ? 0 : -1;
    }
    conf_error(conf, node, "expected `header NAME`, `query NAME`, `cookie NAME` or `authorization SCHEME`");
    return -1;
}

/* ---- reading ---- */

static unsigned read_field(const struct exchange *x, struct slice name, struct slice *ret_key)
{
    unsigned count = 0;
    FIELDS_FOR_EACH (f, &x->request->fields) {
        if (f->id == FIELD_OTHER && slice_eq_nocase(f->name, name)) {
            *ret_key = f->value;
            count++;
        }
    }
    return count;
}

/* Of "SCHEME key". Another scheme is somebody else's; but two fields of that name are nobody's. */
static unsigned read_authorization(const struct exchange *x, struct slice scheme, struct slice *ret_key)
{
    unsigned fields = 0, found = 0;
    FIELDS_FOR_EACH (f, &x->request->fields) {
        if (f->id != FIELD_AUTHORIZATION)
            continue;
        struct slice rest = f->value;
        fields++;
        if (!slice_eq_nocase(authentication_scheme(&rest), scheme))
            continue;
        *ret_key = rest;
        found++;
    }
    return found > 0 ? fields : 0;
}

int key_read(struct exchange *x, const struct key_place *place, enum key_found *ret_found, struct slice *ret_key)
{
    unsigned count = 0;
    int rc = 0;
    *ret_key = SLICE_EMPTY;
    switch (place->where) {
    case KEY_HEADER:
        count = read_field(x, place->name, ret_key);
        break;
    case KEY_AUTHORIZATION:
        count = read_authorization(x, place->name, ret_key);
        break;
    case KEY_COOKIE:
        count = cookie_count(&x->request->fields, place->name, ret_key);
        break;
    case KEY_QUERY:
        count = query_count(x->request->query, place->name);
        if (count == 1)
            rc = query_decode(x->arena, query_find(x->request->query, place->name), ret_key);
        break;
    }
    *ret_found = count == 0 ? KEY_NONE : count == 1 ? KEY_THERE : KEY_TWICE;
    return rc;
}

/* ---- taking out ---- */

static void strip_authorization(struct exchange *x, struct slice scheme)
{
    FIELDS_FOR_EACH (f, &x->request->fields) {
        struct slice rest = f->value;
        if (f->id == FIELD_AUTHORIZATION && slice_eq_nocase(authentication_scheme(&rest), scheme))
            field_remove(f);
    }
}

int key_strip(struct exchange *x, const struct key_place *place)
{
    struct message *m = x->request;
    switch (place->where) {
    case KEY_HEADER:
        fields_remove_name(&m->fields, place->name);
        return 0;
    case KEY_AUTHORIZATION:
        strip_authorization(x, place->name);
        return 0;
    case KEY_COOKIE:
        return cookie_remove(&m->fields, x->arena, place->name);
    case KEY_QUERY:
        break;
    }
    unsigned count = query_count(m->query, place->name);
    int rc = count > 0 ? query_remove(x->arena, m->query, place->name, &m->query) : 0;
    if (rc == 0 && count > 0 && m->query.len == 0)
        m->has_query = false; /* it held nothing else */
    return rc;
}

int key_hide(struct exchange *x, const struct key_place *place)
{
    if (place->where != KEY_QUERY)
        return 0;
    return query_remove(x->arena, x->record.query, place->name, &x->record.query);
}
