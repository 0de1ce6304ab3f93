/*
 * Answers to requests that may not pass: RFC 6750, 3.  Who brought no token learns the realm alone.
 */
#include "base/arena.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "policies/jwt/jwt.h"

void jwt_count(const struct jwt *jwt, const struct exchange *x, unsigned result)
{
    place_add(jwt->results[result], x->worker->index, 1);
}

/* `why` goes to the access log and, but for the realm alone, to the client. */
static enum verdict refuse(struct exchange *x, enum err err, const char *why, struct slice challenge)
{
    x->record.access = slice_from(why);
    exchange_fail(x, err, challenge.at ? slice_from(why) : SLICE_EMPTY);
    if (!x->head_down && challenge.at &&
        fields_add_id(&x->response.fields, x->arena, FIELD_WWW_AUTHENTICATE, challenge) < 0)
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
    return REPLIED;
}

static struct slice challenge_of(const struct jwt *jwt, struct exchange *x, const char *error, const char *why)
{
    return arena_printf(x->arena, "Bearer realm=\"%s\", error=\"%s\", error_description=\"%s\"", jwt->conf->realm,
                        error, why);
}

enum verdict refuse_fault(const struct jwt *jwt, struct exchange *x, enum jose_fault fault)
{
    jwt_count(jwt, x, fault);
    if (fault == JOSE_MEMORY) {
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
        return REPLIED;
    }
    const char *why = jose_fault_text(fault);
    return refuse(x, ERR_UNAUTHENTICATED, why, challenge_of(jwt, x, "invalid_token", why));
}

/* On as nobody's: a policy behind this one that needs somebody asks for a token with our challenge. */
static enum verdict go_on(struct exchange *x, struct slice challenge)
{
    struct challenge *c = challenge.at ? arena_alloc(x->arena, sizeof(*c)) : NULL;
    if (!c) {
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
        return REPLIED;
    }
    *c = (struct challenge){ challenge, x->challenges };
    x->challenges = c;
    return NEXT;
}

enum verdict without_token(const struct jwt *jwt, struct exchange *x)
{
    struct slice challenge = arena_printf(x->arena, "Bearer realm=\"%s\"", jwt->conf->realm);
    jwt_count(jwt, x, JWT_NO_TOKEN);
    if (!jwt->conf->required)
        return go_on(x, challenge);
    return refuse(x, ERR_UNAUTHENTICATED, "no token", challenge);
}

enum verdict refuse_revoked(const struct jwt *jwt, struct exchange *x)
{
    const char *why = "the token was revoked";
    jwt_count(jwt, x, JWT_REVOKED);
    return refuse(x, ERR_UNAUTHENTICATED, why, challenge_of(jwt, x, "invalid_token", why));
}

enum verdict refuse_doubled(const struct jwt *jwt, struct exchange *x)
{
    const char *why = "more than one token was sent";
    jwt_count(jwt, x, JWT_DOUBLED);
    return refuse(x, ERR_UNAUTHENTICATED, why, challenge_of(jwt, x, "invalid_request", why));
}

enum verdict refuse_rights(const struct jwt *jwt, struct exchange *x, bool scope)
{
    const char *why = scope ? "the token lacks a scope" : "the token lacks a claim";
    jwt_count(jwt, x, scope ? JWT_SCOPE : JWT_CLAIM);
    struct slice challenge = challenge_of(jwt, x, "insufficient_scope", why);
    if (challenge.at && jwt->scopes.len > 0)
        challenge = arena_printf(x->arena, "%.*s, scope=\"%.*s\"", SLICE_ARG(challenge), SLICE_ARG(jwt->scopes));
    return refuse(x, ERR_FORBIDDEN, why, challenge);
}

enum verdict refuse_without_keys(const struct jwt *jwt, struct exchange *x, enum err err)
{
    jwt_count(jwt, x, JWT_NO_KEYS);
    x->record.access = SLICE("the keys to check the token with could not be fetched");
    exchange_fail(x, err, SLICE_EMPTY);
    return REPLIED;
}
