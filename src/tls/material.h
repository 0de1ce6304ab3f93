/*
 * Inside of tls/: what a material is made of.  Everything in it is written once, while it is loaded, and read by any
 * thread afterwards; only the count of its holders changes.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "base/slice.h"
#include "tls/tls.h"

enum {
    TLS_MATERIAL_MAGIC = 0x746c736d,
    TLS_KINDS = 3, /* of keys that may stand side by side under one name: ECDSA, RSA, Ed25519 */
    TLS_CHAIN_MAX = 16,
    TLS_FINGERPRINT_BYTES = 32,
    TLS_NO_CERTIFICATE = -1,
};

struct tls_der {
    unsigned char *at;
    size_t len;
};

struct tls_certificate {
    char *file;
    char *subject;
    struct tls_der chain[TLS_CHAIN_MAX]; /* the first is its own */
    size_t chain_count;
    struct tls_der key; /* as it stood in the file; wiped when freed */
    char **names;       /* lower case */
    size_t name_count;
    unsigned kind; /* below TLS_KINDS */
    int64_t not_before_s, not_after_s;
};

/* What is shown for a name: at most one certificate of each kind. */
struct tls_set {
    int32_t certificates[TLS_KINDS];                      /* index, or TLS_NO_CERTIFICATE */
    unsigned char session_context[TLS_FINGERPRINT_BYTES]; /* sessions are resumed only where it is the same */
};

struct tls_name {
    const char *text; /* a wildcard without its star: ".a.example" */
    uint32_t set;
};

struct tls_material {
    uint32_t magic;
    atomic_uint refs;
    enum tls_role role;
    enum tls_version version_min, version_max;
    char *ciphers, *ciphersuites, *curves;
    char **alpn;
    size_t alpn_count;
    unsigned char *alpn_wire; /* as ALPN has it: length, name, ... */
    size_t alpn_wire_len;
    struct tls_authorities *authorities;
    unsigned verify_depth;
    bool insecure, no_tickets;
    enum tls_keep keep_certificate;
    enum tls_client_certificate client_certificate;
    char **allowed_names;
    size_t allowed_count;
    uint32_t session_lifetime_s;

    struct tls_certificate *certificates;
    size_t certificate_count;
    struct tls_set *sets; /* the first serves what no name fits */
    size_t set_count;
    struct tls_name *names; /* sorted by text */
    size_t name_count;
    unsigned char fingerprint[TLS_FINGERPRINT_BYTES];
};

/* ---- pem.c ---- */

void tls_report(const struct tls_reporter *reporter, bool warning, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The whole file, at most TLS_FILE_BYTES_MAX; reports. The caller wipes and frees it with tls_der_free. */
/* keep.c: for tls_file_read, which remembers what it reads. */
void tls_keep_file(const char *path, const struct tls_der *bytes);
bool tls_kept_file(const char *path, struct tls_der *ret_bytes);
MUST_USE int tls_file_read(const char *path, const struct tls_reporter *reporter, struct tls_der *ret_bytes);
void tls_der_free(struct tls_der *der); /* wiped first */
/* Reads `files` into the certificate, checks that they fit each other, reports. */
MUST_USE int tls_certificate_load(const struct tls_files *files, const struct tls_reporter *reporter,
                                  struct tls_certificate *ret_certificate);
void tls_certificate_done(struct tls_certificate *certificate);

/* ---- names.c ---- */

/* Sorts the certificates into sets by their names, and makes what sessions are bound to. */
void tls_names_build(struct tls_material *material, const struct tls_reporter *reporter);
/* The set for a name in lower case; 0 when none fits. */
uint32_t tls_names_find(const struct tls_material *material, struct slice name);
/* Whether the certificate has a name that fits one of the patterns. */
bool tls_names_allowed(const struct tls_material *material, X509 *certificate);
/* Whether it is a pattern as tls.h describes them. */
bool tls_pattern_valid(struct slice pattern);
/* Whether it may stand in tls_files.names: a host name, or "*." and one. */
bool tls_name_valid(struct slice name);

/* ---- authorities.c: who is trusted, shared by all materials that name the same file ---- */

struct tls_authorities;

/* `path` NULL: the system's bundle. Control thread. */
MUST_USE int tls_authorities_load(const char *path, const struct tls_reporter *reporter,
                                  struct tls_authorities **ret_authorities);
void tls_authorities_drop(struct tls_authorities *authorities); /* any thread */
X509_STORE *tls_authorities_store(const struct tls_authorities *authorities);
const unsigned char *tls_authorities_fingerprint(const struct tls_authorities *authorities);
/* Copies of the subjects, for servers that name whom they trust; NULL when there are too many to name, or no memory. */
STACK_OF(X509_NAME) * tls_authorities_names(const struct tls_authorities *authorities);
