/*
 * Scripted peers: the ends of connections that belong to a test.  A peer owns a simulated socket without a descriptor;
 * whatever happens to the socket makes an appointment, and at that time the peer reads what is there in pieces, tells
 * its script, and writes what is queued as far as there is room.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "sim/net_internal.h"

struct sim_peer_own {
    struct sim_peer peer; /* what scripts see; first, so that the one is the other */
    struct link link;
    struct sim_socket *socket;
    struct sim_event attend;
    char *out;
    size_t out_begin, out_len, out_size;
    bool told_open, told_end, over, paused, finishing, sending;
};

struct sim_listener {
    struct link link;
    const struct sim_peer_events *events;
    void *user;
    struct sim_socket *socket;
};

static struct sim_peer_own *own(const struct sim_peer *peer)
{
    return (struct sim_peer_own *)(uintptr_t)peer;
}

void sim_peer_attend(struct sim_peer_own *peer)
{
    if (peer->over || peer->attend.heap_at)
        return;
    /* Its own time to react: none on a calm network, up to a trip's time otherwise. */
    sim_event_at(&peer->attend,
                 sim.now_ns + (sim.options.latency_us_max ? sim_pick(sim.options.latency_us_max) * 1000ull : 0));
}

static void peer_end(struct sim_peer_own *peer)
{
    peer->over = true;
    peer->peer.open = false;
    peer->out_len = 0;
    sim_event_cancel(&peer->attend);
}

static void peer_fail(struct sim_peer_own *peer, int error)
{
    peer_end(peer);
    peer->socket->error = 0;
    sim_note("peer_reset", peer->peer.local.port, (uint64_t)error);
    if (peer->peer.events->on_reset)
        peer->peer.events->on_reset(&peer->peer, error);
}

static void peer_read(struct sim_peer_own *peer)
{
    char buf[16384];

    while (!peer->over && !peer->paused && peer->socket->unread > 0) {
        size_t len = sim.options.segment_bytes_max ? sim_pick(sizeof(buf)) : sizeof(buf);
        ssize_t got = sim_socket_recv(peer->socket, buf, len);
        ENSURE(got > 0);
        peer->peer.received += (uint64_t)got;
        sim_note("peer_data", peer->peer.local.port, (uint64_t)got);
        if (peer->peer.events->on_data)
            peer->peer.events->on_data(&peer->peer, buf, (size_t)got);
    }
    if (peer->over || peer->socket->unread > 0 || !peer->socket->end_received || peer->told_end)
        return;
    peer->told_end = peer->peer.end_received = true;
    sim_note("peer_end", peer->peer.local.port, 0);
    if (peer->peer.events->on_end)
        peer->peer.events->on_end(&peer->peer);
}

static void peer_write(struct sim_peer_own *peer)
{
    while (peer->out_len > 0) {
        struct iovec iov = { peer->out + peer->out_begin, peer->out_len };
        ssize_t sent = sim_socket_send(peer->socket, &iov, 1);
        if (sent == -EAGAIN)
            return;
        if (sent < 0) {
            peer_fail(peer, (int)-sent);
            return;
        }
        peer->out_begin += (size_t)sent;
        peer->out_len -= (size_t)sent;
        peer->peer.sent += (uint64_t)sent;
    }
    if (peer->finishing && !peer->peer.end_sent) {
        peer->peer.end_sent = true;
        sim_socket_shut_write(peer->socket);
    }
    if (peer->sending) {
        peer->sending = false;
        if (peer->peer.events->on_sent)
            peer->peer.events->on_sent(&peer->peer);
    }
}

static void peer_run(struct sim_event *event)
{
    struct sim_peer_own *peer = container_of(event, struct sim_peer_own, attend);

    if (peer->over || peer->socket->state == SIM_CONNECTING)
        return;
    if (!peer->told_open && peer->socket->state == SIM_CONNECTED) {
        peer->told_open = peer->peer.open = true;
        if (peer->peer.events->on_open)
            peer->peer.events->on_open(&peer->peer);
    }
    if (!peer->over)
        peer_read(peer);
    if (!peer->over && peer->socket->state == SIM_DEAD && (peer->socket->unread == 0 || peer->paused))
        peer_fail(peer, peer->socket->error ? peer->socket->error : ECONNRESET);
    if (!peer->over && peer->socket->state == SIM_CONNECTED)
        peer_write(peer);
}

static struct sim_peer_own *peer_new(struct sim_socket *socket, const struct sim_peer_events *events, void *user)
{
    struct sim_peer_own *peer = calloc(1, sizeof(*peer));

    ENSURE(peer);
    list_push_back(&sim.peers, &peer->link);
    peer->peer.events = events;
    peer->peer.user = user;
    peer->peer.local = socket->local;
    peer->peer.remote = socket->remote;
    peer->socket = socket;
    peer->attend = (struct sim_event){ .run = peer_run, .script = true };
    socket->peer = peer;
    return peer;
}

struct sim_peer *sim_connect(const struct address *to, const struct sim_peer_events *events, void *user)
{
    struct sim_socket *socket = sim_socket_new(to->family);
    int error = sim_socket_connect(socket, to);
    struct sim_peer_own *peer = peer_new(socket, events, user);

    if (error && error != EINPROGRESS)
        sim_socket_die(socket, error); /* told when time goes on, like every other failure */
    sim_peer_attend(peer);
    return &peer->peer;
}

struct sim_listener *sim_listen(const struct address *at, const struct sim_peer_events *events, void *user)
{
    struct sim_listener *listener = calloc(1, sizeof(*listener));

    ENSURE(listener);
    list_push_back(&sim.listeners, &listener->link);
    listener->events = events;
    listener->user = user;
    listener->socket = sim_socket_new(at->family);
    listener->socket->listener = listener;
    sim_socket_bind(listener->socket, at);
    int failed = sim_socket_listen(listener->socket, 4096);
    ENSURE(!failed);
    return listener;
}

void sim_listener_close(struct sim_listener *listener)
{
    if (!listener->socket->closed)
        sim_socket_close(listener->socket);
}

void sim_peer_accept(struct sim_listener *listener, struct sim_socket *socket)
{
    sim_peer_attend(peer_new(socket, listener->events, listener->user));
}

/* ---- what scripts do ---- */

void sim_peer_send(struct sim_peer *peer, const void *data, size_t len)
{
    struct sim_peer_own *mine = own(peer);

    ENSURE(!mine->finishing);
    if (mine->over || len == 0)
        return;
    if (mine->out_begin > 0 && mine->out_begin >= mine->out_len) {
        memmove(mine->out, mine->out + mine->out_begin, mine->out_len);
        mine->out_begin = 0;
    }
    if (mine->out_begin + mine->out_len + len > mine->out_size) {
        mine->out_size = 2 * (mine->out_begin + mine->out_len + len);
        mine->out = realloc(mine->out, mine->out_size);
        ENSURE(mine->out);
    }
    memcpy(mine->out + mine->out_begin + mine->out_len, data, len);
    mine->out_len += len;
    mine->sending = true;
    sim_peer_attend(mine);
}

size_t sim_peer_unsent(const struct sim_peer *peer)
{
    return own(peer)->out_len;
}

void sim_peer_finish(struct sim_peer *peer)
{
    own(peer)->finishing = true;
    sim_peer_attend(own(peer));
}

void sim_peer_pause(struct sim_peer *peer)
{
    own(peer)->paused = true;
}

void sim_peer_resume(struct sim_peer *peer)
{
    own(peer)->paused = false;
    sim_peer_attend(own(peer));
}

void sim_peer_close(struct sim_peer *peer)
{
    if (own(peer)->over)
        return;
    peer_end(own(peer));
    sim_socket_close(own(peer)->socket);
}

void sim_peer_reset(struct sim_peer *peer)
{
    if (own(peer)->over)
        return;
    own(peer)->socket->linger_reset = true;
    sim_peer_close(peer);
}

void sim_peers_free(void)
{
    struct link *it;

    while ((it = list_pop_front(&sim.peers))) {
        struct sim_peer_own *peer = container_of(it, struct sim_peer_own, link);
        sim_event_cancel(&peer->attend);
        free(peer->out);
        free(peer);
    }
    while ((it = list_pop_front(&sim.listeners)))
        free(container_of(it, struct sim_listener, link));
}
