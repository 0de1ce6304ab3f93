/*
 * A slice is a view of bytes that somebody else owns: pointer and length, not terminated, possibly empty.  It is
 * passed by value.  The owner (an arena, a configuration, a literal) must outlive it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *at;
    size_t len;
};

#define SLICE(literal) ((struct slice){ "" literal, sizeof(literal) - 1 })
#define SLICE_ARG(s)   (int)(s).len, (s).at /* for "%.*s" */
#define SLICE_EMPTY    ((struct slice){ NULL, 0 })

static inline struct slice slice_make(const char *at, size_t len)
{
    return (struct slice){ at, len };
}

static inline struct slice slice_from(const char *terminated)
{
    return (struct slice){ terminated, terminated ? strlen(terminated) : 0 };
}

/* Copies the bytes to where there is room for them and returns what is behind: for the many short pieces of heads, for
 * which calling memcpy costs more than copying. Not for what may overlap. */
static inline char *slice_put(struct slice s, char *to)
{
    const char *from = s.at;
    size_t len = s.len;

    if (len > 32) {
        memcpy(to, from, len);
    } else if (len >= 16) { /* the last ones overlap the first, here and below */
        memcpy(to, from, 16);
        memcpy(to + len - 16, from + len - 16, 16);
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else if (len >= 4) {
        memcpy(to, from, 4);
        memcpy(to + len - 4, from + len - 4, 4);
    } else if (len > 0) {
        to[0] = from[0];
        to[len / 2] = from[len / 2];
        to[len - 1] = from[len - 1];
    }
    return to + len;
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* ASCII letters compare without case; no locale. */
bool slice_eq_nocase(struct slice a, struct slice b);
bool slice_starts(struct slice s, struct slice prefix);
bool slice_ends(struct slice s, struct slice suffix);
/* Index of the byte, or -1. */
ptrdiff_t slice_find(struct slice s, char byte);
/* Without leading and trailing space and tab (RFC 9110, 5.6.3 OWS). */
struct slice slice_trim(struct slice s);
/* Cuts `*rest` at the first `separator`: returns what stands before it and leaves in `*rest` what stands behind it.
 * Without one, returns all and leaves an empty slice with at == NULL. Returns at == NULL once the rest is used up. */
struct slice slice_cut(struct slice *rest, char separator);
/* Next non-empty element, trimmed, of a comma-separated list (RFC 9110, 5.6.1); quoted strings are kept whole.
 * at == NULL at the end. */
struct slice slice_next_element(struct slice *rest);
/* Decimal digits only, no sign; false on empty, other bytes or overflow of 63 bits. */
bool slice_to_u63(struct slice s, int64_t *ret_value);
