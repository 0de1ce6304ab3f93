/*
 * Certificates and keys from PEM files.  Whatever is wrong with a file is said in a line that names it: these messages
 * are what an operator has when a reload is refused.  A key's bytes are wiped wherever they were.
 *
 * Encrypted keys are refused: a gateway that restarts by itself has nobody to ask for the passphrase.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/material.h"

enum { REPORT_BYTES = 1024, NAMES_MAX = 1000 };

void tls_report(const struct tls_reporter *reporter, bool warning, const char *format, ...)
{
    char text[REPORT_BYTES];
    va_list args;

    if (!reporter || !reporter->report)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    reporter->report(reporter->user, warning, text);
}

void tls_der_free(struct tls_der *der)
{
    if (der->at)
        OPENSSL_cleanse(der->at, der->len);
    mem_free(der->at);
    *der = (struct tls_der){ 0 };
}

/* Into a buffer that cannot grow: growing would leave a key's bytes in what realloc frees. */
static int read_descriptor(int fd, struct tls_der *bytes, size_t max)
{
    ssize_t got;

    while ((got = sys->read(fd, bytes->at + bytes->len, max + 1 - bytes->len)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        bytes->len += (size_t)got;
        if (bytes->len > max)
            return EFBIG;
    }
    return 0;
}

static int file_size(int fd, size_t *ret_size)
{
    struct stat about;

    if (fstat(fd, &about) < 0)
        return errno;
    if (S_ISDIR(about.st_mode))
        return EISDIR;
    *ret_size = S_ISREG(about.st_mode) ? (size_t)about.st_size : TLS_FILE_BYTES_MAX; /* a pipe: as much as is allowed */
    return about.st_size > TLS_FILE_BYTES_MAX ? EFBIG : 0;
}

int tls_file_read(const char *path, const struct tls_reporter *reporter, struct tls_der *ret_bytes)
{
    struct tls_der bytes = { 0 };
    size_t size = 0;
    int fd = sys->open(path, O_RDONLY, 0);
    int error = fd < 0 ? errno : file_size(fd, &size);

    if (!error) {
        bytes.at = mem_must(size + 1);
        error = read_descriptor(fd, &bytes, size);
    }
    if (fd >= 0)
        sys->close(fd);
    if (!error && bytes.len > 0) {
        tls_keep_file(path, &bytes);
        *ret_bytes = bytes;
        return 0;
    }
    tls_der_free(&bytes);
    if (error == EACCES && tls_kept_file(path, ret_bytes)) {
        tls_report(reporter, true, "%s: cannot be read: %s; it is taken as it was when it could be", path,
                   strerror(error));
        return 0;
    }
    if (error == ENOENT)
        tls_report(reporter, false, "%s: there is no such file; paths are relative to the configuration's folder",
                   path);
    else if (error == EFBIG)
        tls_report(reporter, false, "%s: larger than %d MiB, or growing", path, TLS_FILE_BYTES_MAX >> 20);
    else if (error)
        tls_report(reporter, false, "%s: cannot be read: %s", path, strerror(error));
    else
        tls_report(reporter, false, "%s: the file is empty", path);
    return -ERR_SYSTEM;
}

/* ---- the blocks of a file ---- */

enum block { BLOCK_END, BLOCK_CERTIFICATE, BLOCK_KEY, BLOCK_ENCRYPTED, BLOCK_OTHER, BLOCK_BROKEN };

static enum block block_kind(const char *name, const char *header)
{
    size_t len = strlen(name);

    if (strstr(header, "ENCRYPTED") || !strcmp(name, "ENCRYPTED PRIVATE KEY"))
        return BLOCK_ENCRYPTED;
    if (!strcmp(name, "CERTIFICATE") || !strcmp(name, "X509 CERTIFICATE"))
        return BLOCK_CERTIFICATE;
    if (len >= 11 && !strcmp(name + len - 11, "PRIVATE KEY"))
        return BLOCK_KEY;
    return BLOCK_OTHER;
}

/* The next block's bytes, for the caller to wipe and to free. */
static enum block next_block(BIO *text, struct tls_der *ret_der)
{
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long len = 0;
    enum block kind;

    if (PEM_read_bio(text, &name, &header, &data, &len) != 1) {
        kind = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE ? BLOCK_END : BLOCK_BROKEN;
        ERR_clear_error();
        return kind;
    }
    kind = block_kind(name, header);
    if (len > 0) {
        ret_der->at = mem_must((size_t)len);
        ret_der->len = (size_t)len;
        memcpy(ret_der->at, data, (size_t)len);
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)len);
    return kind;
}

struct reading {
    const char *path;
    const struct tls_reporter *reporter;
    struct tls_certificate *certificate;
    bool take_chain, take_key;
};

/* 1: go on. */
static int take_block(struct reading *reading, enum block kind, struct tls_der *der)
{
    struct tls_certificate *c = reading->certificate;

    switch (kind) {
    case BLOCK_CERTIFICATE:
        if (!reading->take_chain)
            return 1;
        if (c->chain_count == TLS_CHAIN_MAX) {
            tls_report(reading->reporter, false,
                       "%s: more than %d certificates: it should hold one, and what leads to its "
                       "authority",
                       reading->path, TLS_CHAIN_MAX);
            return -ERR_SYSTEM;
        }
        c->chain[c->chain_count++] = *der;
        *der = (struct tls_der){ 0 };
        return 1;
    case BLOCK_KEY:
        if (!reading->take_key || c->key.at)
            return 1;
        c->key = *der;
        *der = (struct tls_der){ 0 };
        return 1;
    case BLOCK_ENCRYPTED:
        if (!reading->take_key)
            return 1;
        tls_report(reading->reporter, false,
                   "%s: the private key is encrypted with a passphrase; decrypt it "
                   "(`openssl pkey -in %s -out ...`) and protect the file by its mode",
                   reading->path, reading->path);
        return -ERR_SYSTEM;
    case BLOCK_BROKEN:
        tls_report(reading->reporter, false, "%s: a PEM block is malformed", reading->path);
        return -ERR_SYSTEM;
    case BLOCK_OTHER:
        return 1;
    case BLOCK_END:
        break;
    }
    return 0;
}

static int read_blocks(struct reading *reading)
{
    struct tls_der file = { 0 };
    int rc = tls_file_read(reading->path, reading->reporter, &file);

    if (rc < 0)
        return rc;
    BIO *text = BIO_new_mem_buf(file.at, (int)file.len);
    rc = text ? 1 : -ERR_MEMORY;
    while (rc == 1) {
        struct tls_der der = { 0 };
        enum block kind = next_block(text, &der);
        rc = take_block(reading, kind, &der);
        tls_der_free(&der);
    }
    BIO_free(text);
    tls_der_free(&file);
    return rc;
}

/* ---- what is in them ---- */

static X509 *parse_x509(const struct tls_der *der)
{
    const unsigned char *at = der->at;

    return d2i_X509(NULL, &at, (long)der->len);
}

static void add_name(struct tls_certificate *c, struct slice name)
{
    size_t len = name.len;

    if (c->name_count == NAMES_MAX || !tls_name_valid(name))
        return;
    char *kept = mem_must(len + 1);
    for (size_t i = 0; i < len; i++)
        kept[i] = (char)(name.at[i] >= 'A' && name.at[i] <= 'Z' ? name.at[i] | 0x20 : name.at[i]);
    for (size_t i = 0; i < c->name_count; i++)
        if (!strcmp(c->names[i], kept)) {
            mem_free(kept);
            return;
        }
    c->names[c->name_count++] = kept;
}

static int add_given_names(struct tls_certificate *c, const struct tls_texts *names,
                           const struct tls_reporter *reporter)
{
    int rc = 0;

    for (size_t i = 0; i < names->count; i++)
        if (tls_name_valid(slice_from(names->at[i]))) {
            add_name(c, slice_from(names->at[i]));
        } else {
            tls_report(reporter, false, "%s: `%s` is no name of a host, nor `*.` and one", c->file, names->at[i]);
            rc = -ERR_SYSTEM;
        }
    return rc;
}

static void add_certificate_names(struct tls_certificate *c, X509 *leaf)
{
    GENERAL_NAMES *sans = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    char common[256];

    for (int i = 0; i < sk_GENERAL_NAME_num(sans); i++) {
        const GENERAL_NAME *san = sk_GENERAL_NAME_value(sans, i);
        if (san->type == GEN_DNS)
            add_name(c, slice_make((const char *)ASN1_STRING_get0_data(san->d.dNSName),
                                   (size_t)ASN1_STRING_length(san->d.dNSName)));
    }
    GENERAL_NAMES_free(sans);
    int len = c->name_count > 0
                  ? 0
                  : X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, common, sizeof(common));
    if (len > 0)
        add_name(c, slice_make(common, (size_t)len));
}

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm parts;

    return time && ASN1_TIME_to_tm(time, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

static char *subject_of(X509 *leaf)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *text = NULL, *kept;
    long len = 0;

    if (out && X509_NAME_print_ex(out, X509_get_subject_name(leaf), 0, XN_FLAG_RFC2253) >= 0)
        len = BIO_get_mem_data(out, &text);
    kept = mem_must((size_t)len + 1);
    if (len > 0)
        memcpy(kept, text, (size_t)len);
    BIO_free(out);
    return kept;
}

static int key_kind(const EVP_PKEY *key, unsigned *ret_kind)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC:
        *ret_kind = 0;
        return 0;
    case EVP_PKEY_RSA:
    case EVP_PKEY_RSA_PSS:
        *ret_kind = 1;
        return 0;
    case EVP_PKEY_ED25519:
    case EVP_PKEY_ED448:
        *ret_kind = 2;
        return 0;
    default:
        return -ERR_SYSTEM;
    }
}

static int check_key(struct tls_certificate *c, X509 *leaf, const char *key_path, const struct tls_reporter *reporter)
{
    const unsigned char *at = c->key.at;
    EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)c->key.len);
    int rc = 0;

    if (!key) {
        tls_report(reporter, false, "%s: the private key is malformed, or of a kind that is not known", key_path);
        rc = -ERR_SYSTEM;
    } else if (key_kind(key, &c->kind) < 0) {
        tls_report(reporter, false, "%s: a private key has to be ECDSA, RSA or Ed25519", key_path);
        rc = -ERR_SYSTEM;
    } else if (X509_check_private_key(leaf, key) != 1) {
        tls_report(reporter, false, "%s: the private key does not belong to the certificate in %s", key_path, c->file);
        rc = -ERR_SYSTEM;
    } else if (c->kind == 1 && EVP_PKEY_get_bits(key) < 2048) {
        tls_report(reporter, false, "%s: an RSA key of %d bits is too weak; it needs 2048 at least", key_path,
                   EVP_PKEY_get_bits(key));
        rc = -ERR_SYSTEM;
    }
    EVP_PKEY_free(key);
    ERR_clear_error();
    return rc;
}

static void check_dates(const struct tls_certificate *c, const struct tls_reporter *reporter)
{
    int64_t now_s = (int64_t)(sys->wall_ns() / 1000000000u);

    if (c->not_after_s < now_s)
        tls_report(reporter, true, "%s: the certificate has expired", c->file);
    else if (c->not_before_s > now_s)
        tls_report(reporter, true, "%s: the certificate is not valid yet", c->file);
}

/* The rest of the chain has to be readable; that its order is right is for the clients to like or not. */
static int check_chain(const struct tls_certificate *c, X509 *leaf, const struct tls_reporter *reporter)
{
    X509 *below = leaf;

    X509_up_ref(below);
    for (size_t i = 1; i < c->chain_count; i++) {
        X509 *next = parse_x509(&c->chain[i]);
        if (!next) {
            X509_free(below);
            tls_report(reporter, false, "%s: certificate %zu is malformed", c->file, i + 1);
            return -ERR_SYSTEM;
        }
        if (X509_NAME_cmp(X509_get_issuer_name(below), X509_get_subject_name(next)) != 0)
            tls_report(reporter, true, "%s: certificate %zu is not the issuer of the one before it", c->file, i + 1);
        X509_free(below);
        below = next;
    }
    X509_free(below);
    return 0;
}

static int check_certificate(const struct tls_files *files, const struct tls_reporter *reporter,
                             struct tls_certificate *c)
{
    const char *key_path = files->key ? files->key : files->certificate;

    if (c->chain_count == 0) {
        tls_report(reporter, false, "%s: there is no certificate in PEM form in it", files->certificate);
        return -ERR_SYSTEM;
    }
    if (!c->key.at) {
        tls_report(reporter, false, "%s: there is no private key in PEM form in it", key_path);
        return -ERR_SYSTEM;
    }
    X509 *leaf = parse_x509(&c->chain[0]);
    if (!leaf) {
        ERR_clear_error();
        tls_report(reporter, false, "%s: the certificate is malformed", files->certificate);
        return -ERR_SYSTEM;
    }
    c->names = mem_must(NAMES_MAX * sizeof(*c->names));
    if (add_given_names(c, &files->names, reporter) < 0) {
        X509_free(leaf);
        return -ERR_SYSTEM;
    }
    if (files->names.count == 0)
        add_certificate_names(c, leaf);
    c->subject = subject_of(leaf);
    c->not_before_s = seconds_of(X509_get0_notBefore(leaf));
    c->not_after_s = seconds_of(X509_get0_notAfter(leaf));
    int rc = check_key(c, leaf, key_path, reporter);
    if (rc == 0)
        rc = check_chain(c, leaf, reporter);
    if (rc == 0)
        check_dates(c, reporter);
    X509_free(leaf);
    ERR_clear_error();
    return rc;
}

int tls_certificate_load(const struct tls_files *files, const struct tls_reporter *reporter,
                         struct tls_certificate *ret_certificate)
{
    struct tls_certificate c = { .file = mem_strdup(files->certificate) };
    struct reading chain = { files->certificate, reporter, &c, true, files->key == NULL };
    struct reading key = { files->key, reporter, &c, false, true };
    int rc = read_blocks(&chain);

    if (files->key) { /* after a failure too: both files' problems are told */
        int key_rc = read_blocks(&key);
        rc = rc ? rc : key_rc;
    }
    if (rc == 0)
        rc = check_certificate(files, reporter, &c);
    if (rc < 0)
        tls_certificate_done(&c);
    else
        *ret_certificate = c;
    return rc;
}

void tls_certificate_done(struct tls_certificate *certificate)
{
    for (size_t i = 0; i < certificate->chain_count; i++)
        tls_der_free(&certificate->chain[i]);
    tls_der_free(&certificate->key);
    for (size_t i = 0; i < certificate->name_count; i++)
        mem_free(certificate->names[i]);
    mem_free(certificate->names);
    mem_free(certificate->subject);
    mem_free(certificate->file);
    *certificate = (struct tls_certificate){ 0 };
}
