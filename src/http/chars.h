/*
 * Classes of bytes in HTTP and URIs (RFC 9110 5.6.2, RFC 3986 2), one table look-up each.  The table is spelled out of
 * the grammar by the preprocessor (chars.c).
 *
 * What each head asks of many bytes is asked of sixteen at a time, in line: most names and values are shorter than a
 * call is dear.  Nothing reads a byte behind the end that it is given.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum char_class {
    CHAR_TOKEN = 1,        /* tchar: names, methods */
    CHAR_VALUE = 2,        /* field values: visible, obs-text, space, tab */
    CHAR_PATH = 4,         /* of a request target up to "?"; what user agents leave unescaped is let through */
    CHAR_QUERY = 8,        /* behind "?" */
    CHAR_LOWER_TOKEN = 16, /* tchar without capitals: names in HTTP/2 */
    CHAR_HEX = 32,
    CHAR_DIGIT = 64,
    CHAR_UNRESERVED = 128, /* what need not be escaped in a URI */
};

extern const uint8_t char_classes[256];

static inline bool char_is(char c, enum char_class classes)
{
    return (char_classes[(unsigned char)c] & classes) != 0;
}

/* 0 to 15; only for CHAR_HEX. */
static inline unsigned char_hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

static inline char char_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

#ifdef __SSE2__
static inline __m128i chars_load(const char *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

/* 0xff for each byte that may not stand in a field's value. */
static inline __m128i chars_not_value(__m128i bytes)
{
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t')), low);
    return _mm_or_si128(control, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
}
#endif

/* The first byte in [at, end) that may not stand in a field's value, or end. */
static inline const char *chars_skip_value(const char *at, const char *end)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        unsigned mask = (unsigned)_mm_movemask_epi8(chars_not_value(chars_load(at)));
        if (mask != 0)
            return at + __builtin_ctz(mask);
    }
#endif
    while (at < end && char_is(*at, CHAR_VALUE))
        at++;
    return at;
}

/* The first colon in [at, end), or NULL. */
static inline const char *chars_find_colon(const char *at, const char *end)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(chars_load(at), _mm_set1_epi8(':')));
        if (mask != 0)
            return at + __builtin_ctz(mask);
    }
#endif
    return memchr(at, ':', (size_t)(end - at));
}

/* May all of them stand in a field's value? */
bool chars_all_value(const char *at, size_t len);
/* Is there a letter from A to Z among them? */
bool chars_have_capital(const char *at, size_t len);
/* Are they free of space, controls and DEL: may they stand in a request line? */
bool chars_visible(const char *at, size_t len);
