/*
 * HTTP/2 as the scripted peers of the spine's simulation speak it: nghttp2's own session over a simulated connection,
 * with none of the code under test.  Bodies carry the pattern of spine_wire.h and are checked as they come.
 *
 * Streams live until h2_peer_free, so that a script's later step may look at one that is over.
 */
#pragma once

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim/net.h"

/* What becomes of a body that stops short. */
enum h2_stop { H2_STOP_SILENTLY, H2_STOP_WITH_RESET };

struct h2_peer;

struct h2_stream {
    struct h2_peer *owner;
    struct h2_stream *next;
    int32_t number;
    uint32_t id; /* of the ask, from x-id; 0 before the head */
    /* what comes */
    unsigned status;
    bool from_origin, head_over, message_over, closed;
    uint8_t key; /* of each byte, by policies on the way */
    uint64_t got, unconsumed;
    /* what goes */
    uint64_t sent, send_len, stop_at; /* stop_at: UINT64_MAX when it is sent whole */
    enum h2_stop stop;
    bool trailers;
    bool answered, dribbles; /* dribbles: sends with pauses */
    int status_to_send;      /* of gRPC, in the trailers; -1: none */
    int call_status;         /* of gRPC, that came; -1: none */
    /* a tunnel: what waits to be sent, in place of the pattern */
    bool tunnel, tunnel_ended;
    char *queue;
    size_t queue_len, queue_at, queue_size;
    void *user;
};

struct h2_events {
    void (*on_head)(struct h2_stream *stream);    /* final; may set key and id's meaning */
    void (*on_message)(struct h2_stream *stream); /* END_STREAM */
    void (*on_closed)(struct h2_stream *stream, uint32_t code);
    void (*on_tunnel)(struct h2_stream *stream, const char *data, size_t len);
};

struct h2_peer {
    nghttp2_session *session;
    struct sim_peer *peer;
    const struct h2_events *events;
    void *user;
    struct h2_stream *streams;
    bool broken; /* what came made no sense: `why` */
    const char *why;
};

void h2_peer_start(struct h2_peer *h2, struct sim_peer *peer, bool is_server, const struct h2_events *events);
void h2_peer_free(struct h2_peer *h2);
void h2_feed(struct h2_peer *h2, const char *data, size_t len);
/* Sends what has been submitted. Not from within the events. */
void h2_pump(struct h2_peer *h2);

struct h2_field {
    const char *name, *value;
};
/* Client: begins a request, with the pattern of `id` as its body when `with_body`. NULL when the session takes none. */
struct h2_stream *h2_request(struct h2_peer *h2, uint32_t id, const struct h2_field *fields, size_t count,
                             bool with_body, uint64_t send_len, uint64_t stop_at, enum h2_stop stop);
/* Server: the head, and a body of send_len with the same meaning. */
void h2_answer(struct h2_stream *stream, const struct h2_field *fields, size_t count, bool with_body);
void h2_interim(struct h2_stream *stream, const struct h2_field *fields, size_t count);
void h2_reset(struct h2_stream *stream, uint32_t code);
/* Of a stream that was begun or answered with `tunnel` set: bytes, and the end behind them. To be pumped. */
void h2_tunnel_send(struct h2_stream *stream, const void *data, size_t len);
void h2_tunnel_end(struct h2_stream *stream);
