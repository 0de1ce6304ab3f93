/*
 * The client_certificate policy.  The handshake has verified the certificate against the listener's authorities; this
 * says which consumer it is: by its fingerprint, else by one of its other names, else by its subject.
 */
#include "policies/client_certificate/policy_client_certificate.h"

#include "base/arena.h"
#include "base/sys.h"
#include "exchange/authentication.h"
#include "exchange/consumers.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "net/facts.h"

struct client_certificate_conf {
    bool any;
    struct authentication_conf shared;
};

struct client_certificate {
    struct authentication shared;
    bool any;
};

static const struct conf_field client_certificate_fields[] = {
    { "any",
      { .kind = CONF_BOOL },
      CONF_AT(client_certificate_conf, any),
      0,
      "false",
      "Take every certificate that the listener has verified. One that no consumer has gives an identity with a "
      "subject "
      "and without a consumer. By default it is 401." },
    AUTHENTICATION_FIELDS(client_certificate_conf, shared),
    CONF_END,
};
const struct conf_struct client_certificate_schema = {
    .name = "client_certificate",
    .size = sizeof(struct client_certificate_conf),
    .fields = client_certificate_fields,
    .doc = "Knows a consumer by the certificate that the client showed in the TLS handshake. The listener asks for one "
           "with `tls.client_certificates`, and verifies it.",
    .example = "client_certificate: { consumer_headers: { X-Consumer: consumer } }\n",
};

static void client_certificate_unload(void *data)
{
    struct client_certificate *p = data;
    authentication_unload(&p->shared);
    mem_free(p);
}

static int client_certificate_load(struct conf *conf, const struct conf_node *node, const void *settings,
                                   void **ret_data)
{
    const struct client_certificate_conf *s = settings;
    struct client_certificate *p = mem_must(sizeof(*p));
    int rc = authentication_load(conf, node, "client_certificate", &s->shared, &p->shared);
    p->any = s->any;
    p->shared.challenge =
        SLICE("Mutual"); /* no scheme is registered for it; HTTP asks for a challenge (RFC 9110 11.6.1) */
    if (rc < 0)
        client_certificate_unload(p);
    else
        *ret_data = p;
    return rc;
}

/* Names in the text of facts have neither commas nor spaces in them (tls/client_facts.c). */
static const struct consumer *find(const struct consumers *consumers, const struct conn_facts *facts)
{
    const struct consumer *consumer = consumers_find_certificate(consumers, CERTIFICATE_FINGERPRINT, facts->sha256);
    struct slice rest = facts->sans, san;
    while (!consumer && (san = slice_cut(&rest, ',')).at)
        consumer = consumers_find_certificate(consumers, CERTIFICATE_SAN, san);
    return consumer ? consumer : consumers_find_certificate(consumers, CERTIFICATE_SUBJECT, facts->subject);
}

static void client_certificate_disclaim(const void *data, struct fields *fields)
{
    const struct client_certificate *p = data;
    authentication_disclaim(&p->shared, fields);
}

static enum verdict on_request(struct exchange *x, void *state, const void *data)
{
    static const struct consumer nobody = { .name = { "", 0 } };
    const struct client_certificate *p = data;
    const struct conn_facts *facts = exchange_facts(x);
    if (!authentication_begin(x, &p->shared))
        return NEXT;
    if (!facts || facts->proof != PROOF_VERIFIED)
        return authentication_absent(x, &p->shared);
    const struct consumer *consumer = find(x->worker->consumers, facts);
    if (!consumer && p->any)
        consumer = &nobody;
    if (!consumer)
        return authentication_refuse(x, &p->shared, OUTCOME_WRONG, "the certificate is no consumer's");
    struct identity *identity =
        authentication_identity(x, "client_certificate", consumer, facts->subject, facts->sha256);
    return authentication_accept(x, &p->shared, identity);
}

const struct policy_type policy_client_certificate = {
    .name = "client_certificate",
    .schema = &client_certificate_schema,
    .authenticates = true,
    .disclaim = client_certificate_disclaim,
    .load = client_certificate_load,
    .unload = client_certificate_unload,
    .on_head = { [DIR_REQUEST] = on_request },
};
