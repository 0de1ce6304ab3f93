/*
 * What policies that say who a request comes from have in common: settings, the identity on the exchange, the fields
 * that tell services of it, 401 with a challenge, and what is counted.
 *
 *      authentication_begin     first: fields that only we may write are removed; false for a CORS preflight
 *      authentication_accept    a credential was good: x->identity, the fields, the log
 *      authentication_absent    there was none: 401, or on without an identity
 *      authentication_refuse    it was wrong: 401; the client is not told why, the log is
 *
 * In a composition (any_of) a refusal is noted, not sent: see struct trial.
 */
#pragma once

#include "conf/conf.h"
#include "exchange/identity.h"
#include "exchange/policy.h"
#include "observe/metrics.h"

struct consumer;
struct exchange;

enum authentication_outcome {
    OUTCOME_ACCEPTED,
    OUTCOME_ABSENT,
    OUTCOME_WRONG,
    OUTCOME_EXPIRED, /* or not good yet */
    OUTCOME_REVOKED,
    OUTCOME_OVERLOADED,
    OUTCOME_PREFLIGHT,
    OUTCOMES
};
extern const struct metric_family authentications_family;

struct authentication_conf {
    bool required, forward;
    struct conf_list consumer_headers; /* MAP of int: enum identity_part */
};
extern const struct conf_type consumer_headers_type;

/* Members of a schema whose struct holds a struct authentication_conf by that name. */
#define AUTHENTICATION_FIELDS(type, member)                                                                            \
    { "required",                                                                                                      \
      { .kind = CONF_BOOL },                                                                                           \
      CONF_AT(type, member.required),                                                                                  \
      0,                                                                                                               \
      "true",                                                                                                          \
      "Answer 401 when there is no credential. With `false` such a request goes on without an identity; a wrong "      \
      "credential is 401 all the same." },                                                                             \
        { "forward",                                                                                                   \
          { .kind = CONF_BOOL },                                                                                       \
          CONF_AT(type, member.forward),                                                                               \
          0,                                                                                                           \
          "false",                                                                                                     \
          "Send the credential on to the service. By default it is taken out of the request." },                       \
    {                                                                                                                  \
        "consumer_headers", { .kind = CONF_MAP, .item = &consumer_headers_type, .max = 16 },                           \
            CONF_AT(type, member.consumer_headers), 0, NULL,                                                           \
            "Names of fields to what the service is told in them. What a client sends under these names, also with "   \
            "`_` for "                                                                                                 \
            "`-`, never reaches it."                                                                                   \
    }

/* What identity a field tells. */
enum identity_part { PART_CONSUMER, PART_GROUPS, PART_SCOPES, PART_OF_SUBJECT, PART_CREDENTIAL, PART_METHOD };

struct identity_header {
    struct slice name;
    enum identity_part part;
};

struct authentication {
    const char *method;
    bool required, forward;
    unsigned header_count;
    struct identity_header *headers;
    struct slice challenge; /* of WWW-Authenticate; empty: none */
    struct series *series[OUTCOMES];
    metric_cell *places[OUTCOMES];
};

/* Control thread. `challenge` must live as long as the conf. 0, or -1 after conf_error. */
MUST_USE int authentication_load(struct conf *conf, const struct conf_node *node, const char *method,
                                 const struct authentication_conf *settings, struct authentication *ret_a);
/* May the text stand in a quoted string of a challenge? -1 after conf_error. */
MUST_USE int authentication_realm(struct conf *conf, const struct conf_node *node, const char *realm);
void authentication_unload(struct authentication *a);

/* What clients say under the names of `consumer_headers` is removed. */
void authentication_disclaim(const struct authentication *a, struct fields *fields);
bool authentication_begin(struct exchange *x, const struct authentication *a);
/* The identity of a consumer, copied into the exchange's arena; NULL without memory. */
struct identity *authentication_identity(struct exchange *x, const char *method, const struct consumer *consumer,
                                         struct slice subject, struct slice credential);
/* `identity` NULL: there was no memory (503). 401 when it has been revoked. */
enum verdict authentication_accept(struct exchange *x, const struct authentication *a, const struct identity *identity);
/* Not required: on, and the challenge is kept for a policy that needs an identity after all. */
enum verdict authentication_absent(struct exchange *x, const struct authentication *a);
/* `why` is for the access log: it never holds what the client sent. */
enum verdict authentication_refuse(struct exchange *x, const struct authentication *a,
                                   enum authentication_outcome outcome, const char *why);
/* 503 and the like; overload is counted. */
enum verdict authentication_fail(struct exchange *x, const struct authentication *a, enum err err);
/* The first name of the identity that is on the list of revocations: "jti", "sub" or "sid". NULL: none. */
const char *identity_revoked(const struct exchange *x, const struct identity *identity);
/* The scheme of an Authorization field; the rest is what stands behind it, trimmed. Some services take a tab for the
 * space, so we do. */
struct slice authentication_scheme(struct slice *rest);
/* OPTIONS with Origin and Access-Control-Request-Method and nothing else: browsers send no credential with it. */
bool exchange_is_preflight(const struct exchange *x);
