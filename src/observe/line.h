/*
 * A line of text being written into a fixed buffer, with the escapes that make any bytes of a peer harmless.  Whatever
 * does not fit sets `full` and nothing more is written; the caller looks once at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

struct line {
    char *at, *end;
    size_t text_max; /* bytes of a field that are taken; what is behind them is left out and `cut` set */
    bool full, cut;
};

enum line_style {
    LINE_JSON,   /* RFC 8259; all but printable ASCII as \uXXXX, bytes that are no UTF-8 as \ufffd */
    LINE_QUOTED, /* as Apache: \" \\ \n \r \t ..., other bytes as \xHH; unambiguous */
    LINE_BARE,   /* as LINE_QUOTED, and space as \x20: the field stands unquoted between spaces */
    LINE_PLAIN,  /* for people: only control characters and non-ASCII, as \xHH */
    LINE_STYLES
};

void line_init(struct line *line, char *buf, size_t size, size_t text_max);

/* Leaves no room at all, so that a shorter text cannot slip in behind one that did not fit. */
static inline void line_fail(struct line *line)
{
    line->full = true;
    line->end = line->at;
}

/* As it is. Inline, so that the copy of a literal is a few stores. */
static inline void line_put(struct line *line, const char *text, size_t len)
{
    if (__builtin_expect((size_t)(line->end - line->at) < len, 0)) {
        line_fail(line);
        return;
    }
    memcpy(line->at, text, len);
    line->at += len;
}

static inline void line_char(struct line *line, char c)
{
    line_put(line, &c, 1);
}

void line_u64(struct line *line, uint64_t value);
void line_ms(struct line *line, uint64_t ns); /* "12.345", rounded down */
void line_text(struct line *line, enum line_style style, struct slice text);

#define line_literal(line, text) line_put(line, "" text, sizeof(text) - 1)

/* Decimal digits at the end of the buffer; returns where they begin. */
char *line_digits(uint64_t value, char *buf_end);
