/*
 * A header block of HTTP/2 on its way to a message: each field is judged as it comes (RFC 9113 8.2, 8.3), by the tables
 * that HTTP/1 uses, and what a request or response needs is asked at its end.
 *
 * Errors are kept, not returned: the block has to be decoded to its end in any case, as the compression's state is the
 * connection's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "http/message.h"

struct arena;
struct http_limits;

enum h2_block { BLOCK_REQUEST, BLOCK_RESPONSE, BLOCK_TRAILERS };

struct h2_head {
    struct arena *arena;
    const struct http_limits *limits;
    struct message *message;
    struct fields fields; /* of trailers */
    struct slice method, authority, path, protocol, host, expect, length_text;
    int64_t length; /* with `has_length` */
    uint32_t bytes; /* as RFC 9113 6.5.2 counts them: names, values and 32 a field */
    uint16_t lines;
    uint16_t cookies; /* lines of them */
    uint16_t seen;    /* pseudo-fields */
    uint16_t status;  /* 0: none that may be */
    uint8_t block;    /* enum h2_block */
    uint8_t err;      /* enum err */
    bool regular;     /* a field that is none has come */
    bool scheme_known;
    bool has_host, has_length, has_expect, trailers_ok;
};

/* NULL without memory. */
struct h2_head *h2_head_new(struct arena *arena, const struct http_limits *limits, enum h2_block block);
void h2_head_field(struct h2_head *head, struct slice name, struct slice value);
/* The block is complete. `end`: so is the message. ret_message is there with what was understood, unless there was no
 * memory for it. -ERR_x as an HTTP/1 client's, or -ERR_PROTOCOL. */
MUST_USE int h2_head_request(struct h2_head *head, bool end, bool secure);
MUST_USE int h2_head_response(struct h2_head *head, bool end, enum method request_method);
/* Those that may be trailers. */
MUST_USE int h2_head_trailers(struct h2_head *head, bool end, struct fields **ret_fields);
