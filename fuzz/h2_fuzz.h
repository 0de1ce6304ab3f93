/*
 * What the targets of both roles of HTTP/2 share: a loop, a socket pair (or a listener), and a
 * user that takes every body and gives every stream back.  A stream that tells of itself twice at its end does not
 * pass.
 */
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "http/h2/conn.h"
#include "net/listen.h"

enum { FUZZ_STREAMS_MAX = 256, FUZZ_PIECE = 4096 };

static struct memory h2_fuzz_memory;
static struct loop h2_fuzz_loop;
static struct stream *h2_fuzz_streams[FUZZ_STREAMS_MAX];
static unsigned h2_fuzz_count;
static int h2_fuzz_peer = -1;

static const struct http_limits h2_fuzz_limits = {
    .head_bytes_max = 4096,
    .target_bytes_max = 1024,
    .fields_max = 32,
    .body_room_bytes = 65536,
    .linger_ms = 1000,
    .streams_max = 8,
};

static inline void h2_fuzz_on_body(struct stream *stream)
{
    pipe_consume(&stream->in, stream->in.bytes);
    stream_read_more(stream);
}
static inline void h2_fuzz_on_news(struct stream *stream)
{
    ENSURE(stream->in.bytes <= stream->in.room_max);
}
static inline void h2_fuzz_on_reset(struct stream *stream)
{
    ENSURE(stream->err != ERR_NONE && stream->user == NULL); /* once */
    stream->user = &h2_fuzz_count;
}
static inline void h2_fuzz_on_interim(struct stream *stream, const struct message *head)
{
    ENSURE(head->status >= 100 && head->status < 200);
}
static const struct stream_events h2_fuzz_events = {
    .on_head = h2_fuzz_on_news,
    .on_interim = h2_fuzz_on_interim,
    .on_body = h2_fuzz_on_body,
    .on_room = h2_fuzz_on_news,
    .on_reset = h2_fuzz_on_reset,
    .on_sent = h2_fuzz_on_news,
};

static inline void h2_fuzz_take(struct stream *stream)
{
    ENSURE(h2_fuzz_count < FUZZ_STREAMS_MAX);
    h2_fuzz_streams[h2_fuzz_count++] = stream;
}

static inline void h2_fuzz_never_ready(struct io *io)
{
}

static inline void h2_fuzz_world(void)
{
    ENSURE(memory_init(&h2_fuzz_memory, NULL, 0) == 0 && loop_init(&h2_fuzz_loop, &h2_fuzz_memory) == 0);
}

static inline void h2_fuzz_begin(struct transport *transport)
{
    int pair[2];

    h2_fuzz_world();
    ENSURE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    ENSURE(transport_accept(transport, &h2_fuzz_loop, pair[0], h2_fuzz_never_ready) == 0);
    h2_fuzz_peer = pair[1];
}

/* For the client role: where to connect to. One listener for all inputs. */
static int h2_fuzz_listener = -1;

static inline const struct address *h2_fuzz_listen(void)
{
    static struct address address;
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);

    h2_fuzz_world();
    if (h2_fuzz_listener >= 0)
        return &address;
    ENSURE(address_parse(SLICE("127.0.0.1:0"), &address, NULL) == 0);
    ENSURE(listen_open(&address, &(struct listen_options){ .backlog = 8 }, &h2_fuzz_listener) == 0);
    ENSURE(getsockname(h2_fuzz_listener, (struct sockaddr *)&at, &len) == 0);
    address_from_sockaddr((struct sockaddr *)&at, len, &address);
    return &address;
}

static inline void h2_fuzz_accept(void)
{
    struct pollfd ready = { .fd = h2_fuzz_listener, .events = POLLIN };

    ENSURE(poll(&ready, 1, 10000) == 1);
    h2_fuzz_peer = accept4(h2_fuzz_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    loop_turn(&h2_fuzz_loop, 0);
}

/* The streams that have told their end go back between pieces, as far as one message after the other would have it. */
static inline void h2_fuzz_give_back(void)
{
    while (h2_fuzz_count > 0) {
        struct stream *stream = h2_fuzz_streams[--h2_fuzz_count];
        struct arena *arena = stream->arena;
        stream->ops->release(stream);
        arena_free(arena);
    }
}

static inline void h2_fuzz_send(const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size && at < (1 << 16); at += FUZZ_PIECE) {
        if (send(h2_fuzz_peer, data + at, MIN(size - at, (size_t)FUZZ_PIECE), MSG_NOSIGNAL) < 0)
            break;
        loop_turn(&h2_fuzz_loop, 0);
        if (h2_fuzz_count > FUZZ_STREAMS_MAX / 2)
            h2_fuzz_give_back();
    }
    loop_turn(&h2_fuzz_loop, 0);
}

static inline void h2_fuzz_end(void)
{
    h2_fuzz_give_back();
    loop_turn(&h2_fuzz_loop, 0);
    close(h2_fuzz_peer);
    ENSURE(h2_fuzz_loop.watched == 1 && h2_fuzz_memory.held_bytes == 0);
    loop_done(&h2_fuzz_loop);
    memory_done(&h2_fuzz_memory);
}
