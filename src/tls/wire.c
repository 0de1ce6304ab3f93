/*
 * Between OpenSSL and the socket: a BIO that reads straight from `sys->recv` and collects what is written, so that one
 * call to us makes one send, however many records it makes.  It keeps the ready bits as net/transport.c does: a short
 * read without hang-up proves that nothing is left, and then the library is not let to ask the kernel again.
 *
 * A request in clear shows in the first byte: a record of TLS begins with 22, a method with a capital letter.
 */
#include <errno.h>

#include <openssl/bio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/sys.h"
#include "tls/worker.h"

/* Letters only, as far as it goes; a ClientHello has a zero or a version among its first bytes. */
static bool looks_like_http(const char *at, size_t len)
{
    size_t i = 0;

    while (i < len && at[i] >= 'A' && at[i] <= 'Z')
        i++;
    return i > 0 && (i == len || at[i] == ' ');
}

static bool judge_beginning(struct tls_session *s, const char *at, size_t len)
{
    if (s->role != TLS_SERVER || s->hello_seen)
        return true;
    if (s->hello_bytes == 0 && looks_like_http(at, len))
        s->http = true;
    s->hello_bytes += (uint32_t)len;
    return !s->http && s->hello_bytes <= TLS_HELLO_MAX;
}

int tls_wire_fill(struct tls_session *s)
{
    struct tls_worker *worker = s->context->worker;
    struct transport *t = s->t;
    ssize_t got;

    if (s->eof)
        return -ECONNRESET;
    if (!(t->io.ready & IO_READABLE))
        return -EAGAIN;
    if (worker->in_at > 0) { /* a part of a record at most */
        memmove(worker->in, worker->in + worker->in_at, worker->in_len - worker->in_at);
        worker->in_len -= worker->in_at;
        worker->in_at = 0;
    }
    size_t room = TLS_IN_BYTES - worker->in_len;
    ENSURE(room > 0);
    do {
        got = sys->recv(t->io.fd, worker->in + worker->in_len, room, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        if ((size_t)got < room && !(t->io.ready & IO_HANGUP))
            t->io.ready &= (uint8_t)~IO_READABLE;
        worker->in_len += (size_t)got;
        return 0;
    }
    if (got == 0) {
        s->eof = true;
        return -ECONNRESET;
    }
    if (errno == EAGAIN)
        t->io.ready &= (uint8_t)~IO_READABLE;
    else
        s->in_broken = errno;
    return -errno;
}

/* OpenSSL asks for a header, then for the rest of the record: it never has more than it uses. */
static int wire_read(BIO *bio, char *buf, int len)
{
    struct tls_session *s = BIO_get_data(bio);
    struct tls_worker *worker = s->context->worker;

    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    if (!s->owns_in) { /* while sending: reading is for recv */
        BIO_set_retry_read(bio);
        return -1;
    }
    if (worker->in_at == worker->in_len) {
        int rc = tls_wire_fill(s);
        if (rc == -EAGAIN)
            BIO_set_retry_read(bio);
        if (rc < 0)
            return s->eof ? 0 : -1;
    }
    size_t part = MIN((size_t)len, worker->in_len - worker->in_at);
    memcpy(buf, worker->in + worker->in_at, part);
    worker->in_at += part;
    return judge_beginning(s, buf, part) ? (int)part : -1;
}

void tls_wire_begin(struct tls_session *s, struct transport *t)
{
    struct tls_worker *worker = s->context->worker;

    ENSURE(worker->out_len == 0);
    s->t = t;
    s->owns_in = true;
    worker->spilled = false;
    worker->in_at = 0;
    worker->in_len = s->ahead_len;
    if (s->ahead_len == 0)
        return;
    memcpy(worker->in, s->ahead, s->ahead_len);
    memory_put(t->loop->memory, s->ahead, s->ahead_len);
    s->ahead = NULL;
    s->ahead_len = 0;
}

int tls_wire_end(struct tls_session *s)
{
    struct tls_worker *worker = s->context->worker;
    size_t len = worker->in_len - worker->in_at;

    s->owns_in = false;
    if (len == 0)
        return 0;
    s->ahead = memory_get(s->t->loop->memory, len);
    if (!s->ahead) {
        s->in_broken = ENOMEM;
        return -ENOMEM;
    }
    memcpy(s->ahead, worker->in + worker->in_at, len);
    s->ahead_len = len;
    return 0;
}

static int wire_write(BIO *bio, const char *buf, int len)
{
    struct tls_session *s = BIO_get_data(bio);
    struct tls_worker *worker = s->context->worker;

    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    if ((size_t)len > TLS_OUT_BYTES - worker->out_len) { /* a long chain of certificates; never a record of sendv's */
        int rc = tls_wire_flush(s, MSG_MORE);
        worker->spilled = true;
        if (rc < 0) {
            s->out_broken = -rc;
            return -1;
        }
    }
    size_t part = MIN((size_t)len, TLS_OUT_BYTES - worker->out_len);
    memcpy(worker->out + worker->out_len, buf, part);
    worker->out_len += part;
    return (int)part;
}

static long wire_ctrl(BIO *bio, int command, long number, void *pointer)
{
    const struct tls_session *s = BIO_get_data(bio);

    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return s->eof;
    default:
        return 0;
    }
}

BIO_METHOD *tls_wire_new(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | 0x7f, "wire");

    if (method && BIO_meth_set_read(method, wire_read) && BIO_meth_set_write(method, wire_write) &&
        BIO_meth_set_ctrl(method, wire_ctrl))
        return method;
    BIO_meth_free(method);
    return NULL;
}

/* ---- sending ---- */

void tls_wire_drop_left(struct tls_session *s)
{
    memory_put(s->t->loop->memory, s->left, s->left_size);
    s->left = NULL;
    s->left_at = s->left_len = s->left_size = 0;
    s->held = false;
}

/* How many bytes went; 0 when the kernel is full; -errno. */
static ssize_t send_some(struct tls_session *s, const unsigned char *at, size_t len, int flags)
{
    ssize_t sent;

    do {
        sent = sys->send(s->t->io.fd, at, len, MSG_NOSIGNAL | flags);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 ? errno == EAGAIN : (size_t)sent < len)
        s->t->io.ready &= (uint8_t)~IO_WRITABLE;
    return sent >= 0 ? sent : errno == EAGAIN ? 0 : -errno;
}

/* Appends to what is left. */
static int keep(struct tls_session *s, const unsigned char *at, size_t len)
{
    size_t size = s->left_len + len;
    unsigned char *larger = size > TLS_LEFT_MAX ? NULL : memory_get(s->t->loop->memory, size);

    if (!larger)
        return -ENOMEM;
    if (s->left_len > 0)
        memcpy(larger, s->left + s->left_at, s->left_len);
    memcpy(larger + s->left_len, at, len);
    tls_wire_drop_left(s);
    s->left = larger;
    s->left_len = s->left_size = size;
    return 0;
}

int tls_wire_keep(struct tls_session *s)
{
    struct tls_worker *worker = s->context->worker;
    size_t len = worker->out_len;

    worker->out_len = 0;
    return len == 0 ? 0 : keep(s, worker->out, len);
}

static int flush_left(struct tls_session *s, int flags)
{
    ssize_t sent = send_some(s, s->left + s->left_at, s->left_len, flags);

    if (sent < 0)
        return (int)sent;
    s->left_at += (size_t)sent;
    s->left_len -= (size_t)sent;
    if (s->left_len > 0)
        return 1;
    tls_wire_drop_left(s);
    return 0;
}

int tls_wire_flush(struct tls_session *s, int flags)
{
    struct tls_worker *worker = s->context->worker;
    size_t len = worker->out_len;
    int rc = s->left_len > 0 ? flush_left(s, len > 0 ? MSG_MORE : flags) : 0;
    ssize_t sent = 0;

    if (rc == 0 && len > 0)
        sent = send_some(s, worker->out, len, flags);
    worker->out_len = 0;
    if (rc < 0 || sent < 0)
        return rc < 0 ? rc : (int)sent;
    if ((size_t)sent == len)
        return rc;
    rc = keep(s, worker->out + sent, len - (size_t)sent);
    return rc < 0 ? rc : 1;
}
