/*
 * Four characters are three bytes.  The decoder is strict: no white space, no character of another alphabet, padding
 * only behind two or three characters, and no bits in what the padding leaves over.
 */
#include "policies/grpc_web/base64.h"

#include "base/assert.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { NO_VALUE = 0xff };

static uint8_t value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (uint8_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (uint8_t)(c - 'a' + 26);
    if (c >= '0' && c <= '9')
        return (uint8_t)(c - '0' + 52);
    if (c == '+' || c == '/')
        return c == '+' ? 62 : 63;
    return NO_VALUE;
}

/* False when it may not stand here. */
static bool take(struct base64_decoder *d, char c)
{
    if (c == '=') {
        if (d->count < 2)
            return false;
        d->value[d->count++] = 0;
        d->padding++;
        return true;
    }
    uint8_t value = value_of(c);
    if (value == NO_VALUE || d->padding > 0)
        return false;
    d->value[d->count++] = value;
    return true;
}

/* The bytes of a whole group; 0 when bits are left over. */
static size_t put_group(struct base64_decoder *d, char *at)
{
    const uint8_t *v = d->value;
    size_t len = 3u - d->padding;
    if ((d->padding == 1 && (v[2] & 3)) || (d->padding == 2 && (v[1] & 15)))
        return 0;
    at[0] = (char)(v[0] << 2 | v[1] >> 4);
    if (len > 1)
        at[1] = (char)(v[1] << 4 | v[2] >> 2);
    if (len > 2)
        at[2] = (char)(v[2] << 6 | v[3]);
    d->count = d->padding = 0;
    return len;
}

int base64_decode(struct base64_decoder *d, struct slice *bytes, char *at, size_t max, size_t *ret_len)
{
    *ret_len = 0;
    while (bytes->len > 0 && max - *ret_len >= 3) {
        if (!take(d, *bytes->at))
            return -ERR_BAD_BODY;
        bytes->at++;
        bytes->len--;
        if (d->count < 4)
            continue;
        size_t len = put_group(d, at + *ret_len);
        if (len == 0)
            return -ERR_BAD_BODY;
        *ret_len += len;
    }
    return 0;
}

size_t base64_encode(struct slice bytes, char *at)
{
    const uint8_t *from = (const uint8_t *)bytes.at;
    char *begin = at;
    size_t len = bytes.len;
    for (; len >= 3; len -= 3, from += 3, at += 4) {
        at[0] = alphabet[from[0] >> 2];
        at[1] = alphabet[(from[0] & 3) << 4 | from[1] >> 4];
        at[2] = alphabet[(from[1] & 15) << 2 | from[2] >> 6];
        at[3] = alphabet[from[2] & 63];
    }
    if (len > 0) {
        unsigned second = len == 2 ? from[1] : 0;
        at[0] = alphabet[from[0] >> 2];
        at[1] = alphabet[(from[0] & 3) << 4 | second >> 4];
        at[2] = len == 2 ? alphabet[(second & 15) << 2] : '=';
        at[3] = '=';
        at += 4;
    }
    ENSURE((size_t)(at - begin) == base64_encoded_len(bytes.len));
    return (size_t)(at - begin);
}
