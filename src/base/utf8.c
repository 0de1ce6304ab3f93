/*
 * UTF-8 character by character, after table 3-7 of the Unicode standard: the range of the second byte depends on the
 * first, which is what excludes overlong forms, surrogates and what lies above U+10FFFF.
 */
#include "base/utf8.h"

#include "base/assert.h"

static bool continues(const unsigned char *at, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((at[i] & 0xc0) != 0x80)
            return false;
    return true;
}

size_t utf8_len(struct slice s)
{
    if (s.len == 0)
        return 0;
    const unsigned char *at = (const unsigned char *)s.at;
    unsigned char first = at[0];
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    size_t len = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (s.len < len)
        return 0;
    unsigned char low = 0x80, high = 0xbf;
    switch (first) {
    case 0xe0:
        low = 0xa0;
        break;
    case 0xed:
        high = 0x9f;
        break;
    case 0xf0:
        low = 0x90;
        break;
    case 0xf4:
        high = 0x8f;
        break;
    default:
        break;
    }
    return at[1] >= low && at[1] <= high && continues(at + 2, len - 2) ? len : 0;
}

bool utf8_valid(struct slice s)
{
    while (s.len > 0) {
        size_t len = utf8_len(s);
        if (len == 0)
            return false;
        s.at += len;
        s.len -= len;
    }
    return true;
}

size_t utf8_put(char *at, uint32_t code_point)
{
    ENSURE(code_point <= 0x10ffff && (code_point < 0xd800 || code_point > 0xdfff));
    if (code_point < 0x80) {
        at[0] = (char)code_point;
        return 1;
    }
    size_t len = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--) {
        at[i] = (char)(0x80 | (code_point & 0x3f));
        code_point >>= 6;
    }
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    at[0] = (char)(lead[len] | code_point);
    return len;
}
