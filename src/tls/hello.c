/*
 * What a server decides when it has seen the ClientHello: which certificates, and which protocol.
 *
 * The name is looked at before anything else of the hello is, tickets included: what a session is bound to is the
 * chosen set's, so a session of one name is not resumed under another.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/assert.h"
#include "tls/worker.h"

enum { NAME_MAX_BYTES = 255 };

/* RFC 6066, 3: a list of one name of type 0. Malformed ones are left to the library, which refuses them. */
static struct slice name_in(const unsigned char *at, size_t len)
{
    if (len < 5 || at[2] != 0)
        return SLICE_EMPTY;
    size_t name_len = (size_t)at[3] << 8 | at[4];
    return name_len <= len - 5 ? slice_make((const char *)at + 5, name_len) : SLICE_EMPTY;
}

static uint32_t choose_set(const struct tls_material *m, SSL *ssl)
{
    const unsigned char *extension;
    char lower[NAME_MAX_BYTES];
    size_t len;

    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension, &len) != 1)
        return 0;
    struct slice name = name_in(extension, len);
    if (name.len > sizeof(lower))
        return 0;
    for (size_t i = 0; i < name.len; i++)
        lower[i] = (char)(name.at[i] >= 'A' && name.at[i] <= 'Z' ? name.at[i] | 0x20 : name.at[i]);
    if (name.len > 0 && lower[name.len - 1] == '.') /* the root's dot, which some clients send */
        name.len--;
    return tls_names_find(m, slice_make(lower, name.len));
}

int tls_hello_callback(SSL *ssl, int *alert, void *context)
{
    struct tls_context *c = context;
    struct tls_session *s = SSL_get_app_data(ssl);

    s->hello_seen = true;
    uint32_t set = choose_set(c->material, ssl);
    SSL_CTX *ctx = tls_context_set(c, set);
    if (ctx && (set == 0 || SSL_set_SSL_CTX(ssl, ctx) == ctx))
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

/* Ours is the order: "h2" before "http/1.1" is the operator's wish. */
int tls_alpn_callback(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_len, const unsigned char *offered,
                      unsigned offered_len, void *context)
{
    const struct tls_context *c = context;
    unsigned char *chosen;

    if (SSL_select_next_proto(&chosen, ret_len, c->material->alpn_wire, (unsigned)c->material->alpn_wire_len, offered,
                              offered_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* no_application_protocol, RFC 7301 3.2 */
    *ret_name = chosen;
    return SSL_TLSEXT_ERR_OK;
}
