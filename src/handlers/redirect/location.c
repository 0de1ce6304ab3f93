/*
 * Writing Location (RFC 9110 10.2.2) from a compiled template.
 *
 * Each part is escaped for where it stands, so that no value can end the part it is in: neither the line (no control
 * byte is ever written) nor the path, the query or the host.
 */
#include "handlers/redirect/location.h"

#include "base/arena.h"
#include "base/assert.h"
#include "exchange/exchange.h"
#include "http/chars.h"
#include "http/uri.h"

/* What stays as it is, beside unreserved characters (RFC 3986 3.3, 3.4). */
#define IN_SEGMENT "!$&'()*+,;=:@"
#define IN_PATH    IN_SEGMENT "/"
#define IN_QUERY   "!$'()*,:@/" /* of a value: neither the end of it nor a space in a form */
#define AS_SENT    IN_PATH "%?" /* escaped already; only what a URI cannot hold is */

struct writing {
    const struct exchange *x;
    struct slice host;
    char *at;
};

static void put(struct writing *w, struct slice text)
{
    if (text.len > 0)
        memcpy(w->at, text.at, text.len);
    w->at += text.len;
}

static void put_escaped(struct writing *w, struct slice text, const char *stays)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (char_is((char)c, CHAR_UNRESERVED) || (c != 0 && strchr(stays, c))) {
            *w->at++ = (char)c;
            continue;
        }
        *w->at++ = '%';
        *w->at++ = hex[c >> 4];
        *w->at++ = hex[c & 15];
    }
}

/* In a path as the client's path had it, in a query from what it says. Empty for a regex's group that took no part. */
static struct slice capture_text(const struct exchange *x, const struct location_part *part)
{
    const struct capture *capture = exchange_capture(x, part->text);
    if (!capture)
        return SLICE_EMPTY;
    return part->in_query ? capture->value : capture->raw;
}

static size_t part_size(const struct exchange *x, const struct location_part *part)
{
    switch (part->kind) {
    case LOCATION_TEXT:
        return part->text.len;
    case LOCATION_PATH:
        return 3 * x->request->path.len + 1;
    case LOCATION_QUERY:
        return 3 * x->request->query.len;
    case LOCATION_HOST:
        return x->request->authority.len;
    case LOCATION_CAPTURE:
        return 3 * capture_text(x, part).len;
    }
    return 0;
}

static void put_part(struct writing *w, const struct location_part *part)
{
    const struct message *request = w->x->request;
    switch (part->kind) {
    case LOCATION_TEXT:
        put(w, part->text);
        break;
    case LOCATION_PATH:
        if (request->path.len == 0 || request->path.at[0] != '/')
            *w->at++ = '/'; /* what stands before it ends here, whatever the target's form */
        put_escaped(w, request->path, part->in_query ? IN_QUERY "%" : AS_SENT);
        break;
    case LOCATION_QUERY:
        put_escaped(w, request->query, AS_SENT);
        break;
    case LOCATION_HOST:
        put(w, w->host);
        break;
    case LOCATION_CAPTURE:
        put_escaped(w, capture_text(w->x, part), part->in_query ? IN_QUERY : AS_SENT);
        break;
    }
}

static void put_query(struct writing *w, const struct location *location)
{
    if (w->x->request->query.len == 0)
        return;
    *w->at++ = location->has_query ? '&' : '?';
    put_escaped(w, w->x->request->query, AS_SENT);
}

static int find_host(const struct location *location, struct writing *w)
{
    uint16_t port;
    bool needed = false;
    for (unsigned i = 0; i < location->count; i++)
        needed |= location->parts[i].kind == LOCATION_HOST;
    if (needed && uri_parse_authority(w->x->request->authority, &w->host, &port) < 0)
        return -ERR_BAD_HOST;
    return 0;
}

int location_write(const struct location *location, const struct exchange *x, bool keep_query, struct slice *ret_value)
{
    struct writing w = { .x = x };
    size_t size = 1 + 3 * x->request->query.len;
    int rc = find_host(location, &w);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < location->count; i++)
        size += part_size(x, &location->parts[i]);
    char *begin = arena_alloc(x->arena, size);
    if (!begin)
        return -ERR_MEMORY;
    w.at = begin;
    for (unsigned i = 0; i <= location->count; i++) {
        if (i == location->query_at && keep_query && !location->places_query)
            put_query(&w, location);
        if (i < location->count)
            put_part(&w, &location->parts[i]);
    }
    ENSURE(w.at <= begin + size);
    if (!location->absolute) /* "//" would be another host */
        while (w.at - begin > 1 && begin[1] == '/')
            begin++;
    *ret_value = slice_make(begin, (size_t)(w.at - begin));
    return 0;
}
