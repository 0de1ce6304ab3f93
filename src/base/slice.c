/*
 * Views of bytes: comparing, trimming and cutting without copying.  Nothing allocates and nothing fails.
 *
 * slice_eq_nocase is on the way of every header field, so it folds eight bytes at a time.  Only ASCII letters fold: a
 * field name or a host compares the same whatever the locale, and bytes above 0x7f are compared as they are.
 */
#include "base/slice.h"

#include "base/assert.h"

static uint64_t load8(const char *at)
{
    uint64_t x;
    memcpy(&x, at, sizeof(x));
    return x;
}

/* Lower-cases the ASCII letters among eight bytes: bit 7 of each byte of `upper` says "is A to Z". */
static uint64_t fold8(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101ull;
    uint64_t low7 = x & (ones * 0x7f);
    uint64_t from_a = low7 + ones * (0x80 - 'A');
    uint64_t past_z = low7 + ones * (0x7f - 'Z');
    uint64_t upper = (from_a ^ past_z) & ~x & (ones * 0x80);
    return x | upper >> 2;
}

static unsigned char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : (unsigned char)c;
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    if (a.len < 8) {
        for (size_t i = 0; i < a.len; i++)
            if (fold(a.at[i]) != fold(b.at[i]))
                return false;
        return true;
    }
    for (size_t i = 0; i + 8 <= a.len; i += 8)
        if (fold8(load8(a.at + i)) != fold8(load8(b.at + i)))
            return false;
    /* the last eight overlap what was compared already, which is cheaper than a loop over the rest */
    return fold8(load8(a.at + a.len - 8)) == fold8(load8(b.at + b.len - 8));
}

bool slice_starts(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.at, prefix.at, prefix.len) == 0);
}

bool slice_ends(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len && (suffix.len == 0 || memcmp(s.at + s.len - suffix.len, suffix.at, suffix.len) == 0);
}

ptrdiff_t slice_find(struct slice s, char byte)
{
    if (s.len == 0)
        return -1;
    const char *found = memchr(s.at, byte, s.len);
    return found ? found - s.at : -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.at[0])) {
        s.at++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.at[s.len - 1]))
        s.len--;
    return s;
}

/* What stands before `len` bytes of *rest; *rest moves behind the separator there, or ends when there is none. */
static struct slice take(struct slice *rest, size_t len)
{
    ENSURE(len <= rest->len);
    struct slice head = { rest->at, len };
    if (len == rest->len)
        *rest = SLICE_EMPTY;
    else
        *rest = slice_make(rest->at + len + 1, rest->len - len - 1);
    return head;
}

struct slice slice_cut(struct slice *rest, char separator)
{
    if (rest->at == NULL)
        return SLICE_EMPTY;
    ptrdiff_t at = slice_find(*rest, separator);
    return take(rest, at < 0 ? rest->len : (size_t)at);
}

/* Where the list element at the start of s ends: at a comma outside of quotes, or at the end. */
static size_t element_len(struct slice s)
{
    bool quoted = false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] == '"')
            quoted = !quoted;
        else if (quoted && s.at[i] == '\\')
            i++;
        else if (!quoted && s.at[i] == ',')
            return i;
    }
    return s.len;
}

struct slice slice_next_element(struct slice *rest)
{
    while (rest->at != NULL) {
        struct slice element = slice_trim(take(rest, element_len(*rest)));
        if (element.len > 0)
            return element;
    }
    return SLICE_EMPTY;
}

bool slice_to_u63(struct slice s, int64_t *ret_value)
{
    if (s.len == 0)
        return false;
    int64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, s.at[i] - '0', &value))
            return false;
    }
    *ret_value = value;
    return true;
}
