/*
 * What a gateway has to know of WebSocket (RFC 6455): the two values of the handshake that belong to HTTP/1 alone (RFC
 * 8441 5 has neither), where frames begin and end in bytes that pass by, and the one frame it sends itself, Close.
 *
 *      websocket_key, websocket_accept      the handshake, when one side of the gateway speaks HTTP/1
 *      websocket_frames                     follows a direction without copying or reading a payload
 *      websocket_close_frame                the farewell
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct message;

/* ---- handshake ---- */

enum { WEBSOCKET_KEY_LEN = 24, WEBSOCKET_ACCEPT_LEN = 28 };

/* Is "websocket" the one protocol asked for, or switched to? */
bool websocket_is(struct slice upgrade);
/* A fresh Sec-WebSocket-Key: 16 random bytes in base64. */
void websocket_key(char ret_key[WEBSOCKET_KEY_LEN]);
/* Sec-WebSocket-Accept for the key as it was sent (RFC 6455 4.2.2). */
void websocket_accept(struct slice key, char ret_accept[WEBSOCKET_ACCEPT_LEN]);
/* Does the answer accept that key? Exactly one Sec-WebSocket-Accept, of the right value. */
bool websocket_accepts(const struct message *answer, struct slice key);
/* The request's one Sec-WebSocket-Key; at == NULL when there is none, more than one, or it is no 16 bytes in base64. */
struct slice websocket_key_of(const struct message *request);

/* ---- frames ---- */

/* One direction. Zeroed at the beginning. */
struct websocket_frames {
    uint64_t left;     /* payload bytes still to come of the frame */
    uint8_t header[2]; /* of the frame that begins */
    uint8_t have;      /* bytes of its header that have come; 0 between frames */
    bool closed;       /* a Close frame has begun, or gone by */
    bool broken;       /* a length that cannot be: no boundary is known any more */
};

/* Bytes go by. Any split of them gives the same result. */
void websocket_follow(struct websocket_frames *frames, const char *bytes, size_t len);
/* The same, but stops at the next boundary (at once, when it stands at one): how many bytes belong in front of it. */
size_t websocket_follow_to_boundary(struct websocket_frames *frames, const char *bytes, size_t len);
static inline bool websocket_at_boundary(const struct websocket_frames *frames)
{
    return frames->have == 0 && frames->left == 0 && !frames->broken;
}

enum {
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_CLOSE_MAX = 6 + 125, /* header, mask, payload */
};

/* A Close frame with a code and a short reason (UTF-8, up to 123 bytes); towards a service it is masked. Returns its
 * length. */
size_t websocket_close_frame(unsigned code, struct slice reason, bool masked, char ret_frame[WEBSOCKET_CLOSE_MAX]);
