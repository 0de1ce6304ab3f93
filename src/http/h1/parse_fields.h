/*
 * The field section of a head, for the request and the response parser: fields that belong to the connection or to
 * framing are taken out and told as facts; what is left goes to message.fields.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "http/h1/parse.h"

enum {
    CONNECTION_LINES_MAX = 4,    /* Connection fields in one head; nobody sends two */
    CONNECTION_OPTIONS_MAX = 32, /* in all of them: each is looked for among all fields */
};

struct h1_facts {
    uint64_t seen; /* bits of the ids taken out; all ids are below 64 */
    struct slice host, transfer_encoding, upgrade, expect;
    struct slice content_length_text;
    int64_t content_length; /* when seen */
    struct slice connection[CONNECTION_LINES_MAX];
    uint8_t connection_count, options;
    bool close, keep_alive, upgrade_listed, trailers_ok;
};

static inline bool h1_saw(const struct h1_facts *facts, enum field_id id)
{
    return (facts->seen >> id & 1) != 0;
}

/* Lines from `at` to the empty line that ends at `end`; the byte before `end` is a line feed. Fills fields and facts;
 * errors are a client's (ERR_BAD_FIELD, _BAD_LINE_END, _OBS_FOLD, _HEAD_TOO_LARGE, _BAD_HOST, _BAD_CONTENT_LENGTH,
 * _LENGTH_AND_CHUNKED, _BAD_TRANSFER_ENCODING, _UNKNOWN_TRANSFER_CODING) or ERR_MEMORY. */
MUST_USE int h1_parse_fields(struct arena *arena, const char *at, const char *end, const struct h1_rules *rules,
                             struct fields *fields, struct h1_facts *ret_facts);
/* May a field of that name stand in a trailer section (RFC 9110 6.5.1)? */
bool h1_may_trail(enum field_id id, struct slice name);
/* "HTTP/1.x" CR LF or space behind it: HTTP_1_0, HTTP_1_1, -ERR_UNSUPPORTED_VERSION or -ERR_BAD_VERSION. Eight bytes
 * are there. */
int h1_parse_version(const char *at);
