/*
 * The record layer of a TLS 1.3 server once the handshake is over (RFC 8446, 5).  OpenSSL's own keeps 14 KiB for a
 * connection that waits, and takes a buffer and gives it back for every record.  From the end of the handshake on it
 * has nothing to decide any more: so its SSL is freed then, and what is left is two keys, two counters and this file.
 * It is the division of work that the kernel's TLS has; the cipher itself stays OpenSSL's.
 *
 *      secrets    from the key schedule (schedule.c) into the session, and nowhere else
 *      records    application data, alerts, KeyUpdate; anything else is an error, as a server gets no other message
 *      nonce      the sequence number over the direction's IV; it starts again with each key (5.3)
 *
 * Whole messages only: a KeyUpdate in two records, which nobody sends, is refused.  Sessions that cannot go over (TLS
 * 1.2, clients, which are sent tickets, no memory) stay with OpenSSL, and work the same.
 */
#include <errno.h>

#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/sys.h"
#include "tls/worker.h"

enum {
    HEADER_BYTES = SSL3_RT_HEADER_LENGTH,
    TAG_BYTES = 16,
    IV_BYTES = 12,
    INNER_MAX = TLS_RECORD_BYTES + 1, /* with type and padding (5.4) */
    SEALED_MAX = TLS_RECORD_BYTES + 256,
    SECRET_MAX = 48,
    IDLE_RECORDS_MAX = 32,     /* in a row without a byte for the application */
    KEY_RECORDS_MAX = 1 << 23, /* AES-GCM's bound is 2^24.5 (5.5) */
    GATHER_MAX = 2048,         /* up to here copying the pieces is cheaper than ciphering them one by one */
    KEY_UPDATE = 24,
};

struct traffic {
    EVP_CIPHER_CTX *cipher;
    uint64_t sequence;
    unsigned char iv[IV_BYTES];
    unsigned char secret[SECRET_MAX];
    uint8_t secret_len; /* 0: not told yet, or without a key */
};

struct tls_records {
    struct traffic in, out;
    const EVP_CIPHER *cipher;
    struct tls_hash *hash; /* the worker's, as the cipher */
    uint8_t key_len, idle;
    bool update_owed;     /* the peer has asked for a new key */
    bool ended;           /* close_notify came */
    unsigned char *plain; /* what the caller had no room for */
    size_t plain_at, plain_len, plain_size;
};

/* ---- keys (7.1, 7.2, 7.3) ---- */

static int expand(const struct tls_records *r, const struct traffic *from, struct slice label, unsigned char *to,
                  size_t len)
{
    struct slice secret = { (const char *)from->secret, from->secret_len };

    return tls_expand(r->hash, secret, label, SLICE_EMPTY, to, len) ? 0 : -ENOMEM;
}

static int set_key(struct tls_records *r, struct traffic *traffic, bool encrypt)
{
    unsigned char key[EVP_MAX_KEY_LENGTH];
    int rc = expand(r, traffic, SLICE("key"), key, r->key_len);

    if (rc == 0)
        rc = expand(r, traffic, SLICE("iv"), traffic->iv, IV_BYTES);
    if (rc == 0 && EVP_CipherInit_ex2(traffic->cipher, r->cipher, key, NULL, encrypt, NULL) != 1)
        rc = -ENOMEM;
    if (rc == 0)
        traffic->sequence = 0;
    OPENSSL_cleanse(key, sizeof(key));
    return rc;
}

static int next_key(struct tls_records *r, struct traffic *traffic, bool encrypt)
{
    unsigned char next[SECRET_MAX];
    int rc = expand(r, traffic, SLICE("traffic upd"), next, traffic->secret_len);

    if (rc == 0) {
        memcpy(traffic->secret, next, traffic->secret_len);
        rc = set_key(r, traffic, encrypt);
    }
    if (rc < 0)
        traffic->secret_len = 0; /* nothing goes with the old key and a number that it has had */
    OPENSSL_cleanse(next, sizeof(next));
    return rc;
}

void tls_records_secret(struct tls_session *s, bool in, struct slice secret)
{
    if (secret.len > SECRET_MAX)
        return;
    if (!s->records) {
        s->records = memory_get(s->t->loop->memory, sizeof(*s->records));
        if (!s->records)
            return;
        *s->records = (struct tls_records){ .idle = 0 };
    }
    struct traffic *traffic = in ? &s->records->in : &s->records->out;
    memcpy(traffic->secret, secret.at, secret.len);
    traffic->secret_len = (uint8_t)secret.len;
}

static bool choose_cipher(struct tls_worker *worker, const SSL *ssl, struct tls_records *r)
{
    static const uint8_t key_lens[] = { 16, 32, 32 };
    unsigned suite = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)); /* 0x1301: AES-128-GCM, and so on */

    if (suite < 0x1301 || suite > 0x1303)
        return false;
    r->cipher = worker->record_ciphers[suite - 0x1301];
    r->hash = &worker->hashes[suite == 0x1302];
    r->key_len = key_lens[suite - 0x1301];
    return true;
}

/* How many records OpenSSL has sent with the key of application data: tickets. */
static bool count_sent(const struct tls_worker *worker, uint64_t *ret_count)
{
    size_t at = 0;

    for (*ret_count = 0; at + HEADER_BYTES <= worker->out_len; ++*ret_count) {
        if (worker->out[at] != SSL3_RT_APPLICATION_DATA)
            return false;
        at += HEADER_BYTES + ((size_t)worker->out[at + 3] << 8 | worker->out[at + 4]);
    }
    return at == worker->out_len;
}

bool tls_records_begin(struct tls_session *s)
{
    struct tls_worker *worker = s->context->worker;
    struct tls_records *r = s->records;
    uint64_t sent;

    if (!r || worker->spilled || r->in.secret_len == 0 || r->out.secret_len == 0 ||
        SSL_version(s->ssl) != TLS1_3_VERSION || SSL_has_pending(s->ssl) || !count_sent(worker, &sent) ||
        !choose_cipher(worker, s->ssl, r))
        return false;
    r->in.cipher = EVP_CIPHER_CTX_new();
    r->out.cipher = EVP_CIPHER_CTX_new();
    if (!r->in.cipher || !r->out.cipher || set_key(r, &r->in, false) < 0 || set_key(r, &r->out, true) < 0) {
        ERR_clear_error();
        return false;
    }
    r->out.sequence = sent;
    return true;
}

void tls_records_free(struct tls_records *r, struct memory *memory)
{
    if (!r)
        return;
    EVP_CIPHER_CTX_free(r->in.cipher);
    EVP_CIPHER_CTX_free(r->out.cipher);
    memory_put(memory, r->plain, r->plain_size);
    OPENSSL_cleanse(r, sizeof(*r));
    memory_put(memory, r, sizeof(*r));
}

/* ---- one record ---- */

static void make_nonce(struct traffic *traffic, unsigned char *nonce)
{
    uint64_t sequence = traffic->sequence++;

    memcpy(nonce, traffic->iv, IV_BYTES);
    for (int i = 0; i < 8; i++)
        nonce[IV_BYTES - 1 - i] ^= (unsigned char)(sequence >> 8 * i);
}

static bool begin_record(struct traffic *traffic, const unsigned char *header)
{
    unsigned char nonce[IV_BYTES];
    int len;

    make_nonce(traffic, nonce);
    return traffic->secret_len > 0 && EVP_CipherInit_ex2(traffic->cipher, NULL, NULL, nonce, -1, NULL) == 1 &&
           EVP_CipherUpdate(traffic->cipher, NULL, &len, header, HEADER_BYTES) == 1;
}

static bool open_record(struct traffic *traffic, const unsigned char *record, size_t inner_len, unsigned char *to)
{
    unsigned char *tag = (unsigned char *)record + HEADER_BYTES + inner_len;
    int len, last;

    return begin_record(traffic, record) &&
           EVP_CipherUpdate(traffic->cipher, to, &len, record + HEADER_BYTES, (int)inner_len) == 1 &&
           EVP_CIPHER_CTX_ctrl(traffic->cipher, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1 &&
           EVP_CipherFinal_ex(traffic->cipher, to + len, &last) == 1;
}

/* The pieces behind each other, and the type, sealed at the end of `out`. */
static bool seal_pieces(struct traffic *traffic, const struct iovec *pieces, int count, uint8_t type, unsigned char *to)
{
    int len;

    for (int i = 0; i < count; i++) {
        if (EVP_CipherUpdate(traffic->cipher, to, &len, pieces[i].iov_base, (int)pieces[i].iov_len) != 1)
            return false;
        to += len;
    }
    return EVP_CipherUpdate(traffic->cipher, to, &len, &type, 1) == 1;
}

static bool seal_small(struct traffic *traffic, const struct iovec *pieces, int count, uint8_t type, unsigned char *to)
{
    size_t at = 0;
    int len;

    for (int i = 0; i < count; i++) {
        memcpy(to + at, pieces[i].iov_base, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    to[at++] = type;
    return EVP_CipherUpdate(traffic->cipher, to, &len, to, (int)at) == 1;
}

static int seal(struct tls_session *s, const struct iovec *pieces, int count, size_t total, uint8_t type)
{
    struct tls_worker *worker = s->context->worker;
    struct traffic *traffic = &s->records->out;
    size_t inner_len = total + 1, sealed_len = inner_len + TAG_BYTES;
    unsigned char *to = worker->out + worker->out_len;
    int last;

    ENSURE(total <= TLS_RECORD_BYTES && worker->out_len + HEADER_BYTES + sealed_len <= TLS_OUT_BYTES);
    memcpy(to,
           (unsigned char[]){ SSL3_RT_APPLICATION_DATA, 3, 3, (unsigned char)(sealed_len >> 8),
                              (unsigned char)sealed_len },
           HEADER_BYTES);
    bool sealed =
        begin_record(traffic, to) &&
        (inner_len <= GATHER_MAX ? seal_small : seal_pieces)(traffic, pieces, count, type, to + HEADER_BYTES) &&
        EVP_CipherFinal_ex(traffic->cipher, to + HEADER_BYTES + inner_len, &last) == 1 &&
        EVP_CIPHER_CTX_ctrl(traffic->cipher, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, to + HEADER_BYTES + inner_len) == 1;
    if (!sealed) {
        ERR_clear_error();
        return -EPROTO;
    }
    worker->out_len += HEADER_BYTES + sealed_len;
    return 0;
}

static int seal_message(struct tls_session *s, uint8_t type, const void *message, size_t len)
{
    struct iovec piece = { (void *)message, len };

    return seal(s, &piece, 1, len, type);
}

/* ---- sending ---- */

static int renew_out(struct tls_session *s)
{
    static const unsigned char update[] = { KEY_UPDATE, 0, 0, 1, 0 };
    int rc = seal_message(s, SSL3_RT_HANDSHAKE, update, sizeof(update));

    s->records->update_owed = false;
    return rc ? rc : next_key(s->records, &s->records->out, true);
}

int tls_records_write(struct tls_session *s, const struct iovec *pieces, int count, size_t total)
{
    struct tls_records *r = s->records;
    int rc = r->update_owed || r->out.sequence >= KEY_RECORDS_MAX ? renew_out(s) : 0;

    return rc ? rc : seal(s, pieces, count, total, SSL3_RT_APPLICATION_DATA);
}

static void send_alert(struct tls_session *s, unsigned char level, unsigned char alert)
{
    if (seal_message(s, SSL3_RT_ALERT, (unsigned char[]){ level, alert }, 2) < 0)
        s->out_broken = s->out_broken ? s->out_broken : EPROTO;
}

void tls_records_shutdown(struct tls_session *s)
{
    send_alert(s, SSL3_AL_WARNING, SSL_AD_CLOSE_NOTIFY);
}

/* ---- receiving ---- */

static ssize_t refuse(struct tls_session *s, unsigned char alert)
{
    send_alert(s, SSL3_AL_FATAL, alert);
    tls_session_break(s, EPROTO);
    ERR_clear_error();
    return -EPROTO;
}

/* 0 or an error. */
static ssize_t take_key_update(struct tls_session *s, const unsigned char *message, size_t len)
{
    struct tls_records *r = s->records;

    if (len != 5 || message[0] != KEY_UPDATE || message[1] || message[2] || message[3] != 1)
        return refuse(s, SSL_AD_UNEXPECTED_MESSAGE);
    if (message[4] > 1)
        return refuse(s, SSL_AD_ILLEGAL_PARAMETER);
    if (next_key(r, &r->in, false) < 0) {
        s->in_broken = ENOMEM;
        return -ENOMEM;
    }
    r->update_owed |= message[4] == 1;
    return 0;
}

static ssize_t take_alert(struct tls_session *s, const unsigned char *alert, size_t len)
{
    if (len != 2)
        return refuse(s, SSL_AD_DECODE_ERROR);
    if (alert[1] == SSL_AD_USER_CANCELLED)
        return 0;
    if (alert[1] == SSL_AD_CLOSE_NOTIFY) {
        s->records->ended = true;
        return 0;
    }
    tls_session_break(s, EPROTO);
    return -EPROTO;
}

/* What a record held: bytes for the application, or 0 after something else, or an error. */
static ssize_t take_inner(struct tls_session *s, const unsigned char *inner, size_t len)
{
    if (len > INNER_MAX)
        return refuse(s, SSL_AD_RECORD_OVERFLOW);
    while (len > 0 && inner[len - 1] == 0) /* padding */
        len--;
    if (len == 0)
        return refuse(s, SSL_AD_UNEXPECTED_MESSAGE);
    uint8_t type = inner[--len];
    if (type == SSL3_RT_APPLICATION_DATA && len > 0) {
        s->records->idle = 0;
        return (ssize_t)len;
    }
    if (++s->records->idle > IDLE_RECORDS_MAX)
        return refuse(s, SSL_AD_UNEXPECTED_MESSAGE);
    switch (type) {
    case SSL3_RT_APPLICATION_DATA:
        return 0;
    case SSL3_RT_ALERT:
        return take_alert(s, inner, len);
    case SSL3_RT_HANDSHAKE:
        return take_key_update(s, inner, len);
    default:
        return refuse(s, SSL_AD_UNEXPECTED_MESSAGE);
    }
}

/* Of the record that stands in front: its length with the header; 0 when it is not there as a whole; an error. */
static ssize_t record_length(struct tls_session *s)
{
    const struct tls_worker *worker = s->context->worker;
    const unsigned char *at = worker->in + worker->in_at;
    size_t have = worker->in_len - worker->in_at;

    if (have < HEADER_BYTES)
        return 0;
    size_t len = (size_t)at[3] << 8 | at[4];
    if (at[0] != SSL3_RT_APPLICATION_DATA || at[1] != 3 || at[2] != 3)
        return refuse(s, SSL_AD_UNEXPECTED_MESSAGE);
    if (len > SEALED_MAX || len < TAG_BYTES + 1)
        return refuse(s, len > TAG_BYTES ? SSL_AD_RECORD_OVERFLOW : SSL_AD_BAD_RECORD_MAC);
    return have < HEADER_BYTES + len ? 0 : (ssize_t)(HEADER_BYTES + len);
}

static int keep_plain(struct tls_session *s, const unsigned char *at, size_t len)
{
    struct tls_records *r = s->records;

    r->plain = memory_get(s->t->loop->memory, len);
    if (!r->plain) {
        s->in_broken = ENOMEM;
        return -ENOMEM;
    }
    memcpy(r->plain, at, len);
    r->plain_at = 0;
    r->plain_len = r->plain_size = len;
    return 0;
}

/* Opens the record in front into the caller's room, or in place when that is too small, and then keeps what is over. */
static ssize_t read_record(struct tls_session *s, size_t record_len, unsigned char *buf, size_t room)
{
    struct tls_worker *worker = s->context->worker;
    unsigned char *record = worker->in + worker->in_at;
    size_t inner_len = record_len - HEADER_BYTES - TAG_BYTES;
    unsigned char *to = room >= inner_len ? buf : record + HEADER_BYTES;

    if (!open_record(&s->records->in, record, inner_len, to))
        return refuse(s, SSL_AD_BAD_RECORD_MAC);
    worker->in_at += record_len;
    ssize_t got = take_inner(s, to, inner_len);
    if (got <= 0 || to == buf)
        return got;
    size_t part = MIN((size_t)got, room);
    memcpy(buf, to, part);
    if ((size_t)got > part && keep_plain(s, to + part, (size_t)got - part) < 0)
        return -ENOMEM;
    return (ssize_t)part;
}

static size_t take_plain(struct tls_session *s, unsigned char *buf, size_t len)
{
    struct tls_records *r = s->records;
    size_t part = MIN(len, r->plain_len);

    if (part == 0)
        return 0;
    memcpy(buf, r->plain + r->plain_at, part);
    r->plain_at += part;
    r->plain_len -= part;
    if (r->plain_len == 0) {
        memory_put(s->t->loop->memory, r->plain, r->plain_size);
        r->plain = NULL;
    }
    return part;
}

/* Bytes, or why not. */
static ssize_t read_some(struct tls_session *s, unsigned char *buf, size_t room, bool first)
{
    for (;;) {
        if (s->records->ended)
            return 0;
        ssize_t len = record_length(s);
        if (len < 0)
            return len;
        if (len == 0) {
            int rc = tls_wire_fill(s);
            if (rc < 0)
                return rc;
            continue;
        }
        if (!first && room + HEADER_BYTES + TAG_BYTES < (size_t)len)
            return -ENOBUFS; /* the next call has more */
        ssize_t got = read_record(s, (size_t)len, buf, room);
        if (got != 0)
            return got;
    }
}

size_t tls_records_read(struct tls_session *s, unsigned char *buf, size_t len, ssize_t *ret_outcome)
{
    struct tls_records *r = s->records;
    size_t total = take_plain(s, buf, len);
    ssize_t got;

    *ret_outcome = -EAGAIN;
    while (total < len && r->plain_len == 0) {
        got = read_some(s, buf + total, len - total, total == 0);
        if (got <= 0) {
            *ret_outcome = got;
            break;
        }
        total += (size_t)got;
    }
    return total;
}

bool tls_records_pending(const struct tls_session *s)
{
    return s->records->plain_len > 0;
}
