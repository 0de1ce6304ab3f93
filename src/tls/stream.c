/*
 * An established session as a byte stream: net/transport.h's recv, sendv and shutdown.
 *
 * recv takes as many records as fit, and leaves the readable bit set while the library still holds bytes: the kernel
 * would not tell of those again.
 *
 * sendv makes up to four records and sends them with one call.  When the kernel takes a part, the records that went
 * whole are taken; the rest of the ciphertext is kept, and its plaintext is owed: the caller comes with it again, and
 * by then it is skipped, as it is encrypted already.  Small pieces are brought together: a head and the body behind it
 * are one record.
 */
#include <errno.h>

#include <openssl/err.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/worker.h"

/* ---- receiving ---- */

/* What a read that gave nothing means: 0 the end, -EAGAIN, or the error that stays. */
static ssize_t read_outcome(struct tls_session *s)
{
    int error = SSL_get_error(s->ssl, 0);

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (!s->broken) {
        tls_session_fail(s);
        s->broken = s->reason == TLS_REASON_CLOSED ? ECONNRESET : s->reason == TLS_REASON_MEMORY ? ENOMEM : EPROTO;
    }
    ERR_clear_error();
    return -s->broken;
}

ssize_t tls_recv(struct transport *t, void *buf, size_t len)
{
    struct tls_session *s = tls_session_of(t);
    size_t total = 0, got;
    ssize_t outcome = -EAGAIN;

    ENSURE(len > 0 && s->established);
    s->t = t;
    if (s->broken)
        return -s->broken;
    while (total < len) {
        if (SSL_read_ex(s->ssl, (char *)buf + total, len - total, &got) != 1) {
            outcome = read_outcome(s);
            break;
        }
        total += got;
        if (!(t->io.ready & IO_READABLE) && !SSL_has_pending(s->ssl))
            break;
    }
    if (s->context->worker->out_len > 0 && tls_wire_flush(s, 0) < 0) /* a key update's answer, an alert */
        s->broken = s->broken ? s->broken : EPIPE;
    if (total == 0)
        return outcome;
    /* The end, an error or more bytes are there already: the next call gives them. */
    if (outcome != -EAGAIN || (total == len && SSL_has_pending(s->ssl)))
        t->io.ready |= IO_READABLE;
    return (ssize_t)total;
}

/* ---- sending ---- */

/* Where in the pieces the next byte stands. */
struct cursor {
    const struct iovec *iov;
    int count;
    size_t at; /* in the first */
};

static void cursor_skip(struct cursor *c, size_t len)
{
    while (c->count > 0 && len >= c->iov->iov_len - c->at) {
        len -= c->iov->iov_len - c->at;
        c->iov++;
        c->count--;
        c->at = 0;
    }
    c->at += len;
}

/* The next record's plaintext: in place when one piece fills it or is the last, else brought together. */
static struct slice next_plaintext(struct cursor *c, unsigned char *record)
{
    size_t len = 0;
    const char *first = (const char *)c->iov->iov_base + c->at;
    size_t first_len = c->iov->iov_len - c->at;

    if (first_len >= TLS_RECORD_BYTES || c->count == 1) {
        len = MIN(first_len, (size_t)TLS_RECORD_BYTES);
        cursor_skip(c, len);
        return slice_make(first, len);
    }
    while (c->count > 0 && len < TLS_RECORD_BYTES) {
        size_t part = MIN(c->iov->iov_len - c->at, (size_t)TLS_RECORD_BYTES - len);
        if (part > 0)
            memcpy(record + len, (const char *)c->iov->iov_base + c->at, part);
        len += part;
        cursor_skip(c, part);
    }
    return slice_make((const char *)record, len);
}

/* The records of one call: how much plaintext each holds, and where its ciphertext ends in `out`. */
struct batch {
    size_t plain[TLS_RECORDS_MAX], end[TLS_RECORDS_MAX];
    int count;
    size_t plain_total;
};

static int encrypt(struct tls_session *s, struct cursor *c, struct batch *batch)
{
    struct tls_worker *worker = s->context->worker;
    size_t written;

    cursor_skip(c, 0); /* over empty pieces */
    while (c->count > 0 && batch->count < TLS_RECORDS_MAX) {
        struct slice plain = next_plaintext(c, worker->record);
        if (plain.len == 0)
            break;
        if (SSL_write_ex(s->ssl, plain.at, plain.len, &written) != 1) {
            bool memory = ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE;
            ERR_clear_error();
            return memory ? -ENOMEM : -EPROTO;
        }
        ENSURE(written == plain.len);
        batch->plain[batch->count] = plain.len;
        batch->end[batch->count++] = worker->out_len;
        batch->plain_total += plain.len;
    }
    return 0;
}

/* A ticket that waits goes in front, in the same send. */
static int bring_held(struct tls_session *s)
{
    struct tls_worker *worker = s->context->worker;

    s->held = false;
    ENSURE(s->left_len <= TLS_HELD_MAX && worker->out_len == 0);
    memcpy(worker->out, s->left + s->left_at, s->left_len);
    worker->out_len = s->left_len;
    tls_wire_drop_left(s);
    return 0;
}

/* What the caller may count as sent of what has just been encrypted. */
static ssize_t send_batch(struct tls_session *s, const struct batch *batch, bool more)
{
    size_t collected = s->context->worker->out_len, taken = 0;
    int rc = tls_wire_flush(s, more ? MSG_MORE : 0);

    if (rc < 0) {
        s->broken = -rc;
        return rc;
    }
    size_t sent = collected - s->left_len;
    for (int i = 0; i < batch->count && batch->end[i] <= sent; i++)
        taken += batch->plain[i];
    s->owed = batch->plain_total - taken;
    return (ssize_t)taken;
}

static ssize_t send_fresh(struct tls_session *s, struct cursor *c, bool more)
{
    struct batch batch = { 0 };

    if (s->held)
        bring_held(s);
    int rc = encrypt(s, c, &batch);
    if (rc < 0) {
        s->context->worker->out_len = 0;
        s->broken = -rc;
        return rc;
    }
    return send_batch(s, &batch, more || c->count > 0);
}

/* Sends what an earlier call has encrypted; then its plaintext counts as taken, as far as the caller brings it. */
static ssize_t take_owed(struct tls_session *s, size_t total)
{
    int rc = s->left_len > 0 && !s->held ? tls_wire_flush(s, total > s->owed ? MSG_MORE : 0) : 0;

    if (rc < 0)
        s->broken = -rc;
    if (rc != 0)
        return rc < 0 ? rc : -EAGAIN;
    size_t taken = MIN(s->owed, total);
    s->owed -= taken;
    return (ssize_t)taken;
}

ssize_t tls_sendv(struct transport *t, const struct iovec *iov, int count, bool more)
{
    struct tls_session *s = tls_session_of(t);
    struct cursor c = { iov, count, 0 };
    size_t total = 0;

    ENSURE(count > 0 && count <= 64 && s->established && s->context->worker->out_len == 0);
    s->t = t;
    if (s->broken)
        return -s->broken;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    ssize_t taken = take_owed(s, total);
    if (taken < 0 || (size_t)taken == total)
        return taken;
    cursor_skip(&c, (size_t)taken);
    ssize_t fresh = send_fresh(s, &c, more);
    if (fresh > 0)
        taken += fresh;
    if (taken > 0)
        return taken;
    return fresh < 0 ? fresh : -EAGAIN;
}

void tls_shutdown(struct transport *t)
{
    struct tls_session *s = tls_session_of(t);

    s->t = t;
    if (s->established && !s->broken && s->owed == 0) {
        if (SSL_shutdown(s->ssl) < 0)
            ERR_clear_error();
        /* Together with the FIN. What the kernel has no room for is given up: the caller has sent all it had. */
        (void)tls_wire_flush(s, MSG_MORE);
    }
    (void)sys->shutdown(t->io.fd, SHUT_WR);
}
