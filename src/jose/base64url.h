/*
 * Base64url (RFC 4648, 5) as JOSE writes it (RFC 7515, 2): without padding, and only the one form that an encoder
 * makes.
 *
 * Whoever takes a second form of the same bytes has two texts for one token; so padding, white space, the other
 * alphabet, a lone last character and bits that do not belong to a byte are refused.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct arena;

/* Of a text with that length; exact when it decodes. */
static inline size_t base64url_bytes(size_t text_len)
{
    return text_len / 4 * 3 + (text_len % 4 ? text_len % 4 - 1 : 0);
}
/* False when it is not in the one form. `at` has room for base64url_bytes(text.len). */
bool base64url_decode(struct slice text, unsigned char *at);
/* Into the arena; false too without memory, which `*ret_memory` tells. */
bool base64url_decode_in(struct arena *arena, struct slice text, struct slice *ret_bytes, bool *ret_memory);
