/*
 * Tunnels: what an exchange becomes once its answer was a 101, or a 2xx to CONNECT.
 *
 *      down->in --> [way of the request] --> the handler        followed, untouched, by pointer
 *      down    <-- [way of the response] <-- the handler
 *
 * A tunnel ends with both its ends, after its idle time or its lifetime, or when the gateway drains.  A WebSocket is
 * then told so: each way, at the next end of a frame, a Close (1001, going away) takes the place of what would follow;
 * it is over when both peers have answered, and cut when they do not within CLOSE_ANSWER_MS.  Other protocols cannot be
 * told and are cut, when the gateway drains at the drain's end.
 *
 * Owner: the exchange, in its arena; tunnel_done gives back what it holds. One worker.
 */
#pragma once

#include "exchange/exchange.h"
#include "http/websocket.h"

enum { CLOSE_ANSWER_MS = 3000 }; /* for the Close of both peers; a client answers in one round trip */

/* One direction. */
struct tunnel_way {
    struct websocket_frames frames;
    uint64_t followed; /* of all bytes that ever entered its source */
    struct pipe out;   /* once it closes: the rest of a frame, the Close, the end */
    bool farewell;     /* the last byte for its receiver is in `out`: a Close, or a broken frame */
    bool over;         /* its sender has said Close, or ended */
};

struct tunnel {
    struct tunnel_way ways[DIR_COUNT];
    uint64_t idle_at_ms, lifetime_at_ms, drain_at_ms, answer_at_ms; /* 0: not waiting for it */
    uint8_t first;                                                  /* enum tunnel_end of the peer that ended first */
    uint8_t closing;                                                /* enum err: why; ERR_NONE: it is not */
    bool websocket;
    bool open; /* its head is down: it counts */
};

/* With the answer, before its head is down. -ERR_MEMORY. */
MUST_USE int tunnel_begin(struct exchange *x);
void tunnel_open(struct exchange *x);
void tunnel_done(struct exchange *x);
/* Bytes came, or went: its silence is counted from now. */
void tunnel_moved(struct exchange *x);
void tunnel_due(struct exchange *x);
/* What the receiver of a direction gets: the source itself, or what is still to be said. */
struct pipe *tunnel_pass(struct exchange *x, enum direction direction, struct pipe *source);
static inline bool tunnel_closes(const struct exchange *x)
{
    return x->passage && x->passage->closing;
}
/* Both peers have said farewell. */
bool tunnel_answered(const struct exchange *x);
