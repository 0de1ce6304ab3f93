/*
 * What a handshake has told, as texts: what was agreed on, and who the peer proved to be.  Each text is bounded, and an
 * alternative name with a byte that could be taken for a separator is left out: these texts stand in logs and in
 * fields, where policies compare them.
 */
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/assert.h"
#include "base/memory.h"
#include "tls/worker.h"

enum { NAME_TEXT_MAX = 2048, SANS_TEXT_MAX = 4096, SERIAL_BYTES_MAX = 64, CHAIN_BYTES_MAX = 32768 };

static const char hex[] = "0123456789abcdef";

static int keep_hex(struct conn_facts *facts, const unsigned char *at, size_t len, struct slice *ret_text)
{
    char text[2 * SERIAL_BYTES_MAX];

    ENSURE(len <= SERIAL_BYTES_MAX);
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = hex[at[i] >> 4];
        text[2 * i + 1] = hex[at[i] & 15];
    }
    return facts_keep(facts, slice_make(text, 2 * len), ret_text);
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}

/* How long the element at `at` is: a byte, or an escape (RFC 2253, 2.4): "\\," or "\\C3". */
static size_t element_at(struct slice text, size_t at)
{
    size_t left = text.len - at;

    if (text.at[at] != '\\' || left < 2)
        return 1;
    return left >= 3 && is_hex(text.at[at + 1]) && is_hex(text.at[at + 2]) ? 3 : 2;
}

/* A byte within a character of UTF-8, which is written as an escape. */
static bool continues(struct slice text, size_t at, size_t len)
{
    return len == 3 && (text.at[at + 1] == '8' || text.at[at + 1] == '9' || (text.at[at + 1] | 0x20) == 'a' ||
                        (text.at[at + 1] | 0x20) == 'b');
}

size_t tls_name_cut(struct slice text, size_t len_max)
{
    size_t at = 0, character = 0, part = 0;

    if (text.len <= len_max)
        return text.len;
    while (at <= len_max) {
        size_t len = element_at(text, at);
        if (!continues(text, at, len))
            character = at;
        if (text.at[at] == ',' && at > 0)
            part = at;
        at += len;
    }
    return part ? part : character;
}

/* RFC 2253, bytes beyond ASCII and controls escaped. One that is too long ends with a mark that no name can have. */
static int keep_name(struct conn_facts *facts, const X509_NAME *name, struct slice *ret_text)
{
    BIO *out = BIO_new(BIO_s_mem());
    static const struct slice mark = { ",...", 4 };
    char *text = NULL;
    int rc = -ERR_MEMORY;

    if (out && X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253) >= 0) {
        size_t len = (size_t)BIO_get_mem_data(out, &text);
        size_t kept = tls_name_cut(slice_make(text, len), NAME_TEXT_MAX - mark.len);
        if (kept < len)
            memcpy(text + kept, mark.at, mark.len); /* it was longer than that */
        rc = facts_keep(facts, slice_make(text, kept < len ? kept + mark.len : len), ret_text);
    }
    BIO_free(out);
    return rc;
}

static int keep_serial(struct conn_facts *facts, const X509 *certificate)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    size_t len = (size_t)ASN1_STRING_length(serial);

    return keep_hex(facts, ASN1_STRING_get0_data(serial), MIN(len, (size_t)SERIAL_BYTES_MAX), &facts->serial);
}

static int keep_fingerprint(struct conn_facts *facts, const X509 *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;

    if (X509_digest(certificate, EVP_sha256(), digest, &len) != 1)
        return -ERR_MEMORY;
    return keep_hex(facts, digest, len, &facts->sha256);
}

static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] > '~' || text.at[i] == ',' || text.at[i] == '"')
            return false;
    return text.len > 0;
}

static void append_san(const GENERAL_NAME *san, char *text, size_t *len)
{
    struct slice kind = san->type == GEN_DNS     ? SLICE("DNS:")
                        : san->type == GEN_URI   ? SLICE("URI:")
                        : san->type == GEN_EMAIL ? SLICE("email:")
                                                 : SLICE_EMPTY;
    if (kind.len == 0)
        return;
    struct slice value = { (const char *)ASN1_STRING_get0_data(san->d.ia5), (size_t)ASN1_STRING_length(san->d.ia5) };
    size_t need = (*len > 0) + kind.len + value.len;
    if (!is_plain(value) || need > SANS_TEXT_MAX - *len)
        return;
    if (*len > 0)
        text[(*len)++] = ',';
    memcpy(text + *len, kind.at, kind.len);
    memcpy(text + *len + kind.len, value.at, value.len);
    *len += kind.len + value.len;
}

static int keep_sans(struct conn_facts *facts, const X509 *certificate)
{
    GENERAL_NAMES *sans = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    char text[SANS_TEXT_MAX];
    size_t len = 0;

    for (int i = 0; i < sk_GENERAL_NAME_num(sans); i++)
        append_san(sk_GENERAL_NAME_value(sans, i), text, &len);
    GENERAL_NAMES_free(sans);
    return facts_keep(facts, slice_make(text, len), &facts->sans);
}

static int keep_der(struct conn_facts *facts, X509 *const *certificates, int count, struct slice *ret_der)
{
    size_t total = 0;
    int rc;

    for (int i = 0; i < count; i++) {
        int len = i2d_X509(certificates[i], NULL);
        if (len < 0)
            return -ERR_MEMORY;
        total += (size_t)len;
    }
    if (total == 0 || total > CHAIN_BYTES_MAX)
        return 0;
    unsigned char *der = memory_get(facts->memory, total), *at = der;
    if (!der)
        return -ERR_MEMORY;
    for (int i = 0; i < count; i++)
        (void)i2d_X509(certificates[i], &at);
    rc = facts_keep(facts, slice_make((const char *)der, total), ret_der);
    memory_put(facts->memory, der, total);
    return rc;
}

static int keep_whole(struct conn_facts *facts, const struct tls_session *s, X509 *certificate)
{
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(s->ssl); /* a server's is without the peer's own */
    X509 *behind[TLS_CHAIN_MAX];
    int count = MIN(sk_X509_num(chain), TLS_CHAIN_MAX);

    for (int i = 0; i < count; i++)
        behind[i] = sk_X509_value(chain, i);
    int rc = keep_der(facts, &certificate, 1, &facts->certificate);
    return rc || count <= 0 || s->context->material->keep_certificate != TLS_KEEP_CHAIN
               ? rc
               : keep_der(facts, behind, count, &facts->chain);
}

static int keep_peer(const struct tls_session *s, struct conn_facts *facts, X509 *certificate)
{
    int rc = keep_name(facts, X509_get_subject_name(certificate), &facts->subject);

    if (rc == 0)
        rc = keep_name(facts, X509_get_issuer_name(certificate), &facts->issuer);
    if (rc == 0)
        rc = keep_serial(facts, certificate);
    if (rc == 0)
        rc = keep_fingerprint(facts, certificate);
    if (rc == 0)
        rc = keep_sans(facts, certificate);
    if (rc == 0 && s->context->material->keep_certificate)
        rc = keep_whole(facts, s, certificate);
    facts->proof = PROOF_VERIFIED;
    return rc;
}

static int keep_alpn(const struct tls_session *s, struct conn_facts *facts)
{
    const unsigned char *name = NULL;
    unsigned len = 0;

    SSL_get0_alpn_selected(s->ssl, &name, &len);
    struct slice alpn = { (const char *)name, len };
    if (slice_eq(alpn, SLICE("h2")))
        facts->alpn = SLICE("h2");
    else if (slice_eq(alpn, SLICE("http/1.1")))
        facts->alpn = SLICE("http/1.1");
    else if (len > 0)
        return facts_keep(facts, alpn, &facts->alpn);
    return 0;
}

static int keep_sni(const struct tls_session *s, struct conn_facts *facts)
{
    const char *name = SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name);
    char lower[TLSEXT_MAXLEN_host_name];
    size_t len = name ? strlen(name) : 0;

    if (len == 0 || len > sizeof(lower))
        return 0;
    for (size_t i = 0; i < len; i++)
        lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
    return facts_keep(facts, slice_make(lower, len), &facts->sni);
}

int tls_facts_fill(struct tls_session *s, struct conn_facts *facts)
{
    facts->secure = true;
    facts->resumed = SSL_session_reused(s->ssl);
    facts->version = slice_from(SSL_get_version(s->ssl)); /* the library's own text, as the next one */
    facts->cipher = slice_from(SSL_CIPHER_get_name(SSL_get_current_cipher(s->ssl)));
    int rc = keep_alpn(s, facts);
    if (rc == 0)
        rc = keep_sni(s, facts);
    if (rc < 0 || s->role == TLS_CLIENT || s->context->material->client_certificate == TLS_CERTIFICATE_NONE)
        return rc;
    X509 *certificate = SSL_get0_peer_certificate(s->ssl);
    if (certificate)
        rc = keep_peer(s, facts, certificate);
    ERR_clear_error();
    return rc;
}
