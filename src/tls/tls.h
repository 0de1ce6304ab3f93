/*
 * TLS 1.2 and 1.3 as a layer over a transport (net/transport.h), for both roles, on OpenSSL 3.
 *
 *      control thread                          each worker
 *      files, settings                         tls_worker      library context, counters, ticket keys at hand
 *        -> tls_material   immutable, counted    -> tls_context  SSL_CTXs built from a material
 *             new one on reload                       -> tls_layer  what listeners and targets point to: stays
 *                                                          -> transports  keep the context that they began with
 *
 * Putting new certificates in force is tls_layer_use with a context of the new material: it closes nothing.  A client's
 * layer is one target's: it holds the name that is checked and the newest session.
 *
 * What a transport does under TLS, beyond transport.h:
 *      establish  0, 1, or  client role: -ERR_TLS_FAILED, -ERR_NOT_HTTP2 (h2 was all that was offered, and it was
 *                 refused), and what the connect gives;
 *                 server role: -ERR_HANDSHAKE_FAILED, -ERR_CERTIFICATE_REQUIRED, -ERR_CERTIFICATE_REFUSED, or
 *                 -ERR_PLAIN_HTTP: then the transport is plain from there on, so that an answer can be sent in clear;
 *                 both: -ERR_MEMORY, -ERR_SYSTEM. The facts are full when it says 0.
 *      recv       0 only after the peer's close_notify. A connection that ends without one gives -ECONNRESET: a body
 * that goes on until close was cut then, while between two messages it is no more than an end. -EPROTO: what came is no
 * TLS. sendv      bytes that were encrypted but that the kernel did not take are not counted as taken: they must come
 *                 first, unchanged, in the next call. Everyone who sends a stream of bytes does so.
 *      shutdown   close_notify, then FIN. To close without it is to say that something was cut.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/transport.h"

/* Once a process, before any other use of the library (libyaml and the like do not use it) and before threads start:
 * memory comes from `sys`, the system's openssl.cnf is not read. -ERR_SYSTEM, -ERR_MEMORY. */
MUST_USE int tls_start(void);

/* ---- material ---- */

enum tls_role { TLS_SERVER, TLS_CLIENT };
enum tls_version { TLS_VERSION_DEFAULT, TLS_VERSION_1_2, TLS_VERSION_1_3 };
/* A ticket holds the certificate and not its chain: with TLS_KEEP_CHAIN clients that have shown one are not resumed. */
enum tls_keep { TLS_KEEP_TEXTS, TLS_KEEP_CERTIFICATE, TLS_KEEP_CHAIN };
enum tls_client_certificate { TLS_CERTIFICATE_NONE, TLS_CERTIFICATE_OPTIONAL, TLS_CERTIFICATE_REQUIRED };

enum { TLS_CERTIFICATES_MAX = 10000, TLS_FILE_BYTES_MAX = 4 << 20, TLS_VERIFY_DEPTH_DEFAULT = 5 };

struct tls_texts {
    const char *const *at;
    size_t count;
};

/* Paths as the caller has resolved them. PEM: the certificate, then what leads to its authority. */
struct tls_files {
    const char *certificate;
    const char *key;        /* NULL: in the certificate's file */
    struct tls_texts names; /* "a.example", "*.a.example"; none: its DNS names, or the common name when it has none */
};

struct tls_settings {
    enum tls_role role;
    const struct tls_files *certificates; /* server: at least one; the first serves what no name fits. client: 0 or 1 */
    size_t certificate_count;
    enum tls_version version_min, version_max; /* default: 1.2 and 1.3 */
    const char *ciphers;                       /* TLS 1.2, OpenSSL's list; NULL: ECDHE with AEAD only */
    const char *ciphersuites;                  /* TLS 1.3; NULL: OpenSSL's three */
    const char *curves;                        /* "X25519:P-256:P-384", also what NULL is */
    struct tls_texts alpn; /* "h2", "http/1.1", in the order of preference; none: ALPN is not spoken */

    /* Who the peer's certificate must come from. A server with OPTIONAL or REQUIRED needs ca_file. */
    const char *ca_file;                            /* PEM, any number; client: NULL is the system's bundle */
    unsigned verify_depth;                          /* intermediate certificates at most; 0: TLS_VERIFY_DEPTH_DEFAULT */
    bool insecure;                                  /* client: take any certificate */
    enum tls_client_certificate client_certificate; /* server */
    /* Server: one of the certificate's names must fit one of these, else it is refused; none: any fits.
     * "DNS:*.a.example"
     * (`*` is one label), "URI:spiffe://a/b", "URI:spiffe://a/b/..." with a `*` at the end for the rest,
     * "email:a@b.example", "email:*@b.example". */
    struct tls_texts allowed_names;
    enum tls_keep keep_certificate; /* server: what conn_facts holds of the client's certificate beside texts */

    uint32_t session_lifetime_s; /* server: how long a session may be resumed; 0: two hours */
    bool no_tickets;             /* server: no resumption */
};

/* Hears, in one line each, what is wrong with which file. */
struct tls_reporter {
    void (*report)(void *user, bool warning, const char *text);
    void *user;
};

struct tls_material;

/* Reads the files and checks all of them; each problem is reported, and then -ERR_SYSTEM; -ERR_MEMORY. Blocks: control
 * thread. With one reference. */
MUST_USE int tls_material_load(const struct tls_settings *settings, const struct tls_reporter *reporter,
                               struct tls_material **ret_material);
struct tls_material *tls_material_hold(struct tls_material *material);
void tls_material_drop(struct tls_material *material); /* any thread */
/* 32 bytes that are the same when settings and contents of files are: nothing needs to be put in force then. */
const unsigned char *tls_material_fingerprint(const struct tls_material *material);
enum tls_role tls_material_role(const struct tls_material *material);

/* What it holds, for metrics and `describe`. False past the last one. */
struct tls_certificate_info {
    const char *file;
    const char *subject;
    const char *key_type; /* "ECDSA", "RSA", "ED25519" */
    struct tls_texts names;
    int64_t not_after_s; /* since 1970 */
};
bool tls_material_certificate(const struct tls_material *material, size_t index, struct tls_certificate_info *ret_info);

/* ---- session tickets: one table of keys a process, which all workers and all servers use ---- */

enum { TLS_TICKET_KEYS_MAX = 8 };

struct tls_ticket_settings {
    /* Files of 80 random bytes (`openssl rand 80`): the first one's key makes new tickets, all of them are accepted.
     * For several gateways that resume each other's sessions, and over upgrades. None: keys of our own. */
    struct tls_texts key_files;
    uint32_t rotate_s; /* keys of our own: how long one makes new tickets; 0: 8 hours */
    uint32_t accept_s; /* and how long it is accepted after that; 0: as long as rotate_s */
};

/* Puts the settings in force, at start (default settings without it) and at each reload: keys of our own are kept.
 * Files that cannot be read are reported, -ERR_SYSTEM, and everything stays as it was. Control thread. */
MUST_USE int tls_tickets_use(const struct tls_ticket_settings *settings, const struct tls_reporter *reporter);
/* Makes a new key when it is time; returns in how many milliseconds to call it again. Control thread. */
uint64_t tls_tickets_rotate(uint64_t now_ms);

/* ---- what outlives a change of user, and of the binary (keep.c); control thread ---- */

/* From now on what is read is remembered, and a file that may not be read any more (EACCES) is taken as it was, which
 * is reported as a warning: for a process that gives up the rights it began with. */
void tls_keep_files(void);
/* What is remembered, and ticket keys of our own, for the next process: secret. To be given back by tls_kept_free. */
void tls_kept_export(unsigned char **ret_bytes, size_t *ret_len);
void tls_kept_free(unsigned char *bytes, size_t len); /* wipes */
/* In the next process, before anything is loaded: as if it had read those files; it remembers from then on.
 * -ERR_SYSTEM: it makes no sense, and nothing was taken. */
MUST_USE int tls_kept_import(unsigned char *bytes, size_t len);
void tls_kept_forget(void); /* wipes all */

/* ---- what went on, for metrics ---- */

/*   name                   word */
#define TLS_REASONS(X)                                                                                                 \
    X(NONE, "none")                                                                                                    \
    X(PLAIN_HTTP, "plain_http")               /* HTTP in clear on a TLS port */                                        \
    X(CLOSED, "closed")                       /* the peer went away */                                                 \
    X(PROTOCOL, "protocol_error")             /* what came is no TLS, or malformed */                                  \
    X(VERSION, "unsupported_version")         /* no version in common */                                               \
    X(CIPHER, "no_shared_cipher")             /* no cipher, curve or signature in common */                            \
    X(ALPN, "no_application_protocol")        /* no protocol in common */                                              \
    X(NO_CERTIFICATE, "certificate_missing")  /* the peer gave none, and one is required */                            \
    X(EXPIRED, "certificate_expired")         /* the peer's is expired, or not valid yet */                            \
    X(AUTHORITY, "unknown_authority")         /* nobody who is trusted has signed it */                                \
    X(NAME, "name_mismatch")                  /* it is for another name */                                             \
    X(NOT_ALLOWED, "certificate_not_allowed") /* none of its names is among those allowed */                           \
    X(CERTIFICATE, "bad_certificate")         /* anything else about it */                                             \
    X(ALERT, "alert")                         /* the peer refused: its alert tells why */                              \
    X(SYSTEM, "system")                       /* a system call failed */                                               \
    X(MEMORY, "out_of_memory")

enum tls_reason {
#define X(name, word) TLS_REASON_##name,
    TLS_REASONS(X)
#undef X
        TLS_REASON_COUNT
};
const char *tls_reason_word(enum tls_reason reason);

/* Written by one worker, read by anyone; `contexts` is changed by whoever makes or drops one. */
struct tls_counters {
    /* [role][0: TLS 1.2, 1: TLS 1.3][resumed] */
    atomic_uint_least64_t handshakes[2][2][2];
    atomic_uint_least64_t failures[2][TLS_REASON_COUNT]; /* of handshakes; those that time out are not known here */
    atomic_uint_least64_t open[2][2];                    /* [role][0: TLS 1.2, 1: TLS 1.3]: established now */
    atomic_uint_least64_t contexts;                      /* in use now */
};

/* ---- on a worker ---- */

struct tls_worker;
struct tls_context;

/* NULL without memory. Outlives all its contexts; ENSUREs that none is left. Made and freed on any thread. */
struct tls_worker *tls_worker_new(void);
void tls_worker_free(struct tls_worker *worker);
const struct tls_counters *tls_worker_counters(const struct tls_worker *worker);

/* With one reference, which is that of whoever made it: the control thread may make it and hand it over. After that one
 * worker. It takes some milliseconds for a hundred certificates. -ERR_MEMORY; -ERR_SYSTEM when the library refuses what
 * tls_material_load has accepted. */
MUST_USE int tls_context_new(struct tls_worker *worker, struct tls_material *material,
                             struct tls_context **ret_context);
struct tls_context *tls_context_hold(struct tls_context *context);
void tls_context_drop(struct tls_context *context);

/* What a listener's or a target's connections begin with on this worker. Counted, because a transport that stays open
 * may outlive the target. */
struct tls_layer {
    uint32_t magic;
    uint32_t refs;
    struct transport_layer layer; /* for struct dial and the birth */
    struct tls_context *context;
    char *name;      /* client: what SNI says and what the certificate must be for; a name or an IP address */
    void *session;   /* client: the newest, SSL_SESSION */
    uint16_t reason; /* client: of the last handshake, enum tls_reason */
    /* Client: told when a handshake fails for another reason than the last one did, and with NULL when one succeeds
     * again; so that a log says it once. `text` ends with the call. */
    void (*on_change)(void *user, const char *text);
    void *user;
};

/* With one reference; holds the context. `name` is copied; SLICE_EMPTY for a server, and for a client that is insecure
 * and sends no SNI. -ERR_MEMORY. */
MUST_USE int tls_layer_new(struct tls_context *context, struct slice name, struct tls_layer **ret_layer);
/* From now on connections begin with this context; a client's session is forgotten. */
void tls_layer_use(struct tls_layer *layer, struct tls_context *context);
struct tls_layer *tls_layer_hold(struct tls_layer *layer);
void tls_layer_drop(struct tls_layer *layer);

/* Why the handshake failed, between establish's negative answer and the close (not after -ERR_PLAIN_HTTP, which says
 * it). Static text for the log, with no secret in it; `*ret_reason` may be NULL. */
const char *tls_failure(const struct transport *t, enum tls_reason *ret_reason);
