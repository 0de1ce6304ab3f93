/*
 * Kernel pipes and splice: a pipe is sixteen slots, and a spliced piece of a packet takes one however small it is.  So
 * a move is short, or answers EAGAIN, for want of slots as well as for want of bytes, exactly the ambiguity that
 * callers must live with.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "sim/net_internal.h"

enum { SLOTS = 16, SLOT_BYTES = 4096 };

struct slot {
    size_t begin, len;
    char data[SLOT_BYTES];
};

struct pipe_ring {
    struct slot slots[SLOTS];
    unsigned first, count;
    bool open[2]; /* read, write */
};

int sim_sys_pipe(int ret_fds[2])
{
    struct pipe_ring *ring;

    if (sim_fails() || sim.options.splice == SIM_SPLICE_NO_PIPES) {
        errno = EMFILE;
        return -1;
    }
    ring = calloc(1, sizeof(*ring));
    ENSURE(ring);
    ring->open[0] = ring->open[1] = true;
    ret_fds[0] = sim_file_open(SIM_PIPE_READ, ring);
    ret_fds[1] = ret_fds[0] < 0 ? -1 : sim_file_open(SIM_PIPE_WRITE, ring);
    if (ret_fds[1] >= 0)
        return 0;
    if (ret_fds[0] >= 0)
        sim_file_close(ret_fds[0]);
    free(ring);
    errno = EMFILE;
    return -1;
}

void sim_pipe_close(void *end, bool is_read)
{
    struct pipe_ring *ring = end;

    ENSURE(ring->open[!is_read]);
    ring->open[!is_read] = false;
    if (!ring->open[0] && !ring->open[1])
        free(ring);
}

static ssize_t splice_in(struct sim_socket *socket, struct pipe_ring *ring, size_t len)
{
    size_t moved = 0;

    if (ring->count == SLOTS)
        return -EAGAIN;
    while (moved < len && socket->first && ring->count < SLOTS) {
        struct slot *slot = &ring->slots[(ring->first + ring->count++) % SLOTS];
        slot->begin = 0;
        slot->len = MIN(MIN(len - moved, socket->first->len), (size_t)SLOT_BYTES);
        memcpy(slot->data, socket->first->data + socket->first->begin, slot->len);
        moved += slot->len;
        sim_socket_consume(socket, slot->len);
    }
    return moved > 0 ? (ssize_t)moved : sim_socket_nothing(socket);
}

static ssize_t splice_out(struct pipe_ring *ring, struct sim_socket *socket, size_t len)
{
    size_t moved = 0;

    if (ring->count == 0)
        return ring->open[1] ? -EAGAIN : 0;
    while (moved < len && ring->count > 0) {
        struct slot *slot = &ring->slots[ring->first];
        struct iovec iov = { slot->data + slot->begin, MIN(slot->len, len - moved) };
        ssize_t sent = sim_socket_send(socket, &iov, 1);
        if (sent < 0)
            return moved > 0 ? (ssize_t)moved : sent;
        moved += (size_t)sent;
        slot->begin += (size_t)sent;
        slot->len -= (size_t)sent;
        if (slot->len > 0)
            break;
        ring->first = (ring->first + 1) % SLOTS;
        ring->count--;
    }
    return (ssize_t)moved;
}

ssize_t sim_sys_splice(int from, int to, size_t len, unsigned flags)
{
    struct sim_file *source, *sink;
    ssize_t moved;

    sim_tick();
    if (sim.options.splice == SIM_SPLICE_INVALID) {
        errno = EINVAL;
        return -1;
    }
    if (sim_interrupted())
        return -1;
    if (sim_fails()) {
        errno = ENOMEM;
        return -1;
    }
    if ((source = sim_file(from, SIM_SOCKET)) && (sink = sim_file(to, SIM_PIPE_WRITE))) {
        moved = splice_in(source->object, sink->object, len);
    } else if ((source = sim_file(from, SIM_PIPE_READ)) && (sink = sim_file(to, SIM_SOCKET))) {
        moved = splice_out(source->object, sink->object, len);
    } else {
        errno = EINVAL;
        return -1;
    }
    sim_note("splice", (uint64_t)from * 65536 + (uint64_t)to, (uint64_t)moved);
    if (moved >= 0)
        return moved;
    errno = (int)-moved;
    return -1;
}
