/*
 * Decoding base64url: a table, four characters at a time, and then what is left.
 */
#include "jose/base64url.h"

#include <stdint.h>

#include "base/arena.h"

enum { NO_DIGIT = 0x80 };

/* clang-format off */
#define X NO_DIGIT
static const uint8_t digits[256] = {
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X,62, X, X,52,53,54,55,56,57,58,59,60,61, X, X, X, X, X, X,
    X, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25, X, X, X, X,63,
    X,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
};
#undef X
/* clang-format on */

/* Two or three characters that are left; the bits behind the last byte must be zero. */
static bool decode_rest(const unsigned char *in, size_t len, unsigned char *at)
{
    if (len == 0)
        return true;
    if (len == 1)
        return false;
    unsigned a = digits[in[0]], b = digits[in[1]], c = len == 3 ? digits[in[2]] : 0;
    if ((a | b | c) & NO_DIGIT)
        return false;
    at[0] = (unsigned char)(a << 2 | b >> 4);
    if (len == 2)
        return (b & 15) == 0;
    at[1] = (unsigned char)(b << 4 | c >> 2);
    return (c & 3) == 0;
}

bool base64url_decode(struct slice text, unsigned char *at)
{
    const unsigned char *in = (const unsigned char *)text.at;
    size_t groups = text.len / 4;
    for (size_t i = 0; i < groups; i++, in += 4, at += 3) {
        unsigned a = digits[in[0]], b = digits[in[1]], c = digits[in[2]], d = digits[in[3]];
        if ((a | b | c | d) & NO_DIGIT)
            return false;
        at[0] = (unsigned char)(a << 2 | b >> 4);
        at[1] = (unsigned char)(b << 4 | c >> 2);
        at[2] = (unsigned char)(c << 6 | d);
    }
    return decode_rest(in, text.len % 4, at);
}

bool base64url_decode_in(struct arena *arena, struct slice text, struct slice *ret_bytes, bool *ret_memory)
{
    size_t len = base64url_bytes(text.len);
    unsigned char *at = arena_alloc(arena, len + 1);
    *ret_memory = at == NULL;
    if (!at || !base64url_decode(text, at))
        return false;
    *ret_bytes = slice_make((const char *)at, len);
    return true;
}
