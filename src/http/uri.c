/*
 * URI pieces (RFC 3986).  Nothing is allocated when nothing changes, which is the usual case: most paths have neither
 * an escape nor a dot segment.
 *
 * Normalising must not make two readers disagree: only escapes of unreserved characters are decoded, so "%2F" and "/"
 * stay different, and dot segments are looked for after that, so "%2e%2e" climbs as ".." does.
 *
 * A path is settled before anything is decided by it.  What a service is sent is then what was matched, and where
 * services disagree about it (some decode "%2F" before they look for segments, some merge slashes, some cut ";"
 * parameters off first) there is nothing left that one of them could take for another path: else a rule for "/admin"
 * could be passed by as
 * "//admin", "/x%2F..%2Fadmin" or "/x/..;/admin".
 */
#include "http/uri.h"

#include "base/arena.h"
#include "base/assert.h"
#include "http/chars.h"
#include "net/address.h"

enum { PORT_DIGITS_MAX = 5, PORT_MAX = 65535 };

/* The byte an escape at `at` stands for, or -1 when it is none. */
static int escape_value(const char *at, const char *end)
{
    if (end - at < 3 || !char_is(at[1], CHAR_HEX) || !char_is(at[2], CHAR_HEX))
        return -1;
    return (int)(char_hex(at[1]) << 4 | char_hex(at[2]));
}

static bool needs_normalising(struct slice path)
{
    for (size_t i = 0; i < path.len; i++) {
        if (path.at[i] == '%' || (path.at[i] == '/' && i + 1 < path.len && path.at[i + 1] == '.'))
            return true;
    }
    return false;
}

/* Decodes escapes of unreserved characters and upper-cases the others: never longer than before. Returns the new length
 * or -ERR_BAD_TARGET. */
static ptrdiff_t normalise_escapes(struct slice path, char *to)
{
    static const char digits[] = "0123456789ABCDEF";
    const char *end = path.at + path.len;
    char *out = to;

    for (const char *at = path.at; at < end; at++) {
        if (*at != '%') {
            *out++ = *at;
            continue;
        }
        int value = escape_value(at, end);
        if (value <= 0)
            return -ERR_BAD_TARGET;
        if (char_is((char)value, CHAR_UNRESERVED)) {
            *out++ = (char)value;
        } else {
            *out++ = '%';
            *out++ = digits[value >> 4];
            *out++ = digits[value & 15];
        }
        at += 2;
    }
    return out - to;
}

/* RFC 3986 5.2.4, in place. Returns the new length, or -ERR_BAD_TARGET when the path climbs above the root. */
static ptrdiff_t remove_dot_segments(char *path, size_t len)
{
    char *out = path;
    const char *at = path, *end = path + len;

    while (at < end) { /* *at is the "/" in front of a segment */
        const char *segment = at + 1;
        const char *next = memchr(segment, '/', (size_t)(end - segment));
        if (next == NULL)
            next = end;
        size_t segment_len = (size_t)(next - segment);
        bool dot = segment_len == 1 && segment[0] == '.';
        bool dot_dot = segment_len == 2 && segment[0] == '.' && segment[1] == '.';
        if (!dot && !dot_dot) {
            memmove(out, at, segment_len + 1);
            out += segment_len + 1;
        } else {
            if (dot_dot) {
                if (out == path)
                    return -ERR_BAD_TARGET;
                while (*--out != '/')
                    continue;
            }
            if (next == end)
                *out++ = '/'; /* what is left names a directory */
        }
        at = next;
    }
    return out - path;
}

/* In place; returns the new length. */
static size_t merge_slashes(char *path, size_t len)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        if (path[i] != '/' || out == 0 || path[out - 1] != '/')
            path[out++] = path[i];
    }
    return out;
}

static int normalise(struct arena *arena, struct slice path, bool merge, struct slice *ret_path)
{
    char *copy = arena_alloc(arena, path.len);

    if (copy == NULL)
        return -ERR_MEMORY;
    ptrdiff_t len = normalise_escapes(path, copy);
    if (len >= 0 && merge)
        len = (ptrdiff_t)merge_slashes(copy, (size_t)len);
    if (len >= 0)
        len = remove_dot_segments(copy, (size_t)len);
    if (len < 0)
        return (int)len;
    *ret_path = slice_make(copy, (size_t)len);
    return 0;
}

/* Is there an escape, a parameter, or a slash in front of a dot or of another slash? */
#ifdef __SSE2__
static inline bool is_unsettled(__m128i bytes)
{
    __m128i slash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('/'));
    __m128i second = _mm_srli_si128(_mm_or_si128(slash, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('.'))), 1);
    __m128i alone = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('%')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8(';')));

    return _mm_movemask_epi8(_mm_or_si128(alone, _mm_and_si128(slash, second))) != 0;
}

static __m128i load_half(const char *at)
{
    return _mm_loadl_epi64((const __m128i *)at);
}

/* Each piece overlaps the one before, so that no pair is cut in two. */
static bool needs_settling(struct slice path)
{
    const char *at = path.at, *end = at + path.len;

    if (path.len >= 16) {
        for (; end - at > 16; at += 15) {
            if (is_unsettled(chars_load(at)))
                return true;
        }
        return is_unsettled(chars_load(end - 16));
    }
    if (path.len >= 8)
        return is_unsettled(load_half(at)) || is_unsettled(load_half(end - 8));
    char padded[8] = { 0 };
    (void)slice_put(path, padded);
    return is_unsettled(load_half(padded));
}
#else
static bool needs_settling(struct slice path)
{
    for (size_t i = 0; i < path.len; i++) {
        char c = path.at[i];
        if (c == '%' || c == ';' || (c == '/' && i + 1 < path.len && (path.at[i + 1] == '.' || path.at[i + 1] == '/')))
            return true;
    }
    return false;
}
#endif

int uri_normalise(struct arena *arena, struct slice path, struct slice *ret_path)
{
    *ret_path = path;
    if (path.len == 0 || path.at[0] != '/' || !needs_settling(path) || !needs_normalising(path))
        return 0;
    return normalise(arena, path, false, ret_path);
}

/* Length of what some service takes for the end of a segment: 1 for "/", 3 for an escaped slash or backslash, else 0.
 */
static size_t separator_len(const char *at, const char *end)
{
    if (*at == '/')
        return 1;
    return end - at >= 3 && (memcmp(at, "%2F", 3) == 0 || memcmp(at, "%5C", 3) == 0) ? 3 : 0;
}

/* A segment as a service sees it that drops parameters: would it climb, or vanish and join its neighbours? */
static bool is_hidden_dots(struct slice segment, bool last)
{
    ptrdiff_t parameters = slice_find(segment, ';');
    struct slice name = parameters < 0 ? segment : slice_make(segment.at, (size_t)parameters);

    if (name.len == 0)
        return parameters == 0 && !last;
    return slice_eq(name, SLICE(".")) || slice_eq(name, SLICE(".."));
}

/* Of a normalised path: what is left that services read in more than one way. */
static int judge_segments(struct slice path, const struct uri_rules *rules)
{
    const char *end = path.at + path.len, *segment = path.at + 1;

    for (const char *at = segment; at <= end;) {
        size_t len = at < end ? separator_len(at, end) : 1;
        if (len == 3 && !rules->escaped_slashes)
            return -ERR_BAD_TARGET;
        if (len == 0) {
            at++;
            continue;
        }
        if (is_hidden_dots(slice_make(segment, (size_t)(at - segment)), at == end))
            return -ERR_BAD_TARGET;
        at += len;
        segment = at;
    }
    return 0;
}

int uri_settle(struct arena *arena, struct slice path, const struct uri_rules *rules, struct slice *ret_path)
{
    *ret_path = path;
    if (path.len == 0 || path.at[0] != '/' || !needs_settling(path))
        return 0;
    int err = normalise(arena, path, !rules->empty_segments, ret_path);
    return err ? err : judge_segments(*ret_path, rules);
}

int uri_decode(struct arena *arena, struct slice text, struct slice *ret_text)
{
    *ret_text = text;
    if (slice_find(text, '%') < 0)
        return 0;
    const char *end = text.at + text.len;
    char *copy = arena_alloc(arena, text.len);
    if (copy == NULL)
        return -ERR_MEMORY;
    char *out = copy;
    for (const char *at = text.at; at < end; at++) {
        if (*at != '%') {
            *out++ = *at;
            continue;
        }
        int value = escape_value(at, end);
        if (value < 0)
            return -ERR_BAD_TARGET;
        *out++ = (char)value;
        at += 2;
    }
    *ret_text = slice_make(copy, (size_t)(out - copy));
    return 0;
}

bool uri_next_param(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
    struct slice param;

    do {
        param = slice_cut(rest, '&');
        if (param.at == NULL)
            return false;
    } while (param.len == 0);
    *ret_name = slice_cut(&param, '=');
    *ret_value = param.at ? param : slice_make("", 0);
    return true;
}

static int parse_port(struct slice digits, uint16_t *ret_port)
{
    unsigned port = 0;

    if (digits.len > PORT_DIGITS_MAX)
        return -ERR_BAD_TARGET;
    for (size_t i = 0; i < digits.len; i++) {
        if (!char_is(digits.at[i], CHAR_DIGIT))
            return -ERR_BAD_TARGET;
        port = port * 10 + (unsigned)(digits.at[i] - '0');
    }
    if (port > PORT_MAX || (port == 0 && digits.len > 0))
        return -ERR_BAD_TARGET;
    *ret_port = (uint16_t)port;
    return 0;
}

static bool is_host_name(struct slice host)
{
    if (host.len == 0)
        return false;
    const char *end = host.at + host.len;
    for (const char *at = host.at; at < end; at++) {
        if (!char_is(*at, CHAR_UNRESERVED))
            return false;
    }
    return true;
}

int uri_parse_authority(struct slice authority, struct slice *ret_host, uint16_t *ret_port)
{
    size_t host_len;

    *ret_port = 0;
    if (authority.len > 0 && authority.at[0] == '[') {
        ptrdiff_t close = slice_find(authority, ']');
        struct address address;
        if (close < 0 || slice_find(authority, '%') >= 0)
            return -ERR_BAD_TARGET; /* zones mean something on one machine only (RFC 9110 4.2) */
        if (address_parse_ip(slice_make(authority.at + 1, (size_t)close - 1), &address) < 0 ||
            address.family != AF_INET6)
            return -ERR_BAD_TARGET;
        host_len = (size_t)close + 1;
    } else {
        ptrdiff_t colon = slice_find(authority, ':');
        host_len = colon < 0 ? authority.len : (size_t)colon;
        if (!is_host_name(slice_make(authority.at, host_len)))
            return -ERR_BAD_TARGET;
    }
    *ret_host = slice_make(authority.at, host_len);
    if (host_len == authority.len)
        return 0;
    if (authority.at[host_len] != ':')
        return -ERR_BAD_TARGET;
    return parse_port(slice_make(authority.at + host_len + 1, authority.len - host_len - 1), ret_port);
}

bool uri_target_valid(struct slice target)
{
    if (target.len == 0)
        return true;
    const char *at = target.at, *end = target.at + target.len;
    while (at < end && char_is(*at, CHAR_PATH))
        at++;
    if (at < end && *at == '?') {
        while (at < end && char_is(*at, CHAR_QUERY))
            at++;
    }
    return at == end;
}
