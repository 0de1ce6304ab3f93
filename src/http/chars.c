/*
 * The table of byte classes, computed by the preprocessor from the grammars.
 *
 * Paths and queries are as strict as the traffic allows: RFC 3986 has no "|", "[", "]", "{" or "}" in them, but
 * browsers send some of these unescaped (the URL Standard's percent-encode sets), and nothing is ambiguous about them.
 * Controls, space, DEL, bytes above 0x7f, "#" and what would end an HTML attribute are refused everywhere; a backslash,
 * which some servers read as a slash, is refused in a path.
 */
#include "http/chars.h"

#define DIGIT(c)   ((c) >= '0' && (c) <= '9')
#define CAPITAL(c) ((c) >= 'A' && (c) <= 'Z')
#define ALPHA(c)   (((c) >= 'a' && (c) <= 'z') || ((c) >= 'A' && (c) <= 'Z'))
#define HEX(c)     (DIGIT(c) || ((c) >= 'a' && (c) <= 'f') || ((c) >= 'A' && (c) <= 'F'))
#define TOKEN(c)                                                                                                       \
    (DIGIT(c) || ALPHA(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' || (c) == '&' || (c) == '\'' ||      \
     (c) == '*' || (c) == '+' || (c) == '-' || (c) == '.' || (c) == '^' || (c) == '_' || (c) == '`' || (c) == '|' ||   \
     (c) == '~')
#define VISIBLE(c)    ((c) > ' ' && (c) < 0x7f)
#define VALUE(c)      (VISIBLE(c) || (c) == ' ' || (c) == '\t' || (c) >= 0x80)
#define UNRESERVED(c) (DIGIT(c) || ALPHA(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define QUERY(c)      (VISIBLE(c) && (c) != '"' && (c) != '<' && (c) != '>' && (c) != '#')
#define PATH(c)       (QUERY(c) && (c) != '?' && (c) != '\\' && (c) != '^' && (c) != '`' && (c) != '{' && (c) != '}')

#define CLASSES(c)                                                                                                     \
    ((TOKEN(c) ? CHAR_TOKEN : 0) | (VALUE(c) ? CHAR_VALUE : 0) | (PATH(c) ? CHAR_PATH : 0) |                           \
     (QUERY(c) ? CHAR_QUERY : 0) | (TOKEN(c) && !CAPITAL(c) ? CHAR_LOWER_TOKEN : 0) | (HEX(c) ? CHAR_HEX : 0) |        \
     (DIGIT(c) ? CHAR_DIGIT : 0) | (UNRESERVED(c) ? CHAR_UNRESERVED : 0))
#define FOUR(c)    CLASSES(c), CLASSES((c) + 1), CLASSES((c) + 2), CLASSES((c) + 3)
#define SIXTEEN(c) FOUR(c), FOUR((c) + 4), FOUR((c) + 8), FOUR((c) + 12)
#define LINE(c)    SIXTEEN(c), SIXTEEN((c) + 16), SIXTEEN((c) + 32), SIXTEEN((c) + 48)

const uint8_t char_classes[256] = { LINE(0), LINE(64), LINE(128), LINE(192) };

#ifdef __SSE2__
/* One to sixteen bytes and none besides: those at either end, which overlap, and the same again where they are fewer
 * than eight. So it answers whether there is such a byte, never where. */
static inline __m128i load_few(const char *at, size_t len)
{
    uint64_t first, last;
    uint32_t head, tail;

    if (len >= 8) {
        memcpy(&first, at, sizeof(first));
        memcpy(&last, at + len - sizeof(last), sizeof(last));
        return _mm_set_epi64x((int64_t)last, (int64_t)first);
    }
    if (len >= 4) {
        memcpy(&head, at, sizeof(head));
        memcpy(&tail, at + len - sizeof(tail), sizeof(tail));
        return _mm_set1_epi64x((int64_t)((uint64_t)tail << 32 | head));
    }
    return _mm_setr_epi8(at[0], at[len / 2], at[len - 1], at[0], at[0], at[0], at[0], at[0], at[0], at[0], at[0], at[0],
                         at[0], at[0], at[0], at[0]);
}

static inline __m128i not_visible(__m128i bytes)
{
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(' ')), bytes);
    return _mm_or_si128(low, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
}

static inline __m128i capital(__m128i bytes)
{
    __m128i above = _mm_cmpgt_epi8(bytes, _mm_set1_epi8('A' - 1));
    return _mm_and_si128(above, _mm_cmpgt_epi8(_mm_set1_epi8('Z' + 1), bytes));
}

/* Does `bad` mark any byte? The last step goes over bytes a second time rather than over fewer. */
static inline bool any(const char *at, size_t len, __m128i (*bad)(__m128i bytes))
{
    if (len <= 16)
        return len > 0 && _mm_movemask_epi8(bad(load_few(at, len))) != 0;
    const char *last = at + len - 16;
    for (; at < last; at += 16) {
        if (_mm_movemask_epi8(bad(chars_load(at))) != 0)
            return true;
    }
    return _mm_movemask_epi8(bad(chars_load(last))) != 0;
}

bool chars_all_value(const char *at, size_t len)
{
    return !any(at, len, chars_not_value);
}

bool chars_visible(const char *at, size_t len)
{
    return !any(at, len, not_visible);
}

bool chars_have_capital(const char *at, size_t len)
{
    return any(at, len, capital);
}
#else
bool chars_all_value(const char *at, size_t len)
{
    return chars_skip_value(at, at + len) == at + len;
}

bool chars_visible(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)at[i] <= ' ' || at[i] == 0x7f)
            return false;
    }
    return true;
}

bool chars_have_capital(const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (at[i] >= 'A' && at[i] <= 'Z')
            return true;
    }
    return false;
}
#endif
