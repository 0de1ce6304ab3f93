/*
 * The way out of an HTTP/2 connection, for the load and for the origin: nghttp2 hands out one frame at
 * a time, which would be a system call and a TLS record each; the outbox puts them together, so that
 * all that is due leaves at once.
 */
#pragma once

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { OUTBOX_SIZE = 64 * 1024 };

/* All zeros is an empty one. Owned by its connection. */
struct outbox {
    size_t length;       /* bytes in it */
    size_t sent;         /* of them */
    const uint8_t *left; /* what of a frame did not fit; nghttp2's, until it is asked for the next */
    size_t left_len;
    char bytes[OUTBOX_SIZE];
};

/* Moves in what nghttp2 has to send, as far as there is room. Returns 0, or -1 when the session is broken. */
int outbox_fill(struct outbox *outbox, nghttp2_session *h2) __attribute__((warn_unused_result));

static inline const char *outbox_bytes(const struct outbox *outbox)
{
    return outbox->bytes + outbox->sent;
}

static inline size_t outbox_length(const struct outbox *outbox)
{
    return outbox->length - outbox->sent;
}

/* Takes out the first n bytes: they have been sent. */
void outbox_take(struct outbox *outbox, size_t n);

void outbox_clear(struct outbox *outbox);
