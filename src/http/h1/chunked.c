/*
 * Chunked framing (RFC 9112 7.1), pushed: any split of the input gives the same result.
 *
 * Strict: one to sixteen hexadecimal digits that fit 63 bits, CR LF exactly, white space only in front of an extension.
 * Extensions are dropped.  They cost us time and the peer bytes, so their account is bounded: each byte of one is owed
 * until a byte of data has been sent for it, and who owes more than EXT_BYTES_MAX is refused.  That also bounds one
 * line.
 */
#include "base/assert.h"
#include "http/chars.h"
#include "http/h1/parse.h"

enum { DIGITS_MAX = 16, EXT_BYTES_MAX = 4096 };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int take_digit(struct h1_chunks *chunks, char c)
{
    if (chunks->digits == DIGITS_MAX || chunks->left >> 59 != 0)
        return -ERR_BAD_CHUNK;
    chunks->left = chunks->left << 4 | char_hex(c);
    chunks->digits++;
    chunks->state = CHUNK_SIZE_MORE;
    return 0;
}

/* Extensions of the line: blanks must lead to ";", then anything that may stand in a field's value. */
static int take_extension(struct h1_chunks *chunks, char c)
{
    if (c == '\r') {
        if (!chunks->ext_named)
            return -ERR_BAD_CHUNK;
        chunks->state = CHUNK_SIZE_LF;
        return 0;
    }
    if (c == ';')
        chunks->ext_named = true;
    else if (!char_is(c, CHAR_VALUE) || (!chunks->ext_named && !is_blank(c)))
        return -ERR_BAD_CHUNK;
    return ++chunks->ext_bytes > EXT_BYTES_MAX ? -ERR_BAD_CHUNK : 0;
}

/* The line's end: data follows, or the trailer section behind the last chunk. */
static void begin_data(struct h1_chunks *chunks)
{
    uint64_t paid = chunks->left < chunks->ext_bytes ? chunks->left : chunks->ext_bytes;

    chunks->ext_bytes = (uint16_t)(chunks->ext_bytes - paid);
    chunks->state = chunks->left > 0 ? CHUNK_DATA : CHUNK_TRAILERS;
    chunks->digits = 0;
    chunks->ext_named = false;
}

static int take_byte(struct h1_chunks *chunks, char c)
{
    switch (chunks->state) {
    case CHUNK_SIZE:
        return char_is(c, CHAR_HEX) ? take_digit(chunks, c) : -ERR_BAD_CHUNK;
    case CHUNK_SIZE_MORE:
        if (char_is(c, CHAR_HEX))
            return take_digit(chunks, c);
        if (c == '\r') {
            chunks->state = CHUNK_SIZE_LF;
            return 0;
        }
        if (c != ';' && !is_blank(c))
            return -ERR_BAD_CHUNK;
        chunks->state = CHUNK_EXT;
        return take_extension(chunks, c);
    case CHUNK_EXT:
        return take_extension(chunks, c);
    case CHUNK_SIZE_LF:
        if (c != '\n')
            return -ERR_BAD_CHUNK;
        begin_data(chunks);
        return 0;
    case CHUNK_DATA_CR:
        chunks->state = CHUNK_DATA_LF;
        return c == '\r' ? 0 : -ERR_BAD_CHUNK;
    default:
        ENSURE(chunks->state == CHUNK_DATA_LF);
        chunks->state = CHUNK_SIZE;
        return c == '\n' ? 0 : -ERR_BAD_CHUNK;
    }
}

int h1_chunks_next(struct h1_chunks *chunks, struct slice *bytes)
{
    for (;;) {
        if (chunks->state == CHUNK_DATA) {
            if (chunks->left > 0)
                return bytes->len > 0 ? 1 : 0;
            chunks->state = CHUNK_DATA_CR;
        }
        if (chunks->state == CHUNK_TRAILERS)
            return 2;
        if (bytes->len == 0)
            return 0;
        int err = take_byte(chunks, *bytes->at);
        if (err)
            return err;
        bytes->at++;
        bytes->len--;
    }
}
