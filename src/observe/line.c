/*
 * See line.h.  Most text needs no escape, so eight bytes at a time are copied and tested; a byte that needs one is
 * handled alone.
 */
#include "observe/line.h"

#include "base/assert.h"
#include "base/utf8.h"

static const char hex[] = "0123456789abcdef";

void line_init(struct line *line, char *buf, size_t size, size_t text_max)
{
    *line = (struct line){ .at = buf, .end = buf + size, .text_max = text_max };
}

char *line_digits(uint64_t value, char *buf_end)
{
    char *at = buf_end;
    do
        *--at = (char)('0' + value % 10);
    while (value /= 10);
    return at;
}

void line_u64(struct line *line, uint64_t value)
{
    char buf[20];
    char *at = line_digits(value, buf + sizeof(buf));
    line_put(line, at, (size_t)(buf + sizeof(buf) - at));
}

void line_ms(struct line *line, uint64_t ns)
{
    uint64_t us = ns / 1000;
    unsigned rest = (unsigned)(us % 1000);
    char tail[4] = { '.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10), (char)('0' + rest % 10) };
    line_u64(line, us / 1000);
    line_put(line, tail, sizeof(tail));
}

/* Of a character that utf8_len has found well-formed. */
static uint32_t code_point(const unsigned char *at, size_t len)
{
    uint32_t code = len == 1 ? at[0] : at[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++)
        code = code << 6 | (at[i] & 0x3f);
    return code;
}

static void put_u(struct line *line, uint32_t unit)
{
    char text[6] = { '\\', 'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15], hex[unit & 15] };
    line_put(line, text, sizeof(text));
}

static void put_x(struct line *line, unsigned char byte)
{
    char text[4] = { '\\', 'x', hex[byte >> 4], hex[byte & 15] };
    line_put(line, text, sizeof(text));
}

/* The letter of the short escape that JSON and Apache have in common, or 0. */
static char short_escape(unsigned char byte)
{
    switch (byte) {
    case '"':
    case '\\':
        return (char)byte;
    case '\b':
        return 'b';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

static size_t escape_json(struct line *line, const unsigned char *at, size_t len)
{
    size_t used = utf8_len(slice_make((const char *)at, len));
    if (used == 0) {
        put_u(line, 0xfffd);
        return 1;
    }
    uint32_t code = code_point(at, used);
    if (code < 0x10000) {
        put_u(line, code);
    } else {
        put_u(line, 0xd800 + ((code - 0x10000) >> 10));
        put_u(line, 0xdc00 + (code & 0x3ff));
    }
    return used;
}

/* Writes what stands for the byte (or sequence) at `at`; returns how many bytes of it were used. */
static size_t escape(struct line *line, enum line_style style, const unsigned char *at, size_t len)
{
    char letter = style == LINE_PLAIN ? 0 : short_escape(*at);
    if (letter) {
        line_char(line, '\\');
        line_char(line, letter);
        return 1;
    }
    if (style == LINE_JSON)
        return escape_json(line, at, len);
    put_x(line, *at);
    return 1;
}

static bool needs_escape(enum line_style style, unsigned char byte)
{
    if (byte < 0x20 || byte >= 0x7f)
        return true;
    return style != LINE_PLAIN && (byte == '"' || byte == '\\' || (byte == ' ' && style == LINE_BARE));
}

#define ONES  0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

/* Nonzero when one of the eight bytes may need an escape in some style: below 0x21 when spaces do, else below 0x20, a
 * quote, a backslash, 0x7f and above. Each term has its high bit set in a byte that meets it (and perhaps in those
 * above it). */
static uint64_t any_special(uint64_t bytes, bool bare)
{
    uint64_t quote = bytes ^ ONES * '"';
    uint64_t backslash = bytes ^ ONES * '\\';
    uint64_t low = (bytes - ONES * (bare ? 0x21 : 0x20)) & ~bytes;
    return (low | ((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash) | bytes | (bytes + ONES)) & HIGHS;
}

/* Copies eight bytes (four) and says whether they may stay as they are. */
static bool copy8(char *to, const unsigned char *at, bool bare)
{
    uint64_t bytes;
    memcpy(&bytes, at, 8);
    memcpy(to, &bytes, 8);
    return !any_special(bytes, bare);
}

static bool copy4(char *to, const unsigned char *at, bool bare)
{
    uint32_t bytes;
    memcpy(&bytes, at, 4);
    memcpy(to, &bytes, 4);
    return !any_special(bytes | 0x7878787800000000u, bare);
}

/* How many bytes from `at` on were copied because none of them is special; the last step overlaps the one before. */
static size_t copy_clean(char *to, const unsigned char *at, size_t len, bool bare)
{
    size_t done = 0;
    while (len - done >= 8) {
        if (!copy8(to + done, at + done, bare))
            return done;
        done += 8;
    }
    if (done >= 8)
        return copy8(to + len - 8, at + len - 8, bare) ? len : done;
    if (len >= 4 && copy4(to, at, bare) && copy4(to + len - 4, at + len - 4, bare))
        return len;
    return 0;
}

/* Byte by byte, as far as the eight that copy_clean stopped at. */
static size_t copy_escaped(struct line *line, enum line_style style, const unsigned char *at, size_t len)
{
    size_t done = 0;
    while (done < MIN(len, 8) && !line->full) {
        if (needs_escape(style, at[done]))
            done += escape(line, style, at + done, len - done);
        else
            line_char(line, (char)at[done++]);
    }
    return done;
}

void line_text(struct line *line, enum line_style style, struct slice text)
{
    const unsigned char *at = (const unsigned char *)text.at;
    size_t len = text.len;
    if (len > line->text_max) {
        len = line->text_max;
        line->cut = true;
    }
    for (size_t done = 0; done < len && !line->full;) {
        size_t room = (size_t)(line->end - line->at);
        size_t clean = copy_clean(line->at, at + done, MIN(len - done, room), style == LINE_BARE);
        line->at += clean;
        done += clean;
        if (done < len)
            done += copy_escaped(line, style, at + done, len - done);
    }
}
