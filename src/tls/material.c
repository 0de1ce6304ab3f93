/*
 * Material: settings and files, read and checked on the control thread.  Every problem of every file is reported before
 * loading fails.  Memory is control memory (mem_must): a gateway that has none to read its configuration with cannot go
 * on anyway.
 *
 * The ciphers are Mozilla's "intermediate" ones without finite-field DHE: forward secrecy and AEAD only.  The order is
 * the client's, who knows whether it has AES in hardware.
 */
#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/material.h"

enum { ALPN_NAME_MAX = 255, ALPN_LIST_MAX = 16, LISTS_MAX = 4096, SESSION_LIFETIME_S = 7200 };

static const char default_ciphers[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
                                      "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
                                      "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char default_ciphersuites[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char default_curves[] = "X25519:P-256:P-384";

static char **texts_copy(const struct tls_texts *texts)
{
    char **copy = mem_must((texts->count + 1) * sizeof(*copy));

    for (size_t i = 0; i < texts->count; i++)
        copy[i] = mem_strdup(texts->at[i]);
    return copy;
}

static void texts_free(char **texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        mem_free(texts[i]);
    mem_free(texts);
}

static int keep_alpn(struct tls_material *m, const struct tls_texts *alpn, const struct tls_reporter *reporter)
{
    if (alpn->count > ALPN_LIST_MAX) {
        tls_report(reporter, false, "alpn: more than %d protocols", ALPN_LIST_MAX);
        return -ERR_SYSTEM;
    }
    m->alpn = texts_copy(alpn);
    m->alpn_count = alpn->count;
    m->alpn_wire = mem_must(alpn->count * (ALPN_NAME_MAX + 1) + 1);
    for (size_t i = 0; i < alpn->count; i++) {
        size_t len = strlen(alpn->at[i]);
        if (len == 0 || len > ALPN_NAME_MAX) {
            tls_report(reporter, false, "alpn: a protocol's name has 1 to %d bytes", ALPN_NAME_MAX);
            return -ERR_SYSTEM;
        }
        m->alpn_wire[m->alpn_wire_len++] = (unsigned char)len;
        memcpy(m->alpn_wire + m->alpn_wire_len, alpn->at[i], len);
        m->alpn_wire_len += len;
    }
    return 0;
}

static int keep_rules(struct tls_material *m, const struct tls_settings *s, const struct tls_reporter *reporter)
{
    int rc = 0;

    m->allowed_names = texts_copy(&s->allowed_names);
    m->allowed_count = s->allowed_names.count;
    for (size_t i = 0; i < m->allowed_count; i++)
        if (!tls_pattern_valid(slice_from(m->allowed_names[i]))) {
            tls_report(reporter, false,
                       "`%s` is no rule for names: expected DNS:, URI: or email: and a name, with at most "
                       "one `*` where it is allowed",
                       m->allowed_names[i]);
            rc = -ERR_SYSTEM;
        }
    if (m->allowed_count > LISTS_MAX) {
        tls_report(reporter, false, "more than %d rules for names", LISTS_MAX);
        rc = -ERR_SYSTEM;
    }
    return rc;
}

/* The library is asked whether it knows them. */
static int check_lists(const struct tls_material *m, const struct tls_reporter *reporter)
{
    SSL_CTX *trial = SSL_CTX_new(TLS_method());
    int rc = 0;

    if (!trial)
        return -ERR_MEMORY;
    if (SSL_CTX_set_cipher_list(trial, m->ciphers) != 1) {
        tls_report(reporter, false, "ciphers: `%s` selects no cipher of TLS 1.2", m->ciphers);
        rc = -ERR_SYSTEM;
    }
    if (SSL_CTX_set_ciphersuites(trial, m->ciphersuites) != 1) {
        tls_report(reporter, false, "ciphersuites: `%s` is no list of TLS 1.3 suites", m->ciphersuites);
        rc = -ERR_SYSTEM;
    }
    if (SSL_CTX_set1_curves_list(trial, m->curves) != 1) {
        tls_report(reporter, false, "curves: `%s` is no list of curves, or names one that is not known", m->curves);
        rc = -ERR_SYSTEM;
    }
    SSL_CTX_free(trial);
    ERR_clear_error();
    return rc;
}

static int keep_settings(struct tls_material *m, const struct tls_settings *s, const struct tls_reporter *reporter)
{
    m->role = s->role;
    m->version_min = s->version_min ? s->version_min : TLS_VERSION_1_2;
    m->version_max = s->version_max ? s->version_max : TLS_VERSION_1_3;
    m->ciphers = mem_strdup(s->ciphers ? s->ciphers : default_ciphers);
    m->ciphersuites = mem_strdup(s->ciphersuites ? s->ciphersuites : default_ciphersuites);
    m->curves = mem_strdup(s->curves ? s->curves : default_curves);
    m->verify_depth = s->verify_depth ? s->verify_depth : TLS_VERIFY_DEPTH_DEFAULT;
    m->insecure = s->insecure;
    m->no_tickets = s->no_tickets;
    m->keep_certificate = s->keep_certificate;
    m->client_certificate = s->client_certificate;
    m->session_lifetime_s = s->session_lifetime_s ? s->session_lifetime_s : SESSION_LIFETIME_S;
    int rc = keep_alpn(m, &s->alpn, reporter), rules_rc = keep_rules(m, s, reporter);
    if (rc == 0)
        rc = rules_rc;
    if (m->version_min > m->version_max) {
        tls_report(reporter, false, "the lowest version of TLS is above the highest");
        rc = -ERR_SYSTEM;
    }
    int lists_rc = check_lists(m, reporter);
    return rc ? rc : lists_rc;
}

static int load_authorities(struct tls_material *m, const struct tls_settings *s, const struct tls_reporter *reporter)
{
    bool asks = s->client_certificate != TLS_CERTIFICATE_NONE;

    if (s->role == TLS_SERVER && asks && !s->ca_file) {
        tls_report(reporter, false,
                   "client certificates are asked for, but no file says which authorities may sign them");
        return -ERR_SYSTEM;
    }
    if (s->role == TLS_SERVER ? !asks : s->insecure)
        return 0;
    return tls_authorities_load(s->ca_file, reporter, &m->authorities);
}

static int load_certificates(struct tls_material *m, const struct tls_settings *s, const struct tls_reporter *reporter)
{
    int rc = 0;

    if (s->role == TLS_SERVER && s->certificate_count == 0) {
        tls_report(reporter, false, "a server needs at least one certificate");
        return -ERR_SYSTEM;
    }
    if (s->certificate_count > (s->role == TLS_SERVER ? TLS_CERTIFICATES_MAX : 1)) {
        tls_report(reporter, false, "more than %d certificates", s->role == TLS_SERVER ? TLS_CERTIFICATES_MAX : 1);
        return -ERR_SYSTEM;
    }
    m->certificates = mem_must((s->certificate_count + 1) * sizeof(*m->certificates));
    for (size_t i = 0; i < s->certificate_count; i++) {
        int one = tls_certificate_load(&s->certificates[i], reporter, &m->certificates[m->certificate_count]);
        if (one == 0)
            m->certificate_count++;
        else
            rc = one;
    }
    return rc;
}

static void hash_number(EVP_MD_CTX *hash, uint64_t number)
{
    (void)EVP_DigestUpdate(hash, &number, sizeof(number));
}

static void hash_bytes_of(EVP_MD_CTX *hash, const void *bytes, size_t len)
{
    hash_number(hash, len);
    (void)EVP_DigestUpdate(hash, bytes, len);
}

static void hash_texts(EVP_MD_CTX *hash, char *const *texts, size_t count)
{
    hash_number(hash, count);
    for (size_t i = 0; i < count; i++)
        hash_bytes_of(hash, texts[i], strlen(texts[i]));
}

static void hash_certificate(EVP_MD_CTX *hash, const struct tls_certificate *c)
{
    hash_texts(hash, c->names, c->name_count);
    hash_number(hash, c->chain_count);
    for (size_t i = 0; i < c->chain_count; i++)
        hash_bytes_of(hash, c->chain[i].at, c->chain[i].len);
    hash_bytes_of(hash, c->key.at, c->key.len);
    hash_bytes_of(hash, c->file, strlen(c->file)); /* shown in metrics */
}

static int make_fingerprint(struct tls_material *m)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    char *lists[] = { m->ciphers, m->ciphersuites, m->curves };
    uint64_t numbers[] = { m->role,       m->version_min,      m->version_max,        m->verify_depth,      m->insecure,
                           m->no_tickets, m->keep_certificate, m->client_certificate, m->session_lifetime_s };
    int rc = -ERR_MEMORY;

    if (hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1) {
        hash_bytes_of(hash, numbers, sizeof(numbers));
        hash_texts(hash, lists, ARRAY_LEN(lists));
        hash_bytes_of(hash, m->alpn_wire, m->alpn_wire_len);
        hash_texts(hash, m->allowed_names, m->allowed_count);
        if (m->authorities)
            hash_bytes_of(hash, tls_authorities_fingerprint(m->authorities), TLS_FINGERPRINT_BYTES);
        for (size_t i = 0; i < m->certificate_count; i++)
            hash_certificate(hash, &m->certificates[i]);
        rc = EVP_DigestFinal_ex(hash, m->fingerprint, NULL) == 1 ? 0 : -ERR_MEMORY;
    }
    EVP_MD_CTX_free(hash);
    return rc;
}

int tls_material_load(const struct tls_settings *settings, const struct tls_reporter *reporter,
                      struct tls_material **ret_material)
{
    struct tls_material *m = mem_must(sizeof(*m));

    m->magic = TLS_MATERIAL_MAGIC;
    atomic_init(&m->refs, 1);
    int rc = keep_settings(m, settings, reporter);
    int authorities_rc = load_authorities(m, settings, reporter);
    int certificates_rc = load_certificates(m, settings, reporter);
    if (rc == 0)
        rc = authorities_rc ? authorities_rc : certificates_rc;
    if (rc == 0 && m->role == TLS_SERVER)
        tls_names_build(m, reporter);
    if (rc == 0)
        rc = make_fingerprint(m);
    if (rc < 0)
        tls_material_drop(m);
    else
        *ret_material = m;
    return rc;
}

struct tls_material *tls_material_hold(struct tls_material *material)
{
    MAGIC_CHECK(material, TLS_MATERIAL_MAGIC);
    atomic_fetch_add_explicit(&material->refs, 1, memory_order_relaxed);
    return material;
}

void tls_material_drop(struct tls_material *material)
{
    if (!material)
        return;
    MAGIC_CHECK(material, TLS_MATERIAL_MAGIC);
    if (atomic_fetch_sub_explicit(&material->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (size_t i = 0; i < material->certificate_count; i++)
        tls_certificate_done(&material->certificates[i]);
    mem_free(material->certificates);
    mem_free(material->sets);
    mem_free(material->names);
    texts_free(material->alpn, material->alpn_count);
    texts_free(material->allowed_names, material->allowed_count);
    mem_free(material->alpn_wire);
    mem_free(material->ciphers);
    mem_free(material->ciphersuites);
    mem_free(material->curves);
    tls_authorities_drop(material->authorities);
    material->magic = 0;
    mem_free(material);
}

const unsigned char *tls_material_fingerprint(const struct tls_material *material)
{
    return material->fingerprint;
}

enum tls_role tls_material_role(const struct tls_material *material)
{
    return material->role;
}

bool tls_material_certificate(const struct tls_material *material, size_t index, struct tls_certificate_info *ret_info)
{
    static const char *const kinds[TLS_KINDS] = { "ECDSA", "RSA", "ED25519" };

    if (index >= material->certificate_count)
        return false;
    const struct tls_certificate *c = &material->certificates[index];
    *ret_info = (struct tls_certificate_info){
        .file = c->file,
        .subject = c->subject,
        .key_type = kinds[c->kind],
        .names = { (const char *const *)c->names, c->name_count },
        .not_after_s = c->not_after_s,
    };
    return true;
}
