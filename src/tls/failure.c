/*
 * Why a handshake failed: the library's queue of errors, its verdict on the certificate, and what the socket said, made
 * into one word to count by and one static text for the log.
 */
#include <errno.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <openssl/x509.h>

#include "base/assert.h"
#include "tls/worker.h"

static void set(struct tls_session *s, enum tls_reason reason, const char *text)
{
    s->reason = reason;
    s->failure = text ? text : "unknown";
}

static enum tls_reason verify_reason(long verdict)
{
    switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_REASON_EXPIRED;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_UNTRUSTED:
        return TLS_REASON_AUTHORITY;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_REASON_NAME;
    case X509_V_ERR_CERT_REJECTED:
        return TLS_REASON_NOT_ALLOWED;
    case X509_V_ERR_OUT_OF_MEM:
        return TLS_REASON_MEMORY;
    default:
        return TLS_REASON_CERTIFICATE;
    }
}

static void fail_verify(struct tls_session *s)
{
    long verdict = SSL_get_verify_result(s->ssl);
    enum tls_reason reason = verify_reason(verdict);

    set(s, reason,
        reason == TLS_REASON_NOT_ALLOWED ? "none of the certificate's names is allowed"
                                         : X509_verify_cert_error_string(verdict));
}

/* Alerts that say in other words what has a reason of its own. */
static void fail_alert(struct tls_session *s, int alert)
{
    const char *text = SSL_alert_desc_string_long(alert);

    set(s,
        alert == SSL_AD_NO_APPLICATION_PROTOCOL ? TLS_REASON_ALPN
        : alert == SSL_AD_PROTOCOL_VERSION      ? TLS_REASON_VERSION
                                                : TLS_REASON_ALERT,
        strcmp(text, "unknown") ? text : "an alert that is not known");
}

static void fail_library(struct tls_session *s, unsigned long error)
{
    int reason = ERR_GET_REASON(error);

    if (reason == ERR_R_MALLOC_FAILURE) {
        set(s, TLS_REASON_MEMORY, "out of memory");
        return;
    }
    if (ERR_GET_LIB(error) != ERR_LIB_SSL) {
        set(s, TLS_REASON_PROTOCOL, ERR_reason_error_string(error));
        return;
    }
    if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
        fail_alert(s, reason - SSL_AD_REASON_OFFSET);
        return;
    }
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        fail_verify(s);
        return;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        set(s, TLS_REASON_NO_CERTIFICATE, "the client showed no certificate");
        return;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_WRONG_SSL_VERSION:
        set(s, TLS_REASON_VERSION, "no version of TLS in common");
        return;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_CIPHERS_SPECIFIED:
        set(s, TLS_REASON_CIPHER, "no cipher, curve or signature in common");
        return;
    case SSL_R_NO_APPLICATION_PROTOCOL:
        set(s, TLS_REASON_ALPN, "no application protocol in common");
        return;
    default:
        set(s, TLS_REASON_PROTOCOL, ERR_reason_error_string(error));
    }
}

static void fail_system(struct tls_session *s)
{
    int error = s->in_broken ? s->in_broken : s->out_broken;
    bool gone = error == ECONNRESET || error == EPIPE;

    set(s, gone ? TLS_REASON_CLOSED : error == ENOMEM ? TLS_REASON_MEMORY : TLS_REASON_SYSTEM, strerrordesc_np(error));
}

void tls_session_fail(struct tls_session *s)
{
    unsigned long error = ERR_peek_error();
    bool eof = error == 0 || ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING;

    if (s->http)
        set(s, TLS_REASON_PLAIN_HTTP, "a plain HTTP request was sent to a TLS port");
    else if (!s->hello_seen && s->hello_bytes > TLS_HELLO_MAX)
        set(s, TLS_REASON_PROTOCOL, "the ClientHello is too long");
    else if (s->in_broken || s->out_broken)
        fail_system(s);
    else if (s->eof && eof)
        set(s, TLS_REASON_CLOSED, "the peer closed the connection within the handshake");
    else if (error == 0)
        set(s, TLS_REASON_PROTOCOL, "the library gave no reason");
    else
        fail_library(s, error);
    ERR_clear_error();
}
