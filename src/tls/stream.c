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

enum { PIECES_MAX = 64 };

/* ---- receiving ---- */

/* What a read that gave nothing means: 0 the end, -EAGAIN, or the error that stays. */
static ssize_t read_outcome(struct tls_session *s)
{
    int error = SSL_get_error(s->ssl, 0);

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (!s->in_broken) {
        int failed_before = s->out_broken;
        s->out_broken = 0; /* it is not the reason */
        tls_session_fail(s);
        s->out_broken = failed_before;
        tls_session_break(s, s->reason == TLS_REASON_CLOSED   ? ECONNRESET
                             : s->reason == TLS_REASON_MEMORY ? ENOMEM
                                                              : EPROTO);
    }
    ERR_clear_error();
    return -s->in_broken;
}

static size_t library_read(struct tls_session *s, char *buf, size_t len, ssize_t *ret_outcome)
{
    const struct tls_worker *worker = s->context->worker;
    size_t total = 0, got;

    *ret_outcome = -EAGAIN;
    while (total < len) {
        if (SSL_read_ex(s->ssl, buf + total, len - total, &got) != 1) {
            *ret_outcome = read_outcome(s);
            break;
        }
        total += got;
        if (!(s->t->io.ready & IO_READABLE) && worker->in_at == worker->in_len && !SSL_has_pending(s->ssl))
            break;
    }
    return total;
}

/* Bytes that the kernel will not tell of. */
static bool holds_bytes(const struct tls_session *s)
{
    const struct tls_worker *worker = s->context->worker;

    return worker->in_at < worker->in_len || (s->ssl ? SSL_has_pending(s->ssl) : tls_records_pending(s));
}

ssize_t tls_recv(struct transport *t, void *buf, size_t len)
{
    struct tls_session *s = tls_session_of(t);
    ssize_t outcome;

    ENSURE(len > 0 && s->established);
    if (s->in_broken)
        return -s->in_broken;
    tls_wire_begin(s, t);
    size_t total = s->ssl ? library_read(s, buf, len, &outcome) : tls_records_read(s, buf, len, &outcome);
    if (s->context->worker->out_len > 0 && tls_wire_flush(s, 0) < 0) /* a key update's answer, an alert */
        s->out_broken = s->out_broken ? s->out_broken : EPIPE;
    /* The end, an error or more bytes are there already: the next call gives them. */
    if (total > 0 && (outcome != -EAGAIN || (total == len && holds_bytes(s))))
        t->io.ready |= IO_READABLE;
    if (tls_wire_end(s) < 0 && total == 0)
        return -ENOMEM;
    return total > 0 ? (ssize_t)total : outcome;
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

/* The next record's plaintext as pieces and how many bytes they are. */
static size_t next_pieces(struct cursor *c, struct iovec *pieces, int *ret_count)
{
    size_t total = 0;

    *ret_count = 0;
    while (c->count > 0 && total < TLS_RECORD_BYTES) {
        size_t part = MIN(c->iov->iov_len - c->at, (size_t)TLS_RECORD_BYTES - total);
        if (part > 0)
            pieces[(*ret_count)++] = (struct iovec){ (char *)c->iov->iov_base + c->at, part };
        total += part;
        cursor_skip(c, part);
    }
    return total;
}

/* OpenSSL takes one piece: several are brought together. */
static int library_write(struct tls_session *s, const struct iovec *pieces, int count, size_t total)
{
    unsigned char *record = s->context->worker->record;
    const void *from = count == 1 ? pieces[0].iov_base : record;
    size_t at = 0, written;

    for (int i = 0; count > 1 && i < count; i++) {
        memcpy(record + at, pieces[i].iov_base, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    if (SSL_write_ex(s->ssl, from, total, &written) == 1) {
        ENSURE(written == total);
        return 0;
    }
    bool memory = ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE;
    ERR_clear_error();
    return memory ? -ENOMEM : -EPROTO;
}

/* The records of one call: how much plaintext each holds, and where its ciphertext ends in `out`. */
struct batch {
    size_t plain[TLS_RECORDS_MAX], end[TLS_RECORDS_MAX];
    int count;
    size_t plain_total;
};

static int encrypt(struct tls_session *s, struct cursor *c, struct batch *batch)
{
    struct iovec pieces[PIECES_MAX];
    int count;

    while (c->count > 0 && batch->count < TLS_RECORDS_MAX) {
        size_t total = next_pieces(c, pieces, &count);
        if (total == 0)
            break;
        int rc = s->ssl ? library_write(s, pieces, count, total) : tls_records_write(s, pieces, count, total);
        if (rc < 0)
            return rc;
        batch->plain[batch->count] = total;
        batch->end[batch->count++] = s->context->worker->out_len;
        batch->plain_total += total;
    }
    return 0;
}

/* A ticket that waits goes in front, in the same send. */
static void bring_held(struct tls_session *s)
{
    struct tls_worker *worker = s->context->worker;

    s->held = false;
    ENSURE(s->left_len <= TLS_HELD_MAX && worker->out_len == 0);
    memcpy(worker->out, s->left + s->left_at, s->left_len);
    worker->out_len = s->left_len;
    tls_wire_drop_left(s);
}

/* What the caller may count as sent of what has just been encrypted. */
static ssize_t send_batch(struct tls_session *s, const struct batch *batch, bool more)
{
    size_t collected = s->context->worker->out_len, taken = 0;
    int rc = tls_wire_flush(s, more ? MSG_MORE : 0);

    if (rc < 0) {
        s->out_broken = -rc;
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
        s->out_broken = -rc;
        return rc;
    }
    return send_batch(s, &batch, more || c->count > 0);
}

/* Sends what an earlier call has encrypted; then its plaintext counts as taken, as far as the caller brings it. */
static ssize_t take_owed(struct tls_session *s, size_t total)
{
    int rc = s->left_len > 0 && !s->held ? tls_wire_flush(s, total > s->owed ? MSG_MORE : 0) : 0;

    if (rc < 0)
        s->out_broken = -rc;
    if (rc != 0)
        return rc < 0 ? rc : -EAGAIN;
    size_t taken = MIN(s->owed, total);
    s->owed -= taken;
    return (ssize_t)taken;
}

static ssize_t send_pieces(struct tls_session *s, const struct iovec *iov, int count, bool more)
{
    struct cursor c = { iov, count, 0 };
    size_t total = 0;

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

ssize_t tls_sendv(struct transport *t, const struct iovec *iov, int count, bool more)
{
    struct tls_session *s = tls_session_of(t);

    ENSURE(count > 0 && count <= PIECES_MAX && s->established);
    if (s->out_broken)
        return -s->out_broken;
    s->t = t;
    return send_pieces(s, iov, count, more);
}

void tls_shutdown(struct transport *t)
{
    struct tls_session *s = tls_session_of(t);

    if (s->established && !s->out_broken && s->owed == 0) {
        s->t = t;
        if (!s->ssl)
            tls_records_shutdown(s);
        else if (SSL_shutdown(s->ssl) < 0)
            ERR_clear_error();
        /* Together with the FIN. What the kernel has no room for is given up: the caller has sent all it had. */
        (void)tls_wire_flush(s, MSG_MORE);
    }
    (void)sys->shutdown(t->io.fd, SHUT_WR);
}
