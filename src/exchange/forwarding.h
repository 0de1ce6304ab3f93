/*
 * What the service is told about the client and the way here: Via, X-Forwarded-For/-Proto/-Host, Forwarded (RFC 7239),
 * built from trusted hops only.  What an untrusted peer sent of these fields is removed.  The client's address for logs
 * and policies is the right-most untrusted hop.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "conf/conf.h"
#include "net/address.h"

struct exchange;
struct fields;
struct message;

/* One field each; see exchange/client_certificate.c. */
enum certificate_part { PART_CERTIFICATE, PART_CHAIN, PART_SUBJECT, PART_SANS, PART_SHA256, PART_VERIFY, PART_COUNT };

struct forwarding_conf {
    struct conf_list trusted;            /* of struct network: peers whose forwarding fields are believed */
    bool x_forwarded;                    /* send X-Forwarded-* (default on) */
    bool forwarded;                      /* send Forwarded (default on) */
    const char *via;                     /* our name in Via; "off" sends none */
    struct conf_list client_certificate; /* of int, enum certificate_part: what services are told of it */
};
extern const struct conf_struct forwarding_schema;
extern const struct conf_type network_type; /* a struct network, and who else lists networks uses it */

/* As an exchange begins: reads the request's hops, sets record.client, leaves only what trusted peers said. */
MUST_USE int forwarding_apply(struct exchange *x, const struct forwarding_conf *conf);
/* Adds our hop to a request that goes to a service. */
MUST_USE int forwarding_add_hop(struct exchange *x, const struct forwarding_conf *conf, struct message *request);

/* client_certificate.c: the fields that tell services of the client's certificate. Nothing when none is configured. */
extern const struct conf_word certificate_part_words[];
/* What the client sent under their names, in any spelling that a service could take for them, is removed. */
void client_certificate_strip(const struct forwarding_conf *conf, struct fields *fields);
MUST_USE int client_certificate_tell(struct exchange *x, const struct forwarding_conf *conf, struct message *request);
