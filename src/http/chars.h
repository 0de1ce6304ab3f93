/*
 * Classes of bytes in HTTP and URIs (RFC 9110 5.6.2, RFC 3986 2), one table look-up each.  The table is spelled out of
 * the grammar by the preprocessor (chars.c).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum char_class {
    CHAR_TOKEN = 1, /* tchar: names, methods */
    CHAR_VALUE = 2, /* field values: visible, obs-text, space, tab */
    CHAR_PATH = 4,  /* of a request target up to "?"; what user agents leave unescaped is let through */
    CHAR_QUERY = 8, /* behind "?" */
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

/* The first byte in [at, end) that may not stand in a field's value, or end. Vectorised. */
const char *chars_skip_value(const char *at, const char *end);
/* Are the bytes free of space, controls and DEL: may they stand in a request line? Vectorised. */
bool chars_visible(const char *at, const char *end);
