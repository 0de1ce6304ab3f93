/*
 * The socket calls of the simulated table: each takes its microsecond, may be interrupted or fail on purpose, and then
 * asks sim_socket.c.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "base/assert.h"
#include "sim/net_internal.h"

static struct sim_socket *sim_socket_of(int fd)
{
    struct sim_file *file = sim_file(fd, SIM_SOCKET);

    return file ? file->object : NULL;
}

int sim_sys_socket(int family, int type, int protocol)
{
    int fd;

    if (sim_fails())
        return sim_fail_with(EMFILE);
    ENSURE(type == SOCK_STREAM); /* datagrams are not simulated */
    fd = sim_file_open(SIM_SOCKET, NULL);
    if (fd >= 0)
        sim.files[fd - SIM_FD_BASE].object = sim_socket_new(family);
    return fd;
}

int sim_sys_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct sim_socket *socket = sim_socket_of(fd);
    struct address at;
    int error;

    if (!socket)
        return -1;
    if (sim_fails())
        return sim_fail_with(EADDRINUSE);
    sim_address_from(addr, len, &at);
    error = sim_socket_bind(socket, &at);
    return error ? sim_fail_with(error) : 0;
}

int sim_sys_listen(int fd, int backlog)
{
    struct sim_socket *socket = sim_socket_of(fd);
    int error;

    if (!socket)
        return -1;
    if (sim_fails())
        return sim_fail_with(EADDRINUSE);
    error = sim_socket_listen(socket, backlog);
    return error ? sim_fail_with(error) : 0;
}

static void give_address(const struct address *address, struct sockaddr *ret_addr, socklen_t *ret_len)
{
    struct sockaddr_storage storage;
    socklen_t len = address_to_sockaddr(address, &storage);

    if (!ret_addr || !ret_len)
        return;
    memcpy(ret_addr, &storage, MIN(*ret_len, len));
    *ret_len = len;
}

int sim_sys_accept(int fd, struct sockaddr *ret_addr, socklen_t *ret_len)
{
    struct sim_socket *listener = sim_socket_of(fd), *socket;
    int accepted;

    sim_tick();
    if (!listener)
        return -1;
    if (listener->state != SIM_LISTENING)
        return sim_fail_with(EINVAL);
    if (sim_interrupted())
        return -1;
    if (sim_fails())
        return sim_fail_with(EMFILE);
    if (listener->queue_len == 0)
        return sim_fail_with(EAGAIN);
    socket = listener->queue[0];
    accepted = sim_file_open(SIM_SOCKET, socket);
    if (accepted < 0)
        return -1;
    memmove(listener->queue, listener->queue + 1, sizeof(*listener->queue) * (size_t)--listener->queue_len);
    give_address(&socket->remote, ret_addr, ret_len);
    sim_note("accept", (uint64_t)accepted, socket->remote.port);
    return accepted;
}

int sim_sys_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct sim_socket *socket = sim_socket_of(fd);
    struct address to;
    int error;

    sim_tick();
    if (!socket)
        return -1;
    if (sim_fails())
        return sim_fail_with(EADDRNOTAVAIL);
    sim_address_from(addr, len, &to);
    error = sim_socket_connect(socket, &to);
    sim_note("connect", (uint64_t)fd, (uint64_t)error);
    return error ? sim_fail_with(error) : 0;
}

int sim_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    struct sim_socket *socket = sim_socket_of(fd);
    int answer = 0;

    if (!socket)
        return -1;
    if (level == SOL_SOCKET && name == SO_ERROR) {
        answer = socket->error;
        socket->error = 0;
    }
    memcpy(value, &answer, MIN(*len, (socklen_t)sizeof(answer)));
    *len = sizeof(answer);
    return 0;
}

int sim_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    struct sim_socket *socket = sim_socket_of(fd);

    if (!socket)
        return -1;
    if (level == SOL_SOCKET && name == SO_LINGER) {
        const struct linger *linger = value;
        ENSURE(len == sizeof(*linger));
        socket->linger_reset = linger->l_onoff && linger->l_linger == 0;
    }
    return 0;
}

int sim_sys_getsockname(int fd, struct sockaddr *ret_addr, socklen_t *ret_len)
{
    struct sim_socket *socket = sim_socket_of(fd);

    if (!socket)
        return -1;
    give_address(&socket->local, ret_addr, ret_len);
    return 0;
}

ssize_t sim_sys_recv(int fd, void *buf, size_t len, int flags)
{
    struct sim_socket *socket = sim_socket_of(fd);
    ssize_t got;

    sim_tick();
    ENSURE(flags == 0);
    if (!socket || sim_interrupted())
        return -1;
    if (sim_fails())
        return sim_fail_with(ENOMEM);
    got = sim_socket_recv(socket, buf, len);
    sim_note("recv", (uint64_t)fd, (uint64_t)got);
    return got < 0 ? sim_fail_with((int)-got) : got;
}

ssize_t sim_sys_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    struct sim_socket *socket = sim_socket_of(fd);
    ssize_t sent;

    sim_tick();
    ENSURE(flags & MSG_NOSIGNAL);
    if (!socket || sim_interrupted())
        return -1;
    if (sim_fails())
        return sim_fail_with(ENOBUFS);
    sent = sim_socket_send(socket, msg->msg_iov, msg->msg_iovlen);
    sim_note("sendmsg", (uint64_t)fd, (uint64_t)sent);
    return sent < 0 ? sim_fail_with((int)-sent) : sent;
}

ssize_t sim_sys_send(int fd, const void *buf, size_t len, int flags)
{
    struct iovec iov = { (void *)(uintptr_t)buf, len };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

    return sim_sys_sendmsg(fd, &message, flags);
}

int sim_sys_shutdown(int fd, int how)
{
    struct sim_socket *socket = sim_socket_of(fd);

    sim_tick();
    if (!socket)
        return -1;
    if (socket->state != SIM_CONNECTED || sim_socket_is_over(socket)) {
        sim_wake(&socket->pollable, 0); /* inet_shutdown wakes even then */
        return sim_fail_with(ENOTCONN);
    }
    if (how == SHUT_RD || how == SHUT_RDWR)
        socket->read_shut = true;
    if (how == SHUT_WR || how == SHUT_RDWR)
        sim_socket_shut_write(socket);
    else
        sim_wake(&socket->pollable, 0);
    return 0;
}
