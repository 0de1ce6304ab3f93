/*
 * Reading credentials. Strict: what could be read in two ways is broken, so that the service, to which it may be
 * forwarded, sees the same user as we do.
 */
#include "policies/basic/credentials.h"

#include <stdint.h>

#include "base/arena.h"
#include "base/utf8.h"
#include "exchange/authentication.h"
#include "exchange/consumers.h"
#include "http/fields.h"

enum { ENCODED_BYTES_MAX = 4 * ((2 * PASSWORD_BYTES_MAX + 1 + 2) / 3) };

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* With the padding or without; what is left over of the last digit must be zero (RFC 4648 3.5). */
static bool decode(struct slice text, char *out, size_t *ret_len)
{
    uint32_t bits = 0;
    unsigned held = 0, pads = 0;
    char *at = out;
    while (text.len > 0 && text.at[text.len - 1] == '=' && pads < 2) {
        text.len--;
        pads++;
    }
    if (text.len == 0 || text.len % 4 == 1 || (pads > 0 && (text.len + pads) % 4 != 0))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int value = digit(text.at[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            *at++ = (char)(bits >> held & 0xff);
        }
    }
    *ret_len = (size_t)(at - out);
    return (bits & ((1u << held) - 1)) == 0;
}

static bool is_text(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.at[i] < ' ' || text.at[i] == 0x7f)
            return false;
    return utf8_valid(text);
}

static bool is_basic(const struct field *f, struct slice *ret_encoded)
{
    struct slice rest = f->value;
    if (f->id != FIELD_AUTHORIZATION || !slice_eq_nocase(authentication_scheme(&rest), SLICE("Basic")))
        return false;
    *ret_encoded = rest;
    return true;
}

int credentials_read(const struct fields *fields, struct arena *arena, enum credentials_found *ret_found,
                     struct slice *ret_user, struct slice *ret_password)
{
    struct slice encoded = SLICE_EMPTY;
    unsigned all = 0, basic = 0;
    FIELDS_FOR_EACH (f, fields) {
        all += f->id == FIELD_AUTHORIZATION;
        basic += is_basic(f, &encoded);
    }
    *ret_found = basic == 0 ? CREDENTIALS_NONE : all > 1 ? CREDENTIALS_TWICE : CREDENTIALS_BROKEN;
    *ret_user = *ret_password = SLICE_EMPTY;
    if (*ret_found != CREDENTIALS_BROKEN || encoded.len > ENCODED_BYTES_MAX)
        return 0;
    size_t len;
    char *text = arena_alloc(arena, encoded.len + 1);
    if (!text)
        return -ERR_MEMORY;
    if (!decode(encoded, text, &len))
        return 0;
    struct slice rest = { text, len }, user = slice_cut(&rest, ':');
    if (!rest.at || !is_text(user) || !is_text(rest) || user.len > PASSWORD_BYTES_MAX || rest.len > PASSWORD_BYTES_MAX)
        return 0;
    *ret_user = user;
    *ret_password = rest;
    *ret_found = CREDENTIALS_THERE;
    return 0;
}

void credentials_strip(struct fields *fields)
{
    struct slice encoded;
    FIELDS_FOR_EACH (f, fields)
        if (is_basic(f, &encoded))
            field_remove(f);
}
