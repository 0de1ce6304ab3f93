/*
 * HTTP/1 head parsing, strict (RFC 9112, sections 2 to 6).  h1_scan finds the end of a head without judging it;
 * h1_parse judges a complete head in place.  Together they give the same result for any split of the input.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "http/message.h"

struct arena;

/* Looks for the empty line. `*scanned` is how far earlier calls got (start at 0; leading CRLFs before a request line
 * are skipped by the codec, not here). Returns the head's length with its last CRLF, 0 to wait for more. A bare LF line
 * end also ends the scan, so that the parser can refuse it. */
size_t h1_scan(const char *buf, size_t len, size_t *scanned);

struct h1_head {
    struct message *message;
    bool keep_alive;  /* as the version and Connection say */
    bool chunked;     /* body is chunked */
    bool until_close; /* response body runs to the connection's end */
    bool wants_upgrade;
};

struct h1_rules {
    const char *secure_scheme; /* "http" or "https": the scheme of an origin-form target */
    uint32_t target_bytes_max;
    uint16_t fields_max;
    bool underscores_ok;
};

/* `head` are the bytes of a complete head, already in the arena (they are pointed into). For a request: everything RFC
 * 9112 asks of a server (Host rules, CL/TE rules, forms of the target). For a response: `request_method` decides about
 * bodies. On -ERR_x, ret_head->message is still there with what was understood. */
MUST_USE int h1_parse_request(struct arena *arena, struct slice head, const struct h1_rules *rules,
                              struct h1_head *ret_head);
MUST_USE int h1_parse_response(struct arena *arena, struct slice head, const struct h1_rules *rules,
                               enum method request_method, struct h1_head *ret_head);
/* Trailer section of a chunked body, up to its empty line. Fields that may not be trailers (RFC 9110 6.5.1: framing,
 * routing, authentication ...) are dropped. */
MUST_USE int h1_parse_trailers(struct arena *arena, struct slice section, const struct h1_rules *rules,
                               struct fields *ret_fields);

/* Chunked framing (RFC 9112, 7.1), pushed any number of bytes at a time. */
enum chunk_state {
    CHUNK_SIZE,
    CHUNK_SIZE_MORE,
    CHUNK_EXT,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILERS
};
struct h1_chunks {
    uint64_t left;      /* bytes of this chunk still to come */
    uint16_t ext_bytes; /* of extensions that no data has been sent for: bounded */
    uint8_t state;      /* enum chunk_state */
    uint8_t digits;
    bool ext_named; /* this line's extension has had its ";" */
};
/* Consumes framing bytes from the front of `*bytes` until data is next (returns 1: up to chunks->left bytes of data
 * stand at the front; the caller takes some and lowers left), input is used up (0), the last chunk's line is behind (2:
 * a trailer section follows), or -ERR_BAD_CHUNK. */
int h1_chunks_next(struct h1_chunks *chunks, struct slice *bytes);
