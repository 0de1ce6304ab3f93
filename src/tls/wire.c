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

static int wire_read(BIO *bio, char *buf, int len)
{
    struct tls_session *s = BIO_get_data(bio);
    struct transport *t = s->t;
    ssize_t got;

    BIO_clear_retry_flags(bio);
    if (len <= 0 || s->eof)
        return 0;
    if (!(t->io.ready & IO_READABLE)) {
        BIO_set_retry_read(bio);
        return -1;
    }
    do {
        got = sys->recv(t->io.fd, buf, (size_t)len, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        if (got < len && !(t->io.ready & IO_HANGUP))
            t->io.ready &= (uint8_t)~IO_READABLE;
        return judge_beginning(s, buf, (size_t)got) ? (int)got : -1;
    }
    if (got == 0) {
        s->eof = true;
        return 0;
    }
    if (errno != EAGAIN) {
        s->broken = errno;
        return -1;
    }
    t->io.ready &= (uint8_t)~IO_READABLE;
    BIO_set_retry_read(bio);
    return -1;
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
        if (rc < 0) {
            s->broken = -rc;
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
