/*
 * The jwt policy: finding the token, checking it or knowing it already, saying whose it is.
 *
 *      token -> cache? -> parse -> keys (or wait for them) -> signature -> claims -> identity -> cache -> admit
 *
 * The clock is looked at for every token, remembered or not, and admit is passed by every one: whether it was revoked
 * is asked there.
 */
#include "policies/jwt/jwt.h"
#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "exchange/authentication.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "jose/token.h"
#include "jose/verify.h"
#include "policies/jwt/identify.h"
#include "policies/jwt/policy_jwt.h"
#include "policies/jwt/verified.h"

enum { NS_PER_S = 1000000000 };

/* ---- checking ---- */

static int64_t now_s(const struct exchange *x)
{
    return (int64_t)(x->worker->loop.wall_ns / NS_PER_S);
}

static enum jose_fault check_times(const struct jwt *jwt, const struct exchange *x, const struct verified *v)
{
    return claims_check_times(v->expires_s, v->not_before_s, v->issued_s, jwt->rules.skew_s, now_s(x));
}

/* Behind a good signature: all that the claims have to say. */
static enum jose_fault check_claims(const struct jwt *jwt, struct exchange *x, const struct jws *jws,
                                    struct verified *ret_verified)
{
    struct claims claims;
    enum jose_fault fault = claims_parse(x->arena, jws->payload, &claims);
    if (fault == JOSE_OK)
        fault = claims_check(&claims, &jwt->rules);
    if (fault == JOSE_OK)
        fault = identify(jwt, x->arena, &claims, ret_verified);
    return fault == JOSE_OK ? check_times(jwt, x, ret_verified) : fault;
}

static enum jose_fault check_signature(const struct jwt *jwt, const struct jwt_local *local, struct exchange *x,
                                       struct slice token, struct jws *ret_jws)
{
    enum jose_fault fault = jws_parse(x->arena, token, (size_t)jwt->conf->token_bytes_max, jwt->algorithms, ret_jws);
    if (fault == JOSE_OK && jwt->conf->type && !jws_type_is(ret_jws, slice_from(jwt->conf->type)))
        fault = JOSE_TYPE;
    if (fault != JOSE_OK)
        return fault;
    return local->keys ? jws_verify(local->keys, ret_jws) : JOSE_UNKNOWN_KEY;
}

/* A key may have come meanwhile. Where tokens or keys have no `kid`, a key that is new looks like a bad signature. */
static bool may_be_newer(enum jose_fault fault, const struct jws *jws)
{
    return fault == JOSE_UNKNOWN_KEY || (fault == JOSE_SIGNATURE && !jws->key_id.at);
}

static enum verdict remember(const struct jwt *jwt, struct jwt_local *local, struct exchange *x,
                             struct jwt_state *state, struct verified *like)
{
    like->version = local->version;
    state->verified = verified_new(&x->worker->memory, like);
    if (!state->verified)
        return refuse_fault(jwt, x, JOSE_MEMORY);
    if (local->cache)
        cache_put(local->cache, state->verified, now_s(x) - jwt->rules.skew_s);
    jwt_count(jwt, x, JOSE_OK);
    return NEXT;
}

/* NEXT: state->verified is a good token. */
static enum verdict check(const struct jwt *jwt, struct jwt_local *local, struct exchange *x, struct jwt_state *state,
                          struct slice token, uint64_t hash)
{
    struct jws jws;
    struct verified like = { .token = token, .hash = hash };
    enum jose_fault fault = check_signature(jwt, local, x, token, &jws);
    if (may_be_newer(fault, &jws)) {
        switch (keys_await(local, state, exchange_op(x, DIR_REQUEST))) {
        case KEYS_WAIT:
            return WAIT;
        case KEYS_LACK:
            return refuse_without_keys(jwt, x, ERR_KEYS_UNAVAILABLE);
        case KEYS_FULL:
            return refuse_without_keys(jwt, x, ERR_OVERLOADED);
        case KEYS_FINAL:
            break;
        }
    }
    if (fault == JOSE_OK)
        fault = check_claims(jwt, x, &jws, &like);
    return fault == JOSE_OK ? remember(jwt, local, x, state, &like) : refuse_fault(jwt, x, fault);
}

/* ---- admitting ---- */

static enum verdict fail(struct exchange *x, int rc)
{
    exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
    return REPLIED;
}

/* What a client says under names that are ours: with "_" for "-" too, which many services read as the same. */
static bool same_name(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        unsigned char x = (unsigned char)a.at[i], y = (unsigned char)b.at[i];
        x = x == '_' ? '-' : x >= 'A' && x <= 'Z' ? (unsigned char)(x | 0x20) : x;
        y = y == '_' ? '-' : y >= 'A' && y <= 'Z' ? (unsigned char)(y | 0x20) : y;
        if (x != y)
            return false;
    }
    return true;
}

static void drop_claimed(const struct jwt *jwt, struct message *request)
{
    if (jwt->header_count == 0)
        return;
    FIELDS_FOR_EACH (field, &request->fields) {
        for (unsigned i = 0; i < jwt->header_count; i++)
            if (same_name(field->name, jwt->headers[i].name)) {
                field_remove(field);
                break;
            }
    }
}

static int add_claimed(const struct jwt *jwt, struct exchange *x, const struct verified *v)
{
    ENSURE(v->value_count == jwt->header_count);
    for (unsigned i = 0; i < v->value_count; i++) {
        if (!v->values[i].at)
            continue;
        int rc = fields_add(&x->request->fields, x->arena, jwt->headers[i].name, v->values[i]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static enum verdict admit(const struct jwt *jwt, struct exchange *x, const struct verified *v)
{
    if (identity_revoked(x, &v->identity))
        return refuse_revoked(jwt, x);
    x->identity = &v->identity;
    if (v->identity.consumer.len > 0)
        x->record.consumer = v->identity.consumer;
    if (v->rights != RIGHTS_OK)
        return refuse_rights(jwt, x, v->rights == RIGHTS_SCOPE);
    int rc = credential_strip(jwt, x);
    if (rc == 0)
        rc = add_claimed(jwt, x, v);
    return rc < 0 ? fail(x, rc) : NEXT;
}

/* ---- hooks ---- */

/* A token that was verified before, and is still good. */
static bool recall(const struct jwt *jwt, struct jwt_local *local, struct exchange *x, struct jwt_state *state,
                   struct slice token, uint64_t hash)
{
    if (!local->cache)
        return false;
    struct verified *v = cache_find(local->cache, token, hash, local->version);
    if (!v)
        return false;
    if (check_times(jwt, x, v) == JOSE_OK) {
        state->verified = v;
        jwt_count(jwt, x, JWT_CACHED);
        return true;
    }
    cache_forget(local->cache, v);
    verified_drop(v);
    return false;
}

/* Of the signature's end, where good tokens differ most; finding one compares all of it. What is only made up finds
 * nothing, however it ends. */
static uint64_t hash_token(struct slice token)
{
    enum { TAIL = 64 };
    size_t len = MIN(token.len, (size_t)TAIL);
    return hash_bytes(slice_make(token.at + token.len - len, len));
}

static enum verdict authenticate(const struct jwt *jwt, struct exchange *x, struct jwt_state *state, struct slice token)
{
    struct jwt_local *local = exchange_local(x, &policy_jwt);
    uint64_t hash = hash_token(token);
    if (!recall(jwt, local, x, state, token, hash)) {
        enum verdict verdict = check(jwt, local, x, state, token, hash);
        if (verdict != NEXT)
            return verdict;
    }
    return admit(jwt, x, state->verified);
}

static enum verdict on_request(struct exchange *x, void *state, const void *data)
{
    const struct jwt *jwt = data;
    struct slice token;
    drop_claimed(jwt, x->request);
    if (credential_hide(jwt, x) < 0)
        return fail(x, -ERR_MEMORY);
    if (exchange_is_preflight(x))
        return credential_strip(jwt, x) < 0 ? fail(x, -ERR_MEMORY) : NEXT;
    switch (credential_find(jwt, x, &token)) {
    case FOUND_NONE:
        return without_token(jwt, x);
    case FOUND_SEVERAL:
        return refuse_doubled(jwt, x);
    case FOUND_NO_MEMORY:
        return fail(x, -ERR_MEMORY);
    case FOUND_ONE:
        break;
    }
    return authenticate(jwt, x, state, token);
}

static void on_done(struct exchange *x, void *state, const void *data)
{
    struct jwt_state *s = state;
    if (!s->verified)
        return;
    x->identity = x->identity == &s->verified->identity ? NULL : x->identity;
    verified_drop(s->verified);
}

/* ---- on a worker ---- */

static void detach(void *data, struct worker *worker, void *ptr)
{
    struct jwt_local *local = ptr;
    keys_detach(local);
    if (local->cache)
        cache_free(local->cache);
    mem_free(local);
}

static int attach(void *data, struct worker *worker, void **ret_local)
{
    const struct jwt *jwt = data;
    struct jwt_local *local = mem_zalloc(sizeof(*local));
    if (!local)
        return -ERR_MEMORY;
    local->jwt = jwt;
    local->worker = worker;
    int rc = keys_attach(local);
    if (rc == 0 && jwt->conf->cached_tokens > 0) {
        local->cache = cache_new(&worker->memory, (size_t)jwt->conf->cached_tokens);
        rc = local->cache ? 0 : -ERR_MEMORY;
    }
    if (rc < 0)
        detach(data, worker, local);
    else
        *ret_local = local;
    return rc;
}

static int strip(struct exchange *x, const void *data)
{
    return credential_strip(data, x);
}

static void disclaim(const void *data, struct fields *fields)
{
    struct message like = { .fields = *fields }; /* fields are taken out in place */
    drop_claimed(data, &like);
}

const struct policy_type policy_jwt = {
    .name = "jwt",
    .schema = &jwt_schema,
    .state_size = sizeof(struct jwt_state),
    .authenticates = true,
    .strip = strip,
    .disclaim = disclaim,
    .load = jwt_load,
    .unload = jwt_unload,
    .begin = jwt_begin,
    .attach = attach,
    .detach = detach,
    .on_head = { [DIR_REQUEST] = on_request },
    .on_done = on_done,
};
