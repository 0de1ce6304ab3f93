/*
 * HTTP/1.1 as the scripted peers of the spine's simulation read it: a small strict reader of their own, so that a
 * mistake of the codec under test is not made twice.  Bodies carry a pattern derived from the request's id, and are
 * checked as they come.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_state {
    WIRE_HEAD,
    WIRE_LENGTH,
    WIRE_CHUNK_SIZE,
    WIRE_CHUNK,
    WIRE_CHUNK_END,
    WIRE_TRAILER,
    WIRE_TO_END,
    WIRE_TUNNEL
};

struct wire;
struct wire_events {
    void (*on_head)(struct wire *wire);    /* head is whole; may set no_body, tunnel */
    void (*on_message)(struct wire *wire); /* and so is its body */
    void (*on_tunnel)(struct wire *wire, const char *data, size_t len);
};

struct wire {
    const struct wire_events *events;
    void *user;
    enum wire_state state;
    char head[8192]; /* terminated once whole */
    size_t head_len;
    uint64_t left, body_len;
    uint32_t body_id; /* whose pattern the body must have; 0: anything */
    uint8_t body_xor; /* of each byte, by policies on the way */
    bool no_body;     /* by rule: HEAD, 204, 304 */
    bool is_response;
    bool broken; /* it made no sense, or the pattern was wrong: `why` */
    const char *why;
};

void wire_reset(struct wire *wire);
void wire_feed(struct wire *wire, const char *data, size_t len);
/* The peer's end: true when that completes a message or stands between two. */
bool wire_end(struct wire *wire);
/* Value of a field of the head, or NULL; valid until the next head. Terminated by "\r". */
const char *wire_field(const struct wire *wire, const char *name);
uint64_t wire_number(const struct wire *wire, const char *name); /* 0 when it is not there */
unsigned wire_status(const struct wire *wire);

/* The pattern's byte. */
static inline uint8_t pattern_at(uint32_t id, uint64_t at)
{
    return (uint8_t)((id * 2654435761u >> 24) + at * 7 + (at >> 8) * 13);
}
