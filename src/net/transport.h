/*
 * A transport is one connected byte stream: TCP now, TLS over it later.  Codecs speak to this and never to a
 * descriptor.
 *
 *      transport_recv   bytes, or 0 at the peer's end, or -EAGAIN/-errno. It keeps io.ready's readable bit right:
 *                       after a short read without hang-up the bit is cleared and no probing read is made.
 *      transport_sendv  bytes taken, -EAGAIN (the writable bit is cleared; on_ready comes), or -errno.
 *
 * Embedded in the codec's connection; one worker.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"
#include "loop/loop.h"
#include "net/address.h"

struct transport;
struct pipe;

struct transport_ops {
    const char *name;
    ssize_t (*recv)(struct transport *t, void *buf, size_t len);
    ssize_t (*sendv)(struct transport *t, const struct iovec *iov, int count, bool more); /* count <= 64 */
    void (*shutdown)(struct transport *t); /* our side's end: FIN, or close_notify and FIN */
    void (*close)(struct transport *t);    /* at once; releases what the transport holds */
    bool splices;                          /* plaintext: the descriptor may be spliced */
};

struct transport {
    const struct transport_ops *ops;
    struct loop *loop;
    struct io io;
    bool connecting; /* a client transport whose connect has not finished */
};

extern const struct transport_ops transport_tcp;

/* Takes an accepted, non-blocking descriptor and watches it. On failure the descriptor is closed. */
MUST_USE int transport_accept(struct transport *t, struct loop *loop, int fd, void (*on_ready)(struct io *));
/* Starts connecting. on_ready comes when it is done: then ask transport_connected. -ERR_CONNECT_*, -ERR_OVERLOADED (out
 * of descriptors, ports or buffers), -ERR_SYSTEM at once. `source` (may be NULL) is bound before. */
MUST_USE int transport_connect(struct transport *t, struct loop *loop, const struct address *to,
                               const struct address *source, void (*on_ready)(struct io *));
/* After on_ready while connecting: 0 when connected, -ERR_CONNECT_*, -ERR_OVERLOADED or -ERR_SYSTEM, or 1 to wait on.
 */
int transport_connected(struct transport *t);

static inline ssize_t transport_recv(struct transport *t, void *buf, size_t len)
{
    return t->ops->recv(t, buf, len);
}
static inline ssize_t transport_sendv(struct transport *t, const struct iovec *iov, int count, bool more)
{
    return t->ops->sendv(t, iov, count, more);
}
/* Splicing in and out of a pipe's kernel part: bytes, 0 at the end, -EAGAIN, -errno. The bit is cleared by EAGAIN
 * alone, and readable only when the kernel part is empty: else the pipe may be what is full. Then drain it before
 * trying again.
 */
ssize_t transport_splice_in(struct transport *t, struct pipe *to, size_t max);
ssize_t transport_splice_out(struct transport *t, struct pipe *from, size_t max, bool more);
