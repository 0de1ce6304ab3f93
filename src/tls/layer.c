/*
 * A layer: what listeners and targets hold on to while certificates come and go.  A client's is one target's: the name
 * that its certificate must be for, and the newest session, which every new connection tries to resume.
 */
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/worker.h"

int tls_layer_new(struct tls_context *context, struct slice name, struct tls_layer **ret_layer)
{
    const struct tls_material *m = context->material;
    struct tls_layer *layer = mem_zalloc(sizeof(*layer));

    ENSURE(name.len > 0 || m->role == TLS_SERVER || m->insecure);
    if (!layer)
        return -ERR_MEMORY;
    layer->magic = TLS_LAYER_MAGIC;
    layer->refs = 1;
    layer->layer.begin = tls_session_begin;
    layer->name = mem_zalloc(name.len + 1);
    if (!layer->name) {
        mem_free(layer);
        return -ERR_MEMORY;
    }
    if (name.len > 0)
        memcpy(layer->name, name.at, name.len);
    layer->context = tls_context_hold(context);
    *ret_layer = layer;
    return 0;
}

static void forget_session(struct tls_layer *layer)
{
    SSL_SESSION_free(layer->session);
    layer->session = NULL;
}

void tls_layer_use(struct tls_layer *layer, struct tls_context *context)
{
    struct tls_context *old = layer->context;

    MAGIC_CHECK(layer, TLS_LAYER_MAGIC);
    ENSURE(context->material->role == old->material->role);
    layer->context = tls_context_hold(context);
    forget_session(layer); /* it rests on what the old one took for true */
    tls_context_drop(old);
}

struct tls_layer *tls_layer_hold(struct tls_layer *layer)
{
    MAGIC_CHECK(layer, TLS_LAYER_MAGIC);
    layer->refs++;
    return layer;
}

void tls_layer_drop(struct tls_layer *layer)
{
    if (!layer)
        return;
    MAGIC_CHECK(layer, TLS_LAYER_MAGIC);
    ENSURE(layer->refs > 0);
    if (--layer->refs > 0)
        return;
    forget_session(layer);
    tls_context_drop(layer->context);
    layer->magic = 0;
    mem_free(layer->name);
    mem_free(layer);
}

/* ---- a client's ---- */

/* 1: the reference is ours now. */
int tls_layer_keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_session *s = SSL_get_app_data(ssl);

    if (s->layer->context != s->context || !SSL_SESSION_is_resumable(session))
        return 0;
    forget_session(s->layer);
    s->layer->session = session;
    return 1;
}

void tls_layer_note(struct tls_layer *layer, enum tls_reason reason, const char *text)
{
    enum tls_reason last = layer->reason;

    layer->reason = (uint16_t)reason;
    if (reason != TLS_REASON_NONE)
        forget_session(layer);
    if (reason != last && layer->on_change)
        layer->on_change(layer->user, text);
}

static int expect_name(struct tls_layer *layer, SSL *ssl)
{
    struct address address;
    bool ip = address_parse_ip(slice_from(layer->name), &address) == 0;

    if (!ip && SSL_set_tlsext_host_name(ssl, layer->name) != 1)
        return -ERR_MEMORY;
    if (layer->context->material->insecure)
        return 0;
    if (ip)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), layer->name) == 1 ? 0 : -ERR_MEMORY;
    /* Alternative names alone (RFC 9110, 4.3.4): a common name is a text that whoever signs may not have checked. */
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set1_host(ssl, layer->name) == 1 ? 0 : -ERR_MEMORY;
}

int tls_layer_prepare(struct tls_layer *layer, SSL *ssl)
{
    int rc = layer->name[0] ? expect_name(layer, ssl) : 0;

    if (rc == 0 && layer->session && SSL_set_session(ssl, layer->session) != 1)
        rc = -ERR_MEMORY;
    return rc;
}
