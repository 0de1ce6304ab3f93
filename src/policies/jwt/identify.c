/*
 * Reading an identity out of claims.
 */
#include "policies/jwt/identify.h"

#include "base/arena.h"
#include "base/json.h"
#include "http/fields.h"
#include "policies/jwt/jwt.h"
#include "policies/jwt/verified.h"

/* ---- claims as text ---- */

/* A string as it is, anything else as JSON. at == NULL without memory. */
static struct slice text_of(struct arena *arena, const struct json *value)
{
    struct json_out out;
    switch (value->kind) {
    case JSON_STRING:
        return json_string(arena, value);
    case JSON_NUMBER:
        return value->text;
    case JSON_TRUE:
        return SLICE("true");
    case JSON_FALSE:
        return SLICE("false");
    case JSON_NULL:
        return SLICE("null");
    default:
        break;
    }
    json_out_init(&out, 0);
    json_put(&out, value);
    struct slice text = out.failed ? SLICE_EMPTY : arena_copy(arena, slice_make(out.buf, out.len));
    json_out_done(&out);
    return text;
}

static enum jose_fault list_claims(struct arena *arena, const struct json *root, struct identity *identity)
{
    unsigned count = 0;
    struct claim *list = arena_alloc(arena, (root->count + 1) * sizeof(*list));
    if (!list)
        return JOSE_MEMORY;
    for (const struct json *name = json_first(root); name; name = json_next(root, json_next(root, name))) {
        list[count] = (struct claim){ json_string(arena, name), text_of(arena, json_next(root, name)) };
        if (!list[count].name.at || !list[count].text.at)
            return JOSE_MEMORY;
        count++;
    }
    identity->claims = list;
    identity->claim_count = count;
    return JOSE_OK;
}

/* The strings of a list; of a text its words, or with `words` false the text as one. Anything else is none. */
static enum jose_fault list_texts(struct arena *arena, const struct json *value, bool words,
                                  const struct slice **ret_list, unsigned *ret_count)
{
    struct slice rest = SLICE_EMPTY;
    *ret_list = NULL;
    *ret_count = 0;
    if (!value || (value->kind != JSON_ARRAY && value->kind != JSON_STRING))
        return JOSE_OK;
    if (value->kind == JSON_STRING) {
        rest = json_string(arena, value);
        if (!rest.at)
            return JOSE_MEMORY;
    }
    size_t most = value->kind == JSON_ARRAY ? value->count : words ? rest.len / 2 + 1 : 1;
    struct slice *list = arena_alloc(arena, (most + 1) * sizeof(*list));
    if (!list)
        return JOSE_MEMORY;
    *ret_list = list;
    if (value->kind == JSON_STRING && !words && rest.len > 0)
        list[(*ret_count)++] = rest;
    while (value->kind == JSON_STRING && words && rest.at) {
        struct slice word = slice_cut(&rest, ' ');
        if (word.len > 0)
            list[(*ret_count)++] = word;
    }
    if (value->kind == JSON_STRING)
        return JOSE_OK;
    for (const struct json *one = json_first(value); one; one = json_next(value, one)) {
        if (one->kind != JSON_STRING || one->text.len == 0)
            continue;
        list[*ret_count] = json_string(arena, one);
        if (!list[(*ret_count)++].at)
            return JOSE_MEMORY;
    }
    return JOSE_OK;
}

/* ---- fields for the service ---- */

/* Texts of a list with commas between them: one that has a comma itself could be taken for two, and is refused. */
static enum jose_fault join(struct arena *arena, const struct json *list, struct slice *ret_text)
{
    size_t len = 0, used = 0;
    for (const struct json *one = json_first(list); one; one = json_next(list, one)) {
        struct slice text = text_of(arena, one);
        if (!text.at)
            return JOSE_MEMORY;
        if (one->kind == JSON_ARRAY || one->kind == JSON_OBJECT || slice_find(text, ',') >= 0)
            return JOSE_CLAIMS;
        len += text.len + 1;
    }
    char *at = arena_alloc(arena, len + 1);
    if (!at)
        return JOSE_MEMORY;
    for (const struct json *one = json_first(list); one; one = json_next(list, one)) {
        struct slice text = text_of(arena, one);
        if (!text.at)
            return JOSE_MEMORY;
        if (used > 0)
            at[used++] = ',';
        (void)slice_put(text, at + used);
        used += text.len;
    }
    *ret_text = slice_make(at, used);
    return JOSE_OK;
}

static enum jose_fault value_of(struct arena *arena, const struct json *claim, struct slice *ret_text)
{
    *ret_text = SLICE_EMPTY;
    if (!claim || claim->kind == JSON_NULL)
        return JOSE_OK;
    if (claim->kind == JSON_ARRAY) {
        enum jose_fault fault = join(arena, claim, ret_text);
        if (fault != JOSE_OK)
            return fault;
    } else {
        *ret_text = text_of(arena, claim);
    }
    if (!ret_text->at)
        return JOSE_MEMORY;
    return field_value_valid(*ret_text) ? JOSE_OK : JOSE_CLAIMS;
}

static enum jose_fault list_values(const struct jwt *jwt, struct arena *arena, const struct json *root,
                                   struct verified *v)
{
    struct slice *values = arena_alloc(arena, (jwt->header_count + 1) * sizeof(*values));
    if (!values)
        return JOSE_MEMORY;
    v->values = values;
    v->value_count = jwt->header_count;
    for (unsigned i = 0; i < jwt->header_count; i++) {
        enum jose_fault fault = value_of(arena, claims_find(root, jwt->headers[i].claim), &values[i]);
        if (fault != JOSE_OK)
            return fault;
    }
    return JOSE_OK;
}

/* ---- rights ---- */

static bool value_fits(struct arena *arena, const struct json *value, const char *wanted)
{
    if (value->kind == JSON_ARRAY) {
        for (const struct json *one = json_first(value); one; one = json_next(value, one))
            if (one->kind != JSON_ARRAY && value_fits(arena, one, wanted))
                return true;
        return false;
    }
    if (value->kind == JSON_NULL)
        return false;
    if (strcmp(wanted, "*") == 0)
        return true;
    struct slice text = value->kind == JSON_OBJECT ? SLICE_EMPTY : text_of(arena, value);
    return text.at && slice_eq(text, slice_from(wanted));
}

static bool claim_fits(struct arena *arena, const struct json *root, const struct conf_entry *entry)
{
    const struct conf_list *wanted = (const struct conf_list *)(const void *)entry->value;
    const char *const *texts = wanted->items;
    const struct json *value = claims_find(root, entry->key);
    for (size_t i = 0; value && i < wanted->count; i++)
        if (value_fits(arena, value, texts[i]))
            return true;
    return false;
}

static enum rights rights_of(const struct jwt *jwt, struct arena *arena, const struct json *root,
                             const struct identity *identity)
{
    const struct jwt_require_conf *require = &jwt->conf->require;
    const char *const *scopes = require->scopes.items;
    for (size_t i = 0; i < require->scopes.count; i++)
        if (!identity_has_scope(identity, slice_from(scopes[i])))
            return RIGHTS_SCOPE;
    for (size_t i = 0; i < require->claims.count; i++)
        if (!claim_fits(arena, root, conf_entry_at(&require->claims, &jwt_texts_type, i)))
            return RIGHTS_CLAIM;
    return RIGHTS_OK;
}

/* ---- all of it ---- */

static enum jose_fault name_consumer(const struct jwt *jwt, struct arena *arena, const struct json *root,
                                     struct identity *identity)
{
    const char *name = jwt->conf->consumer_claim;
    const struct json *claim = name ? claims_find(root, name) : NULL;
    if (!claim || (claim->kind != JSON_STRING && claim->kind != JSON_NUMBER))
        return JOSE_OK;
    identity->consumer = text_of(arena, claim);
    return identity->consumer.at ? JOSE_OK : JOSE_MEMORY;
}

enum jose_fault identify(const struct jwt *jwt, struct arena *arena, const struct claims *claims,
                         struct verified *ret_verified)
{
    const struct json *root = claims->root;
    struct identity *id = &ret_verified->identity;
    *id = (struct identity){
        .method = "jwt", .subject = claims->subject, .credential = claims->id, .session = claims->session
    };
    ret_verified->expires_s = claims->expires_s;
    ret_verified->not_before_s = claims->not_before_s;
    ret_verified->issued_s = claims->issued_s;
    enum jose_fault fault = name_consumer(jwt, arena, root, id);
    if (fault == JOSE_OK)
        fault = list_texts(arena, claims_find(root, jwt->conf->scopes_claim), true, &id->scopes, &id->scope_count);
    if (fault == JOSE_OK)
        fault = list_texts(arena, claims_find(root, jwt->conf->groups_claim), false, &id->groups, &id->group_count);
    if (fault == JOSE_OK)
        fault = list_claims(arena, root, id);
    if (fault == JOSE_OK)
        fault = list_values(jwt, arena, root, ret_verified);
    if (fault == JOSE_OK)
        ret_verified->rights = (uint8_t)rights_of(jwt, arena, root, id);
    return fault;
}
