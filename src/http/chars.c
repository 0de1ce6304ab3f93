/*
 * The table of byte classes, computed by the preprocessor from the grammars.
 *
 * Paths and queries are as strict as the traffic allows: RFC 3986 has no "|", "[", "]", "{" or "}" in them, but
 * browsers send some of these unescaped (the URL Standard's percent-encode sets), and nothing is ambiguous about them.
 * Controls, space, DEL, bytes above 0x7f, "#" and what would end an HTML attribute are refused everywhere; a backslash,
 * which some servers read as a slash, is refused in a path.
 */
#include "http/chars.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define DIGIT(c) ((c) >= '0' && (c) <= '9')
#define ALPHA(c) (((c) >= 'a' && (c) <= 'z') || ((c) >= 'A' && (c) <= 'Z'))
#define HEX(c)   (DIGIT(c) || ((c) >= 'a' && (c) <= 'f') || ((c) >= 'A' && (c) <= 'F'))
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
     (QUERY(c) ? CHAR_QUERY : 0) | (HEX(c) ? CHAR_HEX : 0) | (DIGIT(c) ? CHAR_DIGIT : 0) |                             \
     (UNRESERVED(c) ? CHAR_UNRESERVED : 0))
#define FOUR(c)    CLASSES(c), CLASSES((c) + 1), CLASSES((c) + 2), CLASSES((c) + 3)
#define SIXTEEN(c) FOUR(c), FOUR((c) + 4), FOUR((c) + 8), FOUR((c) + 12)
#define LINE(c)    SIXTEEN(c), SIXTEEN((c) + 16), SIXTEEN((c) + 32), SIXTEEN((c) + 48)

const uint8_t char_classes[256] = { LINE(0), LINE(64), LINE(128), LINE(192) };

#ifdef __SSE2__
static __m128i load16(const char *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

/* Unsigned: 0xff for each byte that is at most `max`. */
static __m128i at_most(__m128i bytes, char max)
{
    return _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(max)), bytes);
}
#endif

const char *chars_skip_value(const char *at, const char *end)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        __m128i bytes = load16(at);
        __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t')), at_most(bytes, 0x1f));
        __m128i bad = _mm_or_si128(control, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
        unsigned mask = (unsigned)_mm_movemask_epi8(bad);
        if (mask != 0)
            return at + __builtin_ctz(mask);
    }
#endif
    while (at < end && char_is(*at, CHAR_VALUE))
        at++;
    return at;
}

bool chars_visible(const char *at, const char *end)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        __m128i bytes = load16(at);
        __m128i bad = _mm_or_si128(at_most(bytes, ' '), _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
        if (_mm_movemask_epi8(bad) != 0)
            return false;
    }
#endif
    while (at < end && (unsigned char)*at > ' ' && *at != 0x7f)
        at++;
    return at == end;
}
