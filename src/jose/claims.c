/*
 * Reading the registered claims and checking them.
 */
#include "jose/claims.h"

#include "base/arena.h"
#include "base/json.h"

enum { NAME_MAX_HERE = 128 };

static const int64_t year_9999_s = 253402300799; /* nothing that is meant as a date is beyond it */
static const struct json_limits limits = { .depth_max = CLAIM_DEPTH_MAX, .entries_max = CLAIM_ENTRIES_MAX };

/* "1300819380" and "1300819380.93", which RFC 7519, 2 allows; exponents count where the number is whole. */
static bool to_seconds(const struct json *number, int64_t *ret_seconds)
{
    if (number->kind != JSON_NUMBER)
        return false;
    if (!json_to_i64(number, ret_seconds)) {
        struct slice rest = number->text, whole = slice_cut(&rest, '.');
        for (size_t i = 0; i < rest.len; i++)
            if (rest.at[i] < '0' || rest.at[i] > '9')
                return false;
        if (!rest.at || !slice_to_u63(whole, ret_seconds))
            return false;
    }
    return *ret_seconds >= 0 && *ret_seconds <= year_9999_s;
}

static bool take_time(const struct json *root, const char *name, int64_t *ret_seconds)
{
    const struct json *member = json_get(root, name);
    *ret_seconds = -1;
    return !member || to_seconds(member, ret_seconds);
}

/* Text that, when it is there, says something. */
static bool take_text(struct arena *arena, const struct json *root, const char *name, struct slice *ret_text,
                      bool *memory)
{
    const struct json *member = json_get(root, name);
    *ret_text = SLICE_EMPTY;
    if (!member)
        return true;
    if (member->kind != JSON_STRING || member->text.len == 0)
        return false;
    *ret_text = json_string(arena, member);
    *memory |= ret_text->at == NULL;
    return true;
}

enum jose_fault claims_parse(struct arena *arena, struct slice text, struct claims *ret_claims)
{
    struct json_error error;
    bool memory = false;
    struct claims *c = ret_claims;
    *c = (struct claims){ .arena = arena, .root = json_parse(arena, text, &limits, &error) };
    if (!c->root)
        return error.out_of_memory ? JOSE_MEMORY : JOSE_CLAIMS;
    if (c->root->kind != JSON_OBJECT)
        return JOSE_CLAIMS;
    bool good = take_time(c->root, "exp", &c->expires_s) && take_time(c->root, "nbf", &c->not_before_s) &&
                take_time(c->root, "iat", &c->issued_s) && take_text(arena, c->root, "iss", &c->issuer, &memory) &&
                take_text(arena, c->root, "sub", &c->subject, &memory) &&
                take_text(arena, c->root, "jti", &c->id, &memory) &&
                take_text(arena, c->root, "sid", &c->session, &memory);
    if (memory)
        return JOSE_MEMORY;
    return good ? JOSE_OK : JOSE_CLAIMS;
}

const struct json *claims_find(const struct json *root, const char *name)
{
    char part[NAME_MAX_HERE];
    const struct json *found = json_get(root, name);
    if (found || !strchr(name, '.'))
        return found;
    struct slice rest = slice_from(name);
    while (root && rest.at) {
        struct slice step = slice_cut(&rest, '.');
        if (step.len >= sizeof(part))
            return NULL;
        *slice_put(step, part) = '\0';
        root = json_get(root, part);
    }
    return root;
}

static bool is_among(struct slice text, const char *const *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (slice_eq(text, slice_from(list[i])))
            return true;
    return false;
}

/* Without memory it is not among them. */
static bool string_is_among(const struct claims *claims, const struct json *string, const struct claim_rules *rules)
{
    struct slice text = json_string(claims->arena, string);
    return text.at && is_among(text, rules->audiences, rules->audience_count);
}

static enum jose_fault check_audience(const struct claims *claims, const struct claim_rules *rules)
{
    const struct json *aud = json_get(claims->root, "aud");
    bool mine = false;
    if (!aud)
        return rules->audience_count == 0 ? JOSE_OK : JOSE_AUDIENCE;
    if (aud->kind == JSON_ARRAY) {
        for (const struct json *one = json_first(aud); one; one = json_next(aud, one)) {
            if (one->kind != JSON_STRING)
                return JOSE_CLAIMS;
            mine |= string_is_among(claims, one, rules);
        }
    } else if (aud->kind == JSON_STRING) {
        mine = string_is_among(claims, aud, rules);
    } else {
        return JOSE_CLAIMS;
    }
    return mine || rules->audience_count == 0 ? JOSE_OK : JOSE_AUDIENCE;
}

enum jose_fault claims_check(const struct claims *claims, const struct claim_rules *rules)
{
    if (claims->expires_s < 0 && !rules->expiry_optional)
        return JOSE_NO_EXPIRY;
    if (rules->issuer_count > 0 &&
        !(claims->issuer.at && is_among(claims->issuer, rules->issuers, rules->issuer_count)))
        return JOSE_ISSUER;
    if (rules->lifetime_max_s > 0 &&
        (claims->expires_s < 0 || claims->issued_s < 0 || claims->expires_s - claims->issued_s > rules->lifetime_max_s))
        return JOSE_LIFETIME;
    return check_audience(claims, rules);
}

enum jose_fault claims_check_times(int64_t expires_s, int64_t not_before_s, int64_t issued_s, int64_t skew_s,
                                   int64_t now_s)
{
    if (expires_s >= 0 && now_s >= expires_s + skew_s)
        return JOSE_EXPIRED;
    if (not_before_s >= 0 && now_s + skew_s < not_before_s)
        return JOSE_NOT_YET;
    if (issued_s >= 0 && now_s + skew_s < issued_s)
        return JOSE_FUTURE;
    return JOSE_OK;
}
