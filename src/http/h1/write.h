/*
 * Serialising HTTP/1 heads and chunk framing from the parsed message; nothing received is ever sent on as it was.
 */
#pragma once

#include "base/err.h"
#include "http/message.h"

struct pipe;

struct h1_framing {
    bool chunked;
    bool close;              /* send Connection: close */
    bool keep_alive;         /* send Connection: keep-alive (to HTTP/1.0) */
    struct slice upgrade;    /* send Connection: upgrade and Upgrade */
    int64_t content_length;  /* >= 0: send it */
    bool length_is_metadata; /* a response without a body to HEAD, or 304: Content-Length among its fields is sent as it
                                stands */
};

MUST_USE int h1_write_request(struct pipe *out, const struct message *head, const struct h1_framing *framing);
/* `date`: value of the Date field to add when the message has none (an origin's answer without one, a local answer);
 * empty for none. */
MUST_USE int h1_write_response(struct pipe *out, const struct message *head, const struct h1_framing *framing,
                               struct slice date);
MUST_USE int h1_write_chunk_open(struct pipe *out, size_t len);
MUST_USE int h1_write_chunk_close(struct pipe *out);
MUST_USE int h1_write_last_chunk(struct pipe *out, const struct fields *trailers);
