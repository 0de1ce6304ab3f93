/* What the JSON reader and writer share: finding the next byte of a string that is not plain. */
#pragma once

#include <endian.h>

#include "base/slice.h"

/* A quote, a backslash, a control character, or any byte above ASCII. */
static inline bool json_is_special(unsigned char c)
{
    return c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
}

/* How many bytes before the first special one, eight at a time.  A subtraction's borrow can only mark bytes above one
 * that is marked rightly, so the lowest mark of a little-endian word is exact. */
static inline size_t json_plain_len(const char *at, size_t len)
{
    const uint64_t ones = 0x0101010101010101ull;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t x;
        memcpy(&x, at + i, sizeof(x));
        x = le64toh(x);
        uint64_t quote = x ^ ones * '"', backslash = x ^ ones * '\\';
        uint64_t marks = x | (x - ones * 0x20) | (quote - ones) | (backslash - ones);
        marks &= ones * 0x80;
        if (marks)
            return i + (size_t)__builtin_ctzll(marks) / 8;
    }
    while (i < len && !json_is_special((unsigned char)at[i]))
        i++;
    return i;
}
