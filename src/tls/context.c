/*
 * A context: the library's SSL_CTXs for a material, on one worker.  A server has one for each set of certificates, made
 * when the first client asks for one of its names, as a listener may have thousands that are hardly asked for; they
 * differ in certificates and in what sessions are bound to, and in nothing else.
 *
 * Sessions of the server side are in tickets alone.  What peers may do is fixed here: no renegotiation, no compression,
 * no early data (a request that can be replayed is not what any handler expects).
 */
#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/worker.h"

static X509 *certificate_of(OSSL_LIB_CTX *library, const struct tls_der *der)
{
    const unsigned char *at = der->at;
    X509 *certificate = X509_new_ex(library, NULL);

    if (certificate && d2i_X509(&certificate, &at, (long)der->len))
        return certificate;
    X509_free(certificate); /* NULL when d2i has freed it */
    return NULL;
}

static STACK_OF(X509) * chain_of(OSSL_LIB_CTX *library, const struct tls_certificate *c)
{
    STACK_OF(X509) *chain = sk_X509_new_null();

    for (size_t i = 1; chain && i < c->chain_count; i++) {
        X509 *next = certificate_of(library, &c->chain[i]);
        if (next && sk_X509_push(chain, next) > 0)
            continue;
        X509_free(next);
        sk_X509_pop_free(chain, X509_free);
        return NULL;
    }
    return chain;
}

static int use_certificate(SSL_CTX *ctx, OSSL_LIB_CTX *library, const struct tls_certificate *c)
{
    const unsigned char *at = c->key.at;
    X509 *leaf = certificate_of(library, &c->chain[0]);
    STACK_OF(X509) *chain = chain_of(library, c);
    EVP_PKEY *key = d2i_AutoPrivateKey_ex(NULL, &at, (long)c->key.len, library, NULL);
    bool used = leaf && chain && key && SSL_CTX_use_cert_and_key(ctx, leaf, key, chain, 1) == 1;

    X509_free(leaf);
    EVP_PKEY_free(key);
    sk_X509_pop_free(chain, X509_free);
    return used ? 0 : -ERR_SYSTEM;
}

/* ---- who the peer is ---- */

static int verify_client(X509_STORE_CTX *store, void *context)
{
    const struct tls_context *c = context;

    if (X509_verify_cert(store) != 1)
        return 0;
    if (tls_names_allowed(c->material, X509_STORE_CTX_get0_cert(store)))
        return 1;
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
}

/* A session does not live longer than the certificate that it rests on, and has nothing of its chain. */
static SSL_TICKET_RETURN judge_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_len,
                                      SSL_TICKET_STATUS status, void *context)
{
    X509 *peer =
        status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW ? SSL_SESSION_get0_peer(session) : NULL;

    const struct tls_material *m = context;

    if (peer && (m->keep_certificate == TLS_KEEP_CHAIN || X509_cmp_current_time(X509_get0_notAfter(peer)) <= 0))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    switch (status) {
    case SSL_TICKET_EMPTY:
    case SSL_TICKET_NO_DECRYPT:
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    case SSL_TICKET_SUCCESS:
        return SSL_TICKET_RETURN_USE;
    case SSL_TICKET_SUCCESS_RENEW:
        return SSL_TICKET_RETURN_USE_RENEW;
    default:
        return SSL_TICKET_RETURN_ABORT;
    }
}

static int set_client_verification(SSL_CTX *ctx, struct tls_context *c)
{
    struct tls_material *m = c->material;
    int mode = SSL_VERIFY_PEER;

    if (m->client_certificate == TLS_CERTIFICATE_NONE)
        return 0;
    if (m->client_certificate == TLS_CERTIFICATE_REQUIRED)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, NULL);
    SSL_CTX_set_verify_depth(ctx, (int)m->verify_depth);
    SSL_CTX_set_cert_verify_callback(ctx, verify_client, c);
    SSL_CTX_set_client_CA_list(ctx, tls_authorities_names(m->authorities));
    if (SSL_CTX_set_session_ticket_cb(ctx, NULL, judge_ticket, m) != 1)
        return -ERR_MEMORY;
    return SSL_CTX_set1_cert_store(ctx, tls_authorities_store(m->authorities)), 0;
}

/* ---- building ---- */

static int version_of(enum tls_version version)
{
    return version == TLS_VERSION_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

static int set_common(SSL_CTX *ctx, const struct tls_material *m)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
    if (SSL_CTX_set_min_proto_version(ctx, version_of(m->version_min)) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, version_of(m->version_max)) != 1 ||
        SSL_CTX_set_cipher_list(ctx, m->ciphers) != 1 || SSL_CTX_set_ciphersuites(ctx, m->ciphersuites) != 1 ||
        SSL_CTX_set1_curves_list(ctx, m->curves) != 1)
        return -ERR_SYSTEM;
    return 0;
}

/* So that the name is acknowledged, and kept in the session. */
static int acknowledge_name(SSL *ssl, int *alert, void *context)
{
    return SSL_TLSEXT_ERR_OK;
}

static int set_server(SSL_CTX *ctx, struct tls_context *c, const struct tls_set *set)
{
    const struct tls_material *m = c->material;

    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    /* Our order, but ChaCha20 for clients that prefer it: they have no hardware for AES. */
    SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_timeout(ctx, m->session_lifetime_s);
    SSL_CTX_set_client_hello_cb(ctx, tls_hello_callback, c);
    SSL_CTX_set_tlsext_servername_callback(ctx, acknowledge_name);
    if (m->alpn_count > 0)
        SSL_CTX_set_alpn_select_cb(ctx, tls_alpn_callback, c);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, tls_tickets_callback);
    if (m->no_tickets)
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    if (SSL_CTX_set_num_tickets(ctx, m->no_tickets ? 0 : 1) != 1 ||
        SSL_CTX_set_session_id_context(ctx, set->session_context, sizeof(set->session_context)) != 1)
        return -ERR_SYSTEM;
    for (unsigned kind = 0; kind < TLS_KINDS; kind++)
        if (set->certificates[kind] != TLS_NO_CERTIFICATE) {
            int rc = use_certificate(ctx, c->worker->library, &m->certificates[set->certificates[kind]]);
            if (rc < 0)
                return rc;
        }
    return set_client_verification(ctx, c);
}

static int set_client(SSL_CTX *ctx, struct tls_context *c)
{
    const struct tls_material *m = c->material;

    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, tls_layer_keep_session);
    if (m->alpn_count > 0 && SSL_CTX_set_alpn_protos(ctx, m->alpn_wire, (unsigned)m->alpn_wire_len) != 0)
        return -ERR_MEMORY;
    if (!m->insecure) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_verify_depth(ctx, (int)m->verify_depth);
        SSL_CTX_set1_cert_store(ctx, tls_authorities_store(m->authorities));
    }
    return m->certificate_count > 0 ? use_certificate(ctx, c->worker->library, &m->certificates[0]) : 0;
}

static int build(struct tls_context *c, uint32_t set, SSL_CTX **ret_ctx)
{
    const struct tls_material *m = c->material;
    bool server = m->role == TLS_SERVER;
    SSL_CTX *ctx =
        SSL_CTX_new_ex(c->worker->library, TLS_PREFERENCE, server ? TLS_server_method() : TLS_client_method());

    if (!ctx)
        return -ERR_MEMORY;
    int rc = set_common(ctx, m);
    if (rc == 0)
        rc = server ? set_server(ctx, c, &m->sets[set]) : set_client(ctx, c);
    if (rc < 0)
        SSL_CTX_free(ctx);
    else
        *ret_ctx = ctx;
    return rc;
}

SSL_CTX *tls_context_set(struct tls_context *context, uint32_t set)
{
    if (!context->sets[set] && build(context, set, &context->sets[set]) < 0)
        return NULL;
    return context->sets[set];
}

static size_t sets_of(const struct tls_material *m)
{
    return m->role == TLS_SERVER ? m->set_count : 1;
}

int tls_context_new(struct tls_worker *worker, struct tls_material *material, struct tls_context **ret_context)
{
    struct tls_context *c = mem_zalloc(sizeof(*c));

    MAGIC_CHECK(material, TLS_MATERIAL_MAGIC);
    if (!c)
        return -ERR_MEMORY;
    *c = (struct tls_context){ .magic = TLS_CONTEXT_MAGIC, .refs = 1, .worker = worker };
    c->material = tls_material_hold(material);
    c->sets = mem_zalloc(sets_of(material) * sizeof(*c->sets));
    atomic_fetch_add_explicit(&worker->counters.contexts, 1, memory_order_relaxed);
    int rc = c->sets ? build(c, 0, &c->sets[0]) : -ERR_MEMORY;
    if (rc < 0) {
        ERR_clear_error();
        tls_context_drop(c);
        return rc;
    }
    *ret_context = c;
    return 0;
}

struct tls_context *tls_context_hold(struct tls_context *context)
{
    MAGIC_CHECK(context, TLS_CONTEXT_MAGIC);
    context->refs++;
    return context;
}

void tls_context_drop(struct tls_context *context)
{
    if (!context)
        return;
    MAGIC_CHECK(context, TLS_CONTEXT_MAGIC);
    ENSURE(context->refs > 0);
    if (--context->refs > 0)
        return;
    for (size_t i = 0; context->sets && i < sets_of(context->material); i++)
        SSL_CTX_free(context->sets[i]);
    mem_free(context->sets);
    tls_material_drop(context->material);
    atomic_fetch_sub_explicit(&context->worker->counters.contexts, 1, memory_order_relaxed);
    context->magic = 0;
    mem_free(context);
}
