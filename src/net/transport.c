/*
 * TCP and unix stream sockets as a transport, and what every layer over them begins and ends with.  All of it is about
 * not asking the kernel twice: a short read means that nothing is left, unless a hang-up was seen (its FIN made no
 * second edge); a short write means that the socket is full and that the kernel will tell when it is not. Splicing
 * cannot tell so: a kernel pipe takes a bounded number of buffers, whatever their size, so a short move says nothing.
 */
#include "net/transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "base/assert.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "net/facts.h"

static ssize_t tcp_recv(struct transport *t, void *buf, size_t len)
{
    ssize_t got;

    ENSURE(len > 0);
    do {
        got = sys->recv(t->io.fd, buf, len, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        if ((size_t)got < len && !(t->io.ready & IO_HANGUP))
            t->io.ready &= (uint8_t)~IO_READABLE;
        return got;
    }
    if (got == 0)
        return 0;
    if (errno == EAGAIN)
        t->io.ready &= (uint8_t)~IO_READABLE;
    return -errno;
}

/* One piece is the usual case, and the kernel takes it with less ado. */
static ssize_t tcp_send_pieces(int fd, const struct iovec *iov, int count, int flags)
{
    struct msghdr message = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count };

    return count == 1 ? sys->send(fd, iov->iov_base, iov->iov_len, flags) : sys->sendmsg(fd, &message, flags);
}

static ssize_t tcp_sendv(struct transport *t, const struct iovec *iov, int count, bool more)
{
    size_t total = 0;
    ssize_t sent;

    ENSURE(count > 0 && count <= 64);
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    do {
        sent = tcp_send_pieces(t->io.fd, iov, count, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 ? errno == EAGAIN : (size_t)sent < total)
        t->io.ready &= (uint8_t)~IO_WRITABLE;
    return sent < 0 ? -errno : sent;
}

static void tcp_shutdown(struct transport *t)
{
    (void)sys->shutdown(t->io.fd, SHUT_WR); /* fails when the peer has reset: reading tells */
}

static void tcp_close(struct transport *t)
{
    loop_close(t->loop, &t->io);
    facts_drop(t->facts);
    t->facts = NULL;
}

const struct transport_ops transport_tcp = {
    .name = "tcp",
    .establish = transport_connected,
    .recv = tcp_recv,
    .sendv = tcp_sendv,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
    .splices = true,
};

static void transport_init(struct transport *t, struct loop *loop, int fd, void (*on_ready)(struct io *))
{
    t->ops = &transport_tcp;
    t->loop = loop;
    t->facts = NULL;
    t->connecting = false;
    io_init(&t->io, fd, on_ready);
}

static void tcp_set_nodelay(int fd)
{
    int on = 1;

    (void)sys->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* without it things are slower, not wrong */
}

/* Closes and keeps errno for the caller's message. */
static int transport_abandon(struct transport *t, int err)
{
    int keep_errno = errno;

    transport_close(t);
    t->connecting = false;
    errno = keep_errno;
    return err;
}

int transport_accept(struct transport *t, struct loop *loop, int fd, void (*on_ready)(struct io *))
{
    transport_init(t, loop, fd, on_ready);
    if (loop_watch(loop, &t->io, IO_EDGE) < 0)
        return transport_abandon(t, -ERR_SYSTEM);
    t->io.ready = IO_WRITABLE; /* a fresh socket is; the kernel's word may come after the first answer is ready */
    return 0;
}

/* What a failed connect says about the target. Lack of our own descriptors, ports or memory says nothing about it. */
static int connect_error(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return -ERR_CONNECT_REFUSED;
    case ETIMEDOUT:
        return -ERR_CONNECT_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case EADDRNOTAVAIL:
    case ENOBUFS:
    case ENOMEM:
        return -ERR_OVERLOADED;
    case EACCES:
    case EPERM:
        return -ERR_SYSTEM;
    default:
        return -ERR_CONNECT_FAILED;
    }
}

static int connect_bind(int fd, const struct address *source)
{
    struct sockaddr_storage at;
    socklen_t len = address_to_sockaddr(source, &at);
    int on = 1;

    /* The port is then chosen by connect, which may share it between destinations. */
    if (source->port == 0 && source->family != AF_UNIX)
        (void)sys->setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    return sys->bind(fd, (const struct sockaddr *)&at, len);
}

static int keep_prologue(struct transport *t, struct slice prologue)
{
    t->facts = facts_new(t->loop->memory);
    return t->facts ? facts_keep(t->facts, prologue, &t->facts->prologue) : -ERR_MEMORY;
}

/* What is to go over the connection once it stands. */
static int prepare(struct transport *t, const struct dial *dial)
{
    int err = dial->prologue.len > 0 ? keep_prologue(t, dial->prologue) : 0;

    return err || !dial->layer ? err : dial->layer->begin(dial->layer, t);
}

int transport_connect(struct transport *t, struct loop *loop, const struct dial *dial, void (*on_ready)(struct io *))
{
    struct sockaddr_storage at;
    socklen_t len = address_to_sockaddr(dial->to, &at);
    int fd = sys->socket(dial->to->family, SOCK_STREAM, 0);

    transport_init(t, loop, fd, on_ready);
    if (fd < 0)
        return connect_error(errno);
    if (dial->to->family != AF_UNIX)
        tcp_set_nodelay(fd);
    if (dial->source && connect_bind(fd, dial->source) < 0)
        return transport_abandon(t, -ERR_SYSTEM);
    int err = prepare(t, dial);
    if (err)
        return transport_abandon(t, err);
    if (sys->connect(fd, (const struct sockaddr *)&at, len) < 0 && errno != EINPROGRESS && errno != EINTR)
        return transport_abandon(t, connect_error(errno));
    /* Only now: a socket that is not connecting yet would report a hang-up. */
    if (loop_watch(loop, &t->io, IO_EDGE) < 0)
        return transport_abandon(t, -ERR_SYSTEM);
    t->connecting = true;
    return 0;
}

/* Some of it may have gone before. */
static int send_prologue(struct transport *t, struct slice *prologue)
{
    while (prologue->len > 0) {
        ssize_t sent = sys->send(t->io.fd, prologue->at, prologue->len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            t->io.ready &= (uint8_t)~IO_WRITABLE;
            return 1;
        }
        if (sent < 0)
            return -ERR_CONNECT_FAILED;
        prologue->at += sent;
        prologue->len -= (size_t)sent;
    }
    return 0;
}

int transport_connected(struct transport *t)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (!t->connecting)
        return 0;
    if (!(t->io.ready & (IO_WRITABLE | IO_HANGUP)))
        return 1;
    if (sys->getsockopt(t->io.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -ERR_SYSTEM;
    if (error)
        return connect_error(error);
    int rc = t->facts ? send_prologue(t, &t->facts->prologue) : 0;
    t->connecting = rc > 0;
    return rc;
}

int transport_move(struct transport *from, struct transport *to, void (*on_ready)(struct io *))
{
    int rc = loop_move(from->loop, &from->io, &to->io, on_ready);

    if (rc < 0)
        return rc;
    to->ops = from->ops;
    to->loop = from->loop;
    to->facts = from->facts;
    to->connecting = from->connecting;
    from->facts = NULL;
    return 0;
}

ssize_t transport_splice_in(struct transport *t, struct pipe *to, size_t max)
{
    ssize_t moved;

    ENSURE(t->ops->splices);
    do {
        moved = pipe_splice_in(to, t->io.fd, max);
    } while (moved < 0 && errno == EINTR);
    if (moved >= 0)
        return moved;
    /* With bytes in the pipe it may be the pipe that is full. */
    if (errno == EAGAIN && to->kernel_bytes == 0)
        t->io.ready &= (uint8_t)~IO_READABLE;
    return -errno;
}

ssize_t transport_splice_out(struct transport *t, struct pipe *from, size_t max, bool more)
{
    ssize_t moved;

    ENSURE(t->ops->splices && from->kernel_bytes > 0);
    do {
        moved = pipe_splice_out(from, t->io.fd, max, more);
    } while (moved < 0 && errno == EINTR);
    if (moved >= 0)
        return moved;
    if (errno == EAGAIN)
        t->io.ready &= (uint8_t)~IO_WRITABLE;
    return -errno;
}
