/*
 * Sockets of the simulated network: states, buffers, errors and readiness as Linux has them for TCP (net/ipv4/tcp.c:
 * tcp_poll, tcp_recvmsg, tcp_sendmsg, tcp_reset, tcp_close).  Unix stream sockets are the same without a handshake.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "sim/net_internal.h"

static uint32_t socket_mask(struct sim_pollable *pollable)
{
    struct sim_socket *socket = container_of(pollable, struct sim_socket, pollable);
    bool dead = socket->state == SIM_DEAD, read_shut = dead || socket->end_received || socket->read_shut;
    bool write_shut = dead || socket->write_shut;
    uint32_t mask = 0;

    if (socket->state == SIM_LISTENING)
        return socket->queue_len > 0 ? EPOLLIN : 0;
    if ((read_shut && write_shut) || socket->state == SIM_FRESH)
        mask |= EPOLLHUP;
    if (read_shut)
        mask |= EPOLLIN | EPOLLRDHUP;
    if (socket->error)
        mask |= EPOLLERR;
    if (socket->state == SIM_CONNECTING)
        return mask;
    if (socket->unread > 0)
        mask |= EPOLLIN;
    if (write_shut || socket->state == SIM_FRESH || 3 * sim_socket_room(socket) >= socket->capacity)
        mask |= EPOLLOUT;
    else
        socket->no_space = true;
    return mask;
}

struct sim_socket *sim_socket_new(int family)
{
    struct sim_socket *socket = calloc(1, sizeof(*socket));

    ENSURE(socket);
    list_push_back(&sim.sockets, &socket->link);
    sim_pollable_init(&socket->pollable, socket_mask);
    socket->family = family;
    socket->local.family = (uint16_t)family;
    return socket;
}

void sim_socket_free(struct sim_socket *socket)
{
    sim_event_cancel(&socket->connect_event);
    while (socket->first) {
        struct sim_bytes *next = socket->first->next;
        free(socket->first);
        socket->first = next;
    }
    free(socket->queue);
    free(socket);
}

size_t sim_socket_room(const struct sim_socket *socket)
{
    return socket->pressed || socket->in_use >= socket->capacity ? 0 : socket->capacity - socket->in_use;
}

void sim_socket_die(struct sim_socket *socket, int error)
{
    if (socket->closed || socket->state == SIM_DEAD)
        return;
    sim_note("die", socket->local.port, (uint64_t)error);
    sim_event_cancel(&socket->connect_event);
    socket->state = SIM_DEAD;
    socket->error = error;
    sim_wake(&socket->pollable, EPOLLERR);
    sim_wake(&socket->pollable, 0);
}

/* ---- data ---- */

void sim_socket_consume(struct sim_socket *socket, size_t len)
{
    ENSURE(len <= socket->unread);
    socket->unread -= len;
    for (size_t left = len; left > 0;) {
        struct sim_bytes *bytes = socket->first;
        size_t piece = MIN(left, bytes->len);
        bytes->begin += piece;
        bytes->len -= piece;
        left -= piece;
        if (bytes->len > 0)
            break;
        socket->first = bytes->next;
        if (!socket->first)
            socket->last = NULL;
        free(bytes);
    }
    if (socket->state == SIM_CONNECTED)
        sim_wire_took(socket, len);
}

static int socket_take_error(struct sim_socket *socket)
{
    int error = socket->error;

    socket->error = 0;
    return error;
}

ssize_t sim_socket_nothing(struct sim_socket *socket)
{
    if (socket->end_received)
        return 0;
    if (socket->error)
        return -socket_take_error(socket);
    if (socket->read_shut || socket->state == SIM_DEAD)
        return 0;
    if (socket->state == SIM_FRESH || socket->state == SIM_LISTENING)
        return -ENOTCONN;
    return -EAGAIN;
}

ssize_t sim_socket_recv(struct sim_socket *socket, void *buf, size_t len)
{
    size_t copied = 0;

    if (len == 0)
        return 0;
    for (struct sim_bytes *bytes = socket->first; bytes && copied < len; bytes = bytes->next) {
        size_t piece = MIN(len - copied, bytes->len);
        memcpy((char *)buf + copied, bytes->data + bytes->begin, piece);
        copied += piece;
    }
    if (copied == 0)
        return sim_socket_nothing(socket);
    sim_socket_consume(socket, copied);
    return (ssize_t)copied;
}

ssize_t sim_socket_send(struct sim_socket *socket, const struct iovec *iov, size_t count)
{
    size_t room = sim_socket_room(socket), taken = 0;

    if (socket->error)
        return -socket_take_error(socket);
    if (socket->write_shut || socket->state == SIM_DEAD || socket->state == SIM_FRESH || socket->state == SIM_LISTENING)
        return -EPIPE;
    if (socket->state == SIM_CONNECTING)
        return -EAGAIN;
    if (room > 0 && sim_chance(sim.options.pressure_permille)) {
        room = sim_pick((uint32_t)room) - 1;
        socket->pressed = true;
        sim_wire_relieve(socket);
    }
    for (size_t i = 0; i < count; i++) {
        size_t piece = MIN(iov[i].iov_len, room - taken);
        sim_wire_send(socket, iov[i].iov_base, piece);
        taken += piece;
        if (piece < iov[i].iov_len) {
            socket->no_space = true;
            break;
        }
    }
    sim_wire_settle(socket);
    return taken == 0 && socket->no_space ? -EAGAIN : (ssize_t)taken;
}

bool sim_socket_is_over(const struct sim_socket *socket)
{
    return socket->state == SIM_DEAD || (socket->write_shut && socket->end_received && socket->other->end_received);
}

void sim_socket_shut_write(struct sim_socket *socket)
{
    if (!socket->write_shut) {
        socket->write_shut = true;
        sim_wire_end(socket);
    }
    sim_wake(&socket->pollable, 0); /* inet_shutdown always does */
}

void sim_socket_close(struct sim_socket *socket)
{
    bool rude = socket->unread > 0 || socket->linger_reset;

    ENSURE(!socket->closed);
    socket->closed = true;
    sim_pollable_gone(&socket->pollable);
    sim_event_cancel(&socket->connect_event);
    for (int i = 0; i < socket->queue_len; i++)
        if (!socket->queue[i]->closed) {
            socket->queue[i]->linger_reset = true;
            sim_socket_close(socket->queue[i]);
        }
    socket->queue_len = 0;
    if (socket->state != SIM_CONNECTED)
        return;
    if (sim_socket_is_over(socket))
        return;
    if (rude)
        sim_wire_reset(socket);
    else if (!socket->write_shut)
        sim_wire_end(socket);
}
