/*
 * Where the token stands in a request, and taking it out again.
 */
#include "base/arena.h"
#include "exchange/authentication.h"
#include "exchange/exchange.h"
#include "http/cookie.h"
#include "http/query.h"
#include "policies/jwt/jwt.h"

/* Behind its scheme; at == NULL when the field's value is of another one. */
static struct slice behind_scheme(struct slice value, struct slice scheme)
{
    if (scheme.len == 0)
        return slice_trim(value);
    size_t len = value.len;
    if (!slice_eq_nocase(authentication_scheme(&value), scheme) || len == scheme.len)
        return SLICE_EMPTY;
    return value;
}

static bool is_of(const struct field *field, const struct place *place)
{
    if (place->field != FIELD_OTHER)
        return field->id == place->field;
    return field->id == FIELD_OTHER && slice_eq_nocase(field->name, place->header);
}

static enum found in_fields(const struct place *place, const struct fields *fields, struct slice *ret_token)
{
    unsigned count = 0, all = 0;
    FIELDS_FOR_EACH (field, fields) {
        struct slice token = is_of(field, place) ? behind_scheme(field->value, place->scheme) : SLICE_EMPTY;
        all += field->id == FIELD_AUTHORIZATION && is_of(field, place);
        if (!token.at)
            continue;
        *ret_token = token;
        count++;
    }
    if (count == 0)
        return FOUND_NONE;
    return count == 1 && all <= 1 ? FOUND_ONE : FOUND_SEVERAL; /* who knows which of them the service would read */
}

static enum found in_query(const struct place *place, const struct exchange *x, struct slice *ret_token)
{
    struct slice encoded = query_find(x->request->query, place->query);
    if (!encoded.at)
        return FOUND_NONE;
    if (query_count(x->request->query, place->query) > 1)
        return FOUND_SEVERAL;
    return query_decode(x->arena, encoded, ret_token) < 0 ? FOUND_NO_MEMORY : FOUND_ONE;
}

static enum found found_of(unsigned count)
{
    return count == 0 ? FOUND_NONE : count == 1 ? FOUND_ONE : FOUND_SEVERAL;
}

static enum found look(const struct place *place, const struct exchange *x, struct slice *ret_token)
{
    if (place->header.at)
        return in_fields(place, &x->request->fields, ret_token);
    if (place->query.at)
        return in_query(place, x, ret_token);
    return found_of(cookie_count(&x->request->fields, place->cookie, ret_token));
}

enum found credential_find(const struct jwt *jwt, const struct exchange *x, struct slice *ret_token)
{
    for (unsigned i = 0; i < jwt->place_count; i++) {
        enum found found = look(&jwt->places[i], x, ret_token);
        if (found != FOUND_NONE)
            return found;
    }
    return FOUND_NONE;
}

/* ---- taking it out ---- */

static void strip_fields(const struct place *place, struct fields *fields)
{
    FIELDS_FOR_EACH (field, fields) {
        if (is_of(field, place) && behind_scheme(field->value, place->scheme).at)
            field_remove(field);
    }
}

int credential_hide(const struct jwt *jwt, struct exchange *x)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < jwt->place_count; i++)
        if (jwt->places[i].query.at)
            rc = query_remove(x->arena, x->record.query, jwt->places[i].query, &x->record.query);
    return rc;
}

static int strip_query(const struct place *place, struct exchange *x)
{
    struct slice query;
    int rc = query_remove(x->arena, x->request->query, place->query, &query);
    if (rc < 0)
        return rc;
    if (query.len == 0 && x->request->query.len > 0)
        x->request->has_query = false;
    x->request->query = query;
    return 0;
}

int credential_strip(const struct jwt *jwt, struct exchange *x)
{
    int rc = 0;
    for (unsigned i = 0; !jwt->conf->forward && rc == 0 && i < jwt->place_count; i++) {
        const struct place *place = &jwt->places[i];
        if (place->query.at)
            rc = strip_query(place, x);
        else if (place->header.at)
            strip_fields(place, &x->request->fields);
        else
            rc = cookie_remove(&x->request->fields, x->arena, place->cookie);
    }
    return rc;
}
