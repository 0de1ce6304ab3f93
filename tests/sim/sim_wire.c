/*
 * The wire: what one socket sends arrives at the other as packets, in order, each at its own time.  A packet is data,
 * an end, a reset, or room given back.  How large the pieces are, how long they take and whether a direction stalls is
 * drawn from the seed.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "sim/net_internal.h"

enum { BUFFER_BYTES_USUAL = 256 * 1024 };

enum packet_kind { PACKET_DATA, PACKET_END, PACKET_RESET, PACKET_ROOM, PACKET_RELIEF };

struct packet {
    struct sim_event event;
    struct sim_socket *to;
    enum packet_kind kind;
    size_t room;
    struct sim_bytes *bytes;
};

static void wire_break(struct sim_socket *socket)
{
    sim_note("break", (uint64_t)socket->local.port, socket->delivered);
    sim_socket_die(socket, ECONNRESET);
    sim_socket_die(socket->other, ECONNRESET);
}

static void deliver_data(struct sim_socket *to, struct sim_bytes *bytes)
{
    if (to->closed || to->state != SIM_CONNECTED) {
        free(bytes);
        if (to->closed)
            sim_wire_reset(to);
        return;
    }
    bytes->next = NULL;
    if (to->last)
        to->last->next = bytes;
    else
        to->first = bytes;
    to->last = bytes;
    to->unread += bytes->len;
    to->delivered += bytes->len;
    sim_wake(&to->pollable, EPOLLIN);
    if (to->reset_after && to->delivered >= to->reset_after)
        wire_break(to);
}

static void deliver_reset(struct sim_socket *to)
{
    if (to->closed || to->state == SIM_DEAD)
        return;
    if (sim_chance(sim.options.discard_permille))
        while (to->first)
            sim_socket_consume(to, to->first->len);
    /* tcp_reset: an end that was seen before makes it a broken pipe */
    sim_socket_die(to, to->end_received ? EPIPE : ECONNRESET);
}

static void deliver_end(struct sim_socket *to)
{
    if (to->state != SIM_CONNECTED)
        return;
    to->end_received = true;
    sim_wake(&to->pollable, 0);
}

static void socket_check_room(struct sim_socket *socket)
{
    size_t room = sim_socket_room(socket);

    /* as sk_stream_write_space: when a third is free, and only if somebody ran into the wall */
    if (!socket->closed && socket->no_space && 3 * room >= socket->capacity) {
        socket->no_space = false;
        sim_wake(&socket->pollable, EPOLLOUT);
    }
}

static void packet_arrive(struct sim_event *event)
{
    struct packet *packet = container_of(event, struct packet, event);
    struct sim_socket *to = packet->to;

    sim_note("arrive", packet->kind * 65536ull + to->local.port, packet->bytes ? packet->bytes->len : packet->room);
    switch (packet->kind) {
    case PACKET_DATA:
        deliver_data(to, packet->bytes);
        break;
    case PACKET_END:
        deliver_end(to);
        break;
    case PACKET_RESET:
        deliver_reset(to);
        break;
    case PACKET_ROOM:
        ENSURE(to->in_use >= packet->room);
        to->in_use -= packet->room;
        socket_check_room(to);
        break;
    case PACKET_RELIEF:
        to->pressed = false;
        socket_check_room(to);
        break;
    }
    free(packet);
}

uint64_t sim_wire_trip_ns(const struct sim_socket *socket)
{
    uint64_t trip_ns = socket->latency_ns;

    if (trip_ns >= 4)
        trip_ns += rng_next(&sim.rng) % (trip_ns / 4);
    if (sim_chance(sim.options.stall_permille))
        trip_ns += sim_pick(sim.options.stall_ms_max) * 1000000ull;
    return trip_ns;
}

static struct packet *packet_new(struct sim_socket *to, enum packet_kind kind)
{
    struct packet *packet = calloc(1, sizeof(*packet));

    ENSURE(packet);
    packet->event = (struct sim_event){ .run = packet_arrive, .owned = true };
    packet->to = to;
    packet->kind = kind;
    return packet;
}

static void packet_send(struct sim_socket *from, struct packet *packet)
{
    uint64_t at_ns = sim.now_ns + sim_wire_trip_ns(from);

    from->last_arrival_ns = MAX(at_ns, from->last_arrival_ns);
    sim_event_at(&packet->event, from->last_arrival_ns);
}

/* With no latency at all, what is sent has arrived when the call returns, as on the kernel's loopback. */
void sim_wire_settle(const struct sim_socket *from)
{
    if (sim.options.latency_us_max == 0 && from->last_arrival_ns <= sim.now_ns)
        sim_run_due(false);
}

void sim_wire_send(struct sim_socket *from, const char *data, size_t len)
{
    ENSURE(from->other);
    from->in_use += len;
    while (len > 0) {
        size_t piece = from->segment_max ? sim_pick(from->segment_max) : len;
        piece = MIN(piece, len);
        struct packet *packet = packet_new(from->other, PACKET_DATA);
        packet->bytes = malloc(sizeof(*packet->bytes) + piece);
        ENSURE(packet->bytes);
        packet->bytes->begin = 0;
        packet->bytes->len = piece;
        memcpy(packet->bytes->data, data, piece);
        packet_send(from, packet);
        data += piece;
        len -= piece;
    }
}

void sim_wire_end(struct sim_socket *from)
{
    packet_send(from, packet_new(from->other, PACKET_END));
    sim_wire_settle(from);
}

void sim_wire_reset(struct sim_socket *from)
{
    if (from->reset_sent || !from->other)
        return;
    from->reset_sent = true;
    packet_send(from, packet_new(from->other, PACKET_RESET));
    sim_wire_settle(from);
}

void sim_wire_took(struct sim_socket *reader, size_t len)
{
    struct packet *packet;

    if (!reader->other || len == 0)
        return;
    packet = packet_new(reader->other, PACKET_ROOM);
    packet->room = len;
    sim_event_at(&packet->event, sim.now_ns + sim_wire_trip_ns(reader));
    sim_wire_settle(reader);
}

void sim_wire_relieve(struct sim_socket *socket)
{
    struct packet *packet = packet_new(socket, PACKET_RELIEF);

    sim_event_at(&packet->event, sim.now_ns + sim_pick(20000) * 1000ull);
}

static void wire_draw(struct sim_socket *socket, uint32_t latency_ns)
{
    const struct sim_options *options = &sim.options;
    uint32_t most = options->buffer_bytes_max ? options->buffer_bytes_max : BUFFER_BYTES_USUAL;
    uint32_t least = options->buffer_bytes_max ? MIN(MAX(options->buffer_bytes_min, 1u), most) : most;

    socket->latency_ns = latency_ns;
    socket->capacity = least + sim_pick(most - least + 1) - 1;
    socket->segment_max = options->segment_bytes_max ? sim_pick(options->segment_bytes_max) : 0;
    if (sim_chance(options->reset_permille))
        socket->reset_after = sim_pick(1 << 16);
}

void sim_wire_join(struct sim_socket *client, struct sim_socket *server)
{
    client->other = server;
    server->other = client;
    wire_draw(client, client->latency_ns);
    wire_draw(server, client->latency_ns);
}

void sim_wire_drop(struct sim_event *event)
{
    if (event->run == packet_arrive)
        free(container_of(event, struct packet, event)->bytes);
}
