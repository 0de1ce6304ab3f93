/*
 * Finding parameters without decoding what is not asked for.
 */
#include "http/query.h"

#include "base/arena.h"
#include "http/chars.h"
#include "http/uri.h"

/* One byte of the decoded text, and `*at` behind what it was written as. */
static char next_byte(const char **at, const char *end)
{
    const char *p = *at;
    if (*p == '%' && end - p >= 3 && char_is(p[1], CHAR_HEX) && char_is(p[2], CHAR_HEX)) {
        *at += 3;
        return (char)(char_hex(p[1]) << 4 | char_hex(p[2]));
    }
    *at += 1;
    return *p == '+' ? ' ' : *p;
}

static bool decodes_to(struct slice encoded, struct slice wanted)
{
    const char *at = encoded.at, *end = encoded.at + encoded.len;
    for (size_t i = 0; i < wanted.len; i++)
        if (at >= end || next_byte(&at, end) != wanted.at[i])
            return false;
    return at == end;
}

struct slice query_find(struct slice query, struct slice name)
{
    struct slice found, value;
    while (uri_next_param(&query, &found, &value))
        if (decodes_to(found, name))
            return value;
    return SLICE_EMPTY;
}

unsigned query_count(struct slice query, struct slice name)
{
    struct slice found, value;
    unsigned count = 0;
    while (uri_next_param(&query, &found, &value))
        count += decodes_to(found, name);
    return count;
}

int query_remove(struct arena *arena, struct slice query, struct slice name, struct slice *ret_query)
{
    *ret_query = query;
    if (query_count(query, name) == 0)
        return 0;
    char *begin = arena_alloc(arena, query.len), *at = begin;
    if (!begin)
        return -ERR_MEMORY;
    for (struct slice pair; (pair = slice_cut(&query, '&')).at;) {
        struct slice rest = pair, found, value;
        if (uri_next_param(&rest, &found, &value) && decodes_to(found, name))
            continue;
        if (at > begin)
            *at++ = '&';
        at = slice_put(pair, at);
    }
    *ret_query = slice_make(begin, (size_t)(at - begin));
    return 0;
}

int query_decode(struct arena *arena, struct slice encoded, struct slice *ret_text)
{
    *ret_text = encoded;
    if (slice_find(encoded, '%') < 0 && slice_find(encoded, '+') < 0)
        return 0;
    char *begin = arena_alloc(arena, encoded.len), *out = begin;
    if (!begin)
        return -ERR_MEMORY;
    for (const char *at = encoded.at, *end = at + encoded.len; at < end;)
        *out++ = next_byte(&at, end);
    *ret_text = slice_make(begin, (size_t)(out - begin));
    return 0;
}
