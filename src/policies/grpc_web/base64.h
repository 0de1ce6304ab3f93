/*
 * Base64 (RFC 4648, 4) for bodies that come in pieces.  A body of gRPC-Web's text form is any number of padded
 * encodings one behind the other, so padding may stand wherever four characters end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct base64_decoder {
    uint8_t value[4]; /* of the group that is being read */
    uint8_t count;    /* how many of its characters have come */
    uint8_t padding;  /* how many of those are `=` */
};

/* Decodes from the front of `*bytes` to `at`, where there is room for `max` bytes, and takes off what it has used: all
 * of it, or as much as there is room for. `*ret_len` bytes were written. 0 or -ERR_BAD_BODY. Any split of the input
 * gives the same bytes and the same outcome. */
MUST_USE int base64_decode(struct base64_decoder *decoder, struct slice *bytes, char *at, size_t max, size_t *ret_len);
/* May the input end here? */
static inline bool base64_complete(const struct base64_decoder *decoder)
{
    return decoder->count == 0;
}

/* Writes base64_encoded_len(bytes.len) characters, padded, and returns how many. */
size_t base64_encode(struct slice bytes, char *at);
static inline size_t base64_encoded_len(size_t len)
{
    return (len + 2) / 3 * 4;
}
