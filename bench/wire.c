/*
 * Client connections in clear and over OpenSSL; wire.h says what both have in common. Tickets are
 * kept by the wire that received them, so that each client resumes its own last session as browsers
 * do, and no ticket is waited for: it comes with or before the answer.
 */
#include "wire.h"

#include "sockets.h"

#include <assert.h>
#include <err.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char server_name[] = "bench.example";
static const char suites_13[] = "TLS_AES_128_GCM_SHA256";
static const char suites_12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256";
static const char curves_13[] = "X25519";
/* In TLS 1.2 this list is also that of the curves that a certificate may have. */
static const char curves_12[] = "X25519:P-256";

enum {
    READ_AHEAD = 32 * 1024, /* two whole records in one recv */
    DISCARD_SIZE = 64 * 1024,
};

static int ticket_received(SSL *ssl, SSL_SESSION *session)
{
    struct wire *wire = SSL_get_app_data(ssl);
    SSL_SESSION_free(wire->ticket);
    wire->ticket = session;
    return 1; /* the reference is ours now */
}

void tls_setup_init(struct tls_setup *setup, struct tls_facts *facts, bool tls12, bool resume, bool h2)
{
    static const unsigned char alpn_h1[] = "\x08http/1.1";
    static const unsigned char alpn_h2[] = "\x02h2";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    int version = tls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    if (context == NULL || SSL_CTX_set_min_proto_version(context, version) != 1 ||
        SSL_CTX_set_max_proto_version(context, version) != 1 || SSL_CTX_set_ciphersuites(context, suites_13) != 1 ||
        SSL_CTX_set_cipher_list(context, suites_12) != 1 ||
        SSL_CTX_set1_groups_list(context, tls12 ? curves_12 : curves_13) != 1 ||
        SSL_CTX_set_alpn_protos(context, h2 ? alpn_h2 : alpn_h1, h2 ? sizeof alpn_h2 - 1 : sizeof alpn_h1 - 1) != 0)
        errx(1, "TLS: the library refuses the settings");
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* HAProxy ends some connections without close_notify: for us an end is an end, lengths are checked above. */
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
    SSL_CTX_set_session_cache_mode(context,
                                   resume ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
    if (resume)
        SSL_CTX_sess_set_new_cb(context, ticket_received);
    *setup = (struct tls_setup){ .context = context, .facts = facts, .resume = resume, .h2 = h2 };
}

static void ssl_start(struct wire *wire, const struct tls_setup *tls)
{
    SSL *ssl = SSL_new(tls->context);
    if (ssl == NULL || SSL_set_fd(ssl, wire->fd) != 1 || SSL_set_tlsext_host_name(ssl, server_name) != 1)
        errx(1, "TLS: no memory");
    SSL_set_app_data(ssl, wire);
    SSL_set_connect_state(ssl);
    wire->offered = wire->ticket != NULL && SSL_set_session(ssl, wire->ticket) == 1;
    wire->ssl = ssl;
}

int wire_connect(struct wire *wire, const struct sockaddr_in *address, const struct tls_setup *tls, bool *ret_pending)
{
    assert(wire->fd < 0 && wire->ssl == NULL);
    int fd = socket_connect(address, ret_pending);
    if (fd < 0)
        return fd;
    wire->fd = fd;
    if (tls != NULL)
        ssl_start(wire, tls);
    return 0;
}

/* Of a full handshake: a resumed one of TLS 1.2 has exchanged no keys. */
static void facts_describe(struct tls_facts *facts, SSL *ssl)
{
    const unsigned char *alpn;
    unsigned alpn_len;
    EVP_PKEY *exchanged = NULL;
    X509 *certificate = SSL_get1_peer_certificate(ssl);
    const EVP_PKEY *key = certificate != NULL ? X509_get0_pubkey(certificate) : NULL;
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
    bool told = SSL_get_peer_tmp_key(ssl, &exchanged) == 1;
    snprintf(facts->text, sizeof facts->text, "%s, %s, %s, %s %d bit, %.*s", SSL_get_version(ssl),
             SSL_get_cipher_name(ssl), told ? EVP_PKEY_get0_type_name(exchanged) : "no key exchange",
             key != NULL ? EVP_PKEY_get0_type_name(key) : "no certificate", key != NULL ? EVP_PKEY_get_bits(key) : 0,
             (int)alpn_len, alpn != NULL ? (const char *)alpn : "");
    EVP_PKEY_free(exchanged);
    X509_free(certificate);
}

static enum handshake handshake_judge(struct wire *wire, const struct tls_setup *tls)
{
    const unsigned char *alpn;
    unsigned alpn_len;
    bool resumed = SSL_session_reused(wire->ssl) == 1;
    bool first = !wire->shaken;
    wire->shaken = true;
    SSL_get0_alpn_selected(wire->ssl, &alpn, &alpn_len);
    if (tls->h2 && (alpn_len != 2 || memcmp(alpn, "h2", 2) != 0))
        return HANDSHAKE_FAILED;
    if (tls->facts->handshakes++ == 0)
        facts_describe(tls->facts, wire->ssl);
    tls->facts->resumed += resumed;
    return tls->resume && !first && !resumed ? HANDSHAKE_NOT_RESUMED : HANDSHAKE_DONE;
}

enum handshake wire_handshake(struct wire *wire, const struct tls_setup *tls)
{
    assert(wire->ssl != NULL);
    ERR_clear_error();
    int done = SSL_do_handshake(wire->ssl);
    if (done == 1)
        return handshake_judge(wire, tls);
    int error = SSL_get_error(wire->ssl, done);
    if (error == SSL_ERROR_WANT_READ)
        return HANDSHAKE_READ;
    return error == SSL_ERROR_WANT_WRITE ? HANDSHAKE_WRITE : HANDSHAKE_FAILED;
}

/* The result of SSL_read or SSL_write as recv and send would give it. */
static ssize_t ssl_result(struct wire *wire, int result)
{
    if (result > 0)
        return result;
    switch (SSL_get_error(wire->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        errno = ECONNRESET;
        return -1;
    }
}

ssize_t wire_send(struct wire *wire, const void *bytes, size_t length)
{
    if (wire->ssl == NULL)
        return send(wire->fd, bytes, length, MSG_NOSIGNAL);
    ERR_clear_error();
    return ssl_result(wire, SSL_write(wire->ssl, bytes, length < INT32_MAX ? (int)length : INT32_MAX));
}

ssize_t wire_recv(struct wire *wire, void *bytes, size_t size)
{
    if (wire->ssl == NULL)
        return recv(wire->fd, bytes, size, 0);
    ERR_clear_error();
    ssize_t got = ssl_result(wire, SSL_read(wire->ssl, bytes, size < INT32_MAX ? (int)size : INT32_MAX));
    wire->dry = got <= 0;
    return got;
}

ssize_t wire_discard(struct wire *wire, size_t length)
{
    static char scratch[DISCARD_SIZE];
    if (wire->ssl == NULL)
        return recv(wire->fd, NULL, length, MSG_TRUNC);
    return wire_recv(wire, scratch, length < sizeof scratch ? length : sizeof scratch);
}

bool wire_has_more(const struct wire *wire)
{
    return wire->ssl != NULL && !wire->dry && SSL_has_pending(wire->ssl) == 1;
}

void wire_close(struct wire *wire)
{
    if (wire->ssl != NULL) {
        /* The library takes a session that ends without close_notify for unfit to be resumed. */
        SSL_set_shutdown(wire->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(wire->ssl);
    }
    if (wire->fd >= 0)
        close(wire->fd);
    wire->ssl = NULL;
    wire->fd = -1;
}
