/*
 * Inside of tls/: what a worker holds, and a session.  No lock but that of the ticket keys, which is taken when they
 * have changed.
 *
 * Everything that OpenSSL sends in one call is collected in the worker's `out` and leaves with one send; what the
 * kernel does not take goes to the session's `left`.
 */
#pragma once

#include <openssl/ssl.h>

#include "base/assert.h"
#include "net/facts.h"
#include "tls/material.h"

enum {
    TLS_CONTEXT_MAGIC = 0x746c7363,
    TLS_SESSION_MAGIC = 0x746c7373,
    TLS_LAYER_MAGIC = 0x746c736c,

    TLS_RECORD_BYTES = SSL3_RT_MAX_PLAIN_LENGTH,
    TLS_RECORDS_MAX = 4, /* a call to sendv */
    TLS_RECORD_WIRE_BYTES = TLS_RECORD_BYTES + SSL3_RT_HEADER_LENGTH + 128,
    TLS_HELD_MAX = 2048, /* a ticket that waits for the first answer */
    TLS_OUT_BYTES = TLS_RECORDS_MAX * TLS_RECORD_WIRE_BYTES + TLS_HELD_MAX,
    TLS_LEFT_MAX = 256 * 1024, /* only a chain of certificates gets near it */
    TLS_HELLO_MAX = 32 * 1024, /* received before a ClientHello is complete; post-quantum shares take 2 KiB */

    TLS_IN_BYTES = TLS_RECORDS_MAX * TLS_RECORD_WIRE_BYTES,

    /* What OpenSSL holds for a connection, and what records.c does, for the memory's account: measured, rounded up. */
    TLS_LIBRARY_BYTES = 15 * 1024,
    TLS_RECORDS_BYTES = 3 * 1024,
};

/* ---- tickets.c ---- */

struct tls_ticket_key {
    unsigned char name[16], mac[32], cipher[32]; /* in the order of a key file */
    uint64_t made_ms;                            /* 0: of a file */
};

struct tls_ticket_ring {
    unsigned count; /* the first makes new tickets */
    struct tls_ticket_key keys[TLS_TICKET_KEYS_MAX];
};

void tls_tickets_start(void);
/* Keys of our own: those that there are, and others in their place. */
void tls_tickets_ours(struct tls_ticket_ring *ret_ring);
void tls_tickets_take(const struct tls_ticket_ring *ring);
/* Copies the keys when they have changed since `*generation`. */
void tls_tickets_refresh(struct tls_ticket_ring *ring, unsigned *generation);
int tls_tickets_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                         int encrypt);

/* ---- schedule.c ---- */

enum { TLS_HASH_MAX = 48 };

struct tls_hash {
    EVP_MD *digest;
    EVP_MD_CTX *context;
    bool ready;
    size_t block, size;
    unsigned char empty[TLS_HASH_MAX]; /* the hash of nothing */
};

/* ---- worker.c ---- */

struct tls_worker {
    OSSL_LIB_CTX *library;
    BIO_METHOD *wire;
    EVP_CIPHER *ticket_cipher;
    struct tls_ticket_ring ring;
    unsigned ring_generation;
    struct tls_counters counters;
    unsigned char *out; /* TLS_OUT_BYTES; empty between calls */
    size_t out_len;
    bool spilled;      /* in this call, records have left `out` already */
    unsigned char *in; /* TLS_IN_BYTES: what was received; between calls a session keeps what it did not use */
    size_t in_at, in_len;
    EVP_CIPHER *record_ciphers[3]; /* in the order of TLS 1.3's suites */
    struct tls_hash hashes[2];     /* SHA-256, SHA-384 */
    OSSL_PROVIDER *providers[2];   /* OpenSSL's, and ours of schedule.c */
    struct tls_session *shaking;   /* the server's whose handshake OpenSSL is in now */
    unsigned char *record;         /* TLS_RECORD_BYTES: small pieces are brought together in it */
};

/* One writer: cheaper than an atomic addition. */
static inline void tls_count(atomic_uint_least64_t *cell)
{
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* Puts our key schedule before the library's, for those that ask with TLS_PREFERENCE. */
bool tls_schedule_start(struct tls_worker *worker);
void tls_schedule_stop(struct tls_worker *worker);
#define TLS_PREFERENCE "?provider=maitred"
/* HKDF-Expand-Label (RFC 8446, 7.1) of at most one block of the hash. */
MUST_USE bool tls_expand(struct tls_hash *h, struct slice secret, struct slice label, struct slice context,
                         unsigned char *to, size_t len);

/* ---- context.c ---- */

struct tls_context {
    uint32_t magic;
    uint32_t refs;
    struct tls_worker *worker;
    struct tls_material *material;
    SSL_CTX **sets; /* one for each of the material's; made when first needed, the first at once */
};

/* ---- session.c ---- */

struct tls_session {
    uint32_t magic;
    uint8_t role;
    bool established, hello_seen;
    bool eof;     /* the peer's FIN was seen */
    bool http;    /* it is no TLS but a request in clear */
    bool owns_in; /* within a call: the worker's `in` is this session's */
    bool held;    /* `left` is a ticket that was not tried to be sent yet */
    /* What every further call gives, errno: each direction ends alone, so that what has come is still read after a
     * failed write; what the protocol forbids ends both. */
    int in_broken, out_broken;
    atomic_uint_least64_t *counted; /* among the connections that are open */
    uint16_t reason;
    const char *failure; /* static text */
    SSL *ssl;
    struct task held_task; /* client */
    struct transport *t;   /* of the call at hand: a transport may move between two */
    struct tls_layer *layer;
    struct tls_context *context; /* that it began with */
    uint32_t hello_bytes;
    struct tls_records *records; /* a server's, of TLS 1.3; in force when `ssl` is NULL */
    size_t charged;
    unsigned char *ahead; /* received, not used yet */
    size_t ahead_len;
    size_t owed; /* plaintext within `left`, which is taken when `left` has gone */
    unsigned char *left;
    size_t left_at, left_len, left_size; /* of `left_size`, what is still to be sent */
};

static inline struct tls_session *tls_session_of(const struct transport *t)
{
    struct tls_session *s = t->facts ? t->facts->session : NULL;

    MAGIC_CHECK(s, TLS_SESSION_MAGIC);
    return s;
}

/* Both directions; the first error stays. */
static inline void tls_session_break(struct tls_session *s, int error)
{
    s->in_broken = s->in_broken ? s->in_broken : error;
    s->out_broken = s->out_broken ? s->out_broken : error;
}

/* As transport_layer.begin. */
int tls_session_begin(const struct transport_layer *layer, struct transport *t);
/* Why it failed, from the library's queue of errors, which is empty afterwards. */
void tls_session_fail(struct tls_session *s);

/* ---- wire.c: between OpenSSL and the socket ---- */

BIO_METHOD *tls_wire_new(void);
/* Sends what was left and what was collected. 0 when all of it has gone or 1 when not, and then it is kept; -errno. */
int tls_wire_flush(struct tls_session *s, int flags);
/* Keeps what was collected, for later. -ENOMEM. */
int tls_wire_keep(struct tls_session *s);
void tls_wire_drop_left(struct tls_session *s);
/* Around every call: what was received ahead comes to the worker's `in`, and what is not used goes back. -ENOMEM: it is
 * lost, and the session is broken. */
void tls_wire_begin(struct tls_session *s, struct transport *t);
int tls_wire_end(struct tls_session *s);
/* Receives behind what is in `in`. 0, -EAGAIN, -ECONNRESET at a FIN, or another -errno. */
int tls_wire_fill(struct tls_session *s);

/* ---- records.c ---- */

struct tls_records;

/* The secret of one direction of application data, during the handshake. */
void tls_records_secret(struct tls_session *s, bool in, struct slice secret);
/* At the end of the handshake: false when the session has to stay with OpenSSL. */
bool tls_records_begin(struct tls_session *s);
void tls_records_free(struct tls_records *records, struct memory *memory);
/* Seals one record at the end of the worker's `out`. 0 or -errno. */
int tls_records_write(struct tls_session *s, const struct iovec *pieces, int count, size_t total);
void tls_records_shutdown(struct tls_session *s); /* close_notify, into `out` */
/* Bytes, and why there are not more: -EAGAIN, -ENOBUFS when the next record needs more room, 0 at the end, -errno. */
size_t tls_records_read(struct tls_session *s, unsigned char *buf, size_t len, ssize_t *ret_outcome);
bool tls_records_pending(const struct tls_session *s); /* plaintext is kept */

/* ---- stream.c ---- */

ssize_t tls_recv(struct transport *t, void *buf, size_t len);
ssize_t tls_sendv(struct transport *t, const struct iovec *iov, int count, bool more);
void tls_shutdown(struct transport *t);

/* ---- client_facts.c ---- */

/* How much of a name in RFC 2253's form is kept so that it has at most that many bytes: whole parts, or where one part
 * is longer than that, whole characters. */
size_t tls_name_cut(struct slice text, size_t len_max);
/* Fills the facts of an established session. -ERR_MEMORY. */
MUST_USE int tls_facts_fill(struct tls_session *s, struct conn_facts *facts);

/* ---- layer.c ---- */

/* Keeps the session for the target's next connections: OpenSSL's callback for new sessions. */
int tls_layer_keep_session(SSL *ssl, SSL_SESSION *session);
/* A client's handshake has ended: says so when it ended otherwise than the last. */
void tls_layer_note(struct tls_layer *layer, enum tls_reason reason, const char *text);
/* Name, SNI and the session to resume. -ERR_MEMORY. */
MUST_USE int tls_layer_prepare(struct tls_layer *layer, SSL *ssl);

/* ---- hello.c ---- */

int tls_hello_callback(SSL *ssl, int *alert, void *context);
int tls_alpn_callback(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_len, const unsigned char *offered,
                      unsigned offered_len, void *context);
/* The set's SSL_CTX, made when it is not there yet; NULL without memory. */
SSL_CTX *tls_context_set(struct tls_context *context, uint32_t set);
