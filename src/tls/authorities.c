/*
 * Who is trusted: bundles of certificates.  The system's bundle is a megabyte when parsed, and most configurations name
 * it, or one of their own, many times: so all materials that name the same file with the same contents share one store,
 * and all workers too.  OpenSSL's stores are made for that: their own lock is taken only while a certificate is
 * verified, which a resumed session is not.
 *
 * The list of them is the control thread's; the count of holders is atomic, and the last one on whichever thread takes
 * it out of the list, under the lock.
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/sys.h"
#include "tls/material.h"

enum { NAMES_SENT_MAX = 64 }; /* a list of more would make each handshake long, and clients choose without it */

struct tls_authorities {
    struct link link;
    unsigned refs; /* under the lock */
    X509_STORE *store;
    STACK_OF(X509_NAME) * names;
    unsigned char fingerprint[TLS_FINGERPRINT_BYTES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct link all = { &all, &all };

/* Where distributions keep it, Debian first. */
static const char *const system_bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
};

static const char *system_bundle(void)
{
    for (size_t i = 0; i < ARRAY_LEN(system_bundles); i++)
        if (access(system_bundles[i], R_OK) == 0)
            return system_bundles[i];
    return NULL;
}

static struct tls_authorities *find(const unsigned char *fingerprint)
{
    LIST_FOR_EACH (it, &all) {
        struct tls_authorities *a = container_of(it, struct tls_authorities, link);
        if (!memcmp(a->fingerprint, fingerprint, TLS_FINGERPRINT_BYTES))
            return a;
    }
    return NULL;
}

static void authorities_free(struct tls_authorities *a)
{
    X509_STORE_free(a->store);
    sk_X509_NAME_pop_free(a->names, X509_NAME_free);
    mem_free(a);
}

static int add_one(struct tls_authorities *a, X509 *certificate)
{
    if (X509_STORE_add_cert(a->store, certificate) != 1)
        return -ERR_MEMORY;
    if (sk_X509_NAME_num(a->names) > NAMES_SENT_MAX)
        return 0;
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(certificate));
    if (!name || sk_X509_NAME_push(a->names, name) == 0) {
        X509_NAME_free(name);
        return -ERR_MEMORY;
    }
    return 0;
}

/* How many there were, or an error. */
static int add_all(struct tls_authorities *a, const char *path, const struct tls_der *file,
                   const struct tls_reporter *reporter)
{
    BIO *text = BIO_new_mem_buf(file->at, (int)file->len);
    int count = 0, rc = text ? 0 : -ERR_MEMORY;
    X509 *certificate;

    while (rc == 0 && (certificate = PEM_read_bio_X509(text, NULL, NULL, NULL)) != NULL) {
        rc = add_one(a, certificate);
        count++;
        X509_free(certificate);
    }
    if (rc == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        tls_report(reporter, false, "%s: certificate %d is malformed", path, count + 1);
        rc = -ERR_SYSTEM;
    } else if (rc == 0 && count == 0) {
        tls_report(reporter, false, "%s: there is no certificate in PEM form in it", path);
        rc = -ERR_SYSTEM;
    }
    BIO_free(text);
    ERR_clear_error();
    return rc;
}

static int authorities_new(const char *path, const struct tls_der *file, const struct tls_reporter *reporter,
                           struct tls_authorities **ret_authorities)
{
    struct tls_authorities *a = mem_must(sizeof(*a));
    int rc = -ERR_MEMORY;

    a->refs = 1;
    a->store = X509_STORE_new();
    a->names = sk_X509_NAME_new_null();
    if (a->store && a->names && EVP_Digest(file->at, file->len, a->fingerprint, NULL, EVP_sha256(), NULL) == 1) {
        /* What is in the file is trusted, be it an intermediate authority or a certificate itself. */
        X509_STORE_set_flags(a->store, X509_V_FLAG_PARTIAL_CHAIN);
        rc = add_all(a, path, file, reporter);
    }
    if (rc < 0)
        authorities_free(a);
    else
        *ret_authorities = a;
    return rc;
}

/* One that is there already is taken instead. */
static struct tls_authorities *enlist(struct tls_authorities *fresh)
{
    pthread_mutex_lock(&lock);
    struct tls_authorities *old = find(fresh->fingerprint);
    if (old)
        old->refs++;
    else
        list_push_back(&all, &fresh->link);
    pthread_mutex_unlock(&lock);
    if (!old)
        return fresh;
    authorities_free(fresh);
    return old;
}

static struct tls_authorities *hold_known(const struct tls_der *file)
{
    unsigned char fingerprint[TLS_FINGERPRINT_BYTES];

    if (EVP_Digest(file->at, file->len, fingerprint, NULL, EVP_sha256(), NULL) != 1)
        return NULL;
    pthread_mutex_lock(&lock);
    struct tls_authorities *known = find(fingerprint);
    if (known)
        known->refs++;
    pthread_mutex_unlock(&lock);
    return known;
}

int tls_authorities_load(const char *path, const struct tls_reporter *reporter,
                         struct tls_authorities **ret_authorities)
{
    struct tls_der file = { 0 };
    const char *from = path ? path : system_bundle();

    if (!from) {
        tls_report(reporter, false,
                   "the system has no bundle of certificate authorities: install ca-certificates, or "
                   "name a file of your own");
        return -ERR_SYSTEM;
    }
    int rc = tls_file_read(from, reporter, &file);
    if (rc < 0)
        return rc;
    struct tls_authorities *a = hold_known(&file);
    if (!a) {
        rc = authorities_new(from, &file, reporter, &a);
        if (rc == 0)
            a = enlist(a);
    }
    tls_der_free(&file);
    if (rc == 0)
        *ret_authorities = a;
    return rc;
}

void tls_authorities_drop(struct tls_authorities *authorities)
{
    if (!authorities)
        return;
    pthread_mutex_lock(&lock);
    ENSURE(authorities->refs > 0);
    bool last = --authorities->refs == 0;
    if (last)
        list_unlink(&authorities->link);
    pthread_mutex_unlock(&lock);
    if (last)
        authorities_free(authorities);
}

X509_STORE *tls_authorities_store(const struct tls_authorities *authorities)
{
    return authorities->store;
}

const unsigned char *tls_authorities_fingerprint(const struct tls_authorities *authorities)
{
    return authorities->fingerprint;
}

STACK_OF(X509_NAME) * tls_authorities_names(const struct tls_authorities *authorities)
{
    if (sk_X509_NAME_num(authorities->names) > NAMES_SENT_MAX)
        return NULL;
    return sk_X509_NAME_deep_copy(authorities->names, X509_NAME_dup, X509_NAME_free);
}
