/*
 * A transport is one connected byte stream: plain, or with a layer such as TLS over it.  Codecs speak to this and never
 * to a descriptor.
 *
 *      transport_recv   bytes, or 0 at the peer's end, or -EAGAIN/-errno. It keeps io.ready's readable bit right:
 *                       after a short read without hang-up the bit is cleared and no probing read is made.
 *                       A layer that holds bytes of its own leaves it set.
 *      transport_sendv  bytes taken, -EAGAIN (the writable bit is cleared; on_ready comes), or -errno.
 *
 * An accepted plain transport is established at once; every other one is when transport_establish has said 0: a connect
 * and a handshake take their time.
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
#include "base/slice.h"
#include "loop/loop.h"
#include "net/address.h"

struct transport;
struct pipe;
struct conn_facts;

struct transport_ops {
    const char *name;
    /* After on_ready, until it has said 0: 0 when bytes may be sent and received, 1 to wait on, or -ERR_CONNECT_*,
     * -ERR_TLS_*, -ERR_OVERLOADED, -ERR_SYSTEM. */
    int (*establish)(struct transport *t);
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
    struct conn_facts *facts; /* a reference; NULL: a plain connection of which no more than its addresses is known */
    bool connecting;          /* a client transport whose connect has not finished */
};

/* What is spoken over a plain transport. One for each set of settings, on one worker; outlives its transports. */
struct transport_layer {
    /* Puts the layer over an accepted or a connecting transport: its ops and facts are the layer's from then on, and
     * transport_establish has to say 0 before bytes go. -ERR_MEMORY: the transport is as it was. */
    int (*begin)(const struct transport_layer *layer, struct transport *t);
};

/* How to reach a peer. */
struct dial {
    const struct address *to;            /* copied */
    const struct address *source;        /* bound before; may be NULL */
    const struct transport_layer *layer; /* NULL: plain */
    struct slice prologue;               /* sent in front of everything, the layer too (a PROXY header); copied */
    uint32_t timeout_ms;                 /* for whoever holds the timer: connect and handshake together */
};

extern const struct transport_ops transport_tcp;

/* Takes an accepted, non-blocking descriptor and watches it. On failure the descriptor is closed. */
MUST_USE int transport_accept(struct transport *t, struct loop *loop, int fd, void (*on_ready)(struct io *));
/* Starts connecting. on_ready comes when there is news: then ask transport_establish. -ERR_CONNECT_*, -ERR_OVERLOADED
 * (out of descriptors, ports or buffers), -ERR_SYSTEM, -ERR_MEMORY at once. */
MUST_USE int transport_connect(struct transport *t, struct loop *loop, const struct dial *dial,
                               void (*on_ready)(struct io *));
/* For layers: the connect below, and the prologue. As transport_establish. */
MUST_USE int transport_connected(struct transport *t);
/* The connection goes on in `to`, with all that it has; `from` is of no use any more. -ERR_SYSTEM: nothing has moved.
 */
MUST_USE int transport_move(struct transport *from, struct transport *to, void (*on_ready)(struct io *));

static inline int transport_establish(struct transport *t)
{
    return t->ops->establish(t);
}
static inline void transport_close(struct transport *t)
{
    t->ops->close(t);
}

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
