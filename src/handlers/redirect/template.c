/*
 * Compiling a redirect's template: cutting it into parts, and refusing what could lead a client astray.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "conf/conf.h"
#include "exchange/captures.h"
#include "handlers/redirect/location.h"
#include "http/chars.h"
#include "http/uri.h"

struct compiling {
    struct conf *conf;
    const struct conf_node *node;
    struct location *location;
    bool in_query, in_fragment;
};

static void add_part(struct compiling *c, enum location_kind kind, struct slice text)
{
    struct location *l = c->location;
    if (kind != LOCATION_TEXT || text.len > 0)
        l->parts[l->count++] = (struct location_part){ kind, text, c->in_query || c->in_fragment };
    if (kind == LOCATION_QUERY)
        l->places_query = true;
}

/* Text is cut in front of a `#`, where the query of the request would go. */
static void add_text(struct compiling *c, struct slice text)
{
    ptrdiff_t hash = c->in_fragment ? -1 : slice_find(text, '#');
    struct slice before = hash < 0 ? text : slice_make(text.at, (size_t)hash);
    if (!c->in_fragment && slice_find(before, '?') >= 0)
        c->in_query = true;
    add_part(c, LOCATION_TEXT, before);
    if (hash < 0)
        return;
    c->location->query_at = c->location->count;
    c->in_fragment = true;
    add_part(c, LOCATION_TEXT, slice_make(text.at + hash, text.len - (size_t)hash));
}

static int add_name(struct compiling *c, struct slice name)
{
    static const struct {
        struct slice name;
        enum location_kind kind;
    } known[] = {
        { { "path", 4 }, LOCATION_PATH },
        { { "query", 5 }, LOCATION_QUERY },
        { { "host", 4 }, LOCATION_HOST },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (slice_eq(name, known[i].name)) {
            add_part(c, known[i].kind, name);
            return 0;
        }
    }
    if (slice_ends(name, SLICE("...")))
        name.len -= 3; /* as the route's pattern has it */
    if (!capture_name_valid(name)) {
        conf_error(c->conf, c->node, "expected `{path}`, `{query}`, `{host}` or a capture such as `{id}`, got `{%.*s}`",
                   SLICE_ARG(name));
        return -1;
    }
    if (!capture_known(c->node, name)) {
        conf_error(c->conf, c->node, "`{%.*s}` is no capture of this route's path", SLICE_ARG(name));
        return -1;
    }
    add_part(c, LOCATION_CAPTURE, name);
    return 0;
}

static int cut_parts(struct compiling *c, struct slice text)
{
    while (text.len > 0) {
        ptrdiff_t open = slice_find(text, '{'), close;
        struct slice before = open < 0 ? text : slice_make(text.at, (size_t)open);
        add_text(c, before);
        if (open < 0)
            break;
        text = slice_make(text.at + open, text.len - (size_t)open);
        close = slice_find(text, '}');
        if (close < 0) {
            conf_error(c->conf, c->node, "a `{` is never closed; a brace itself is written `%%7B`");
            return -1;
        }
        if (add_name(c, slice_make(text.at + 1, (size_t)close - 1)) < 0)
            return -1;
        text = slice_make(text.at + close + 1, text.len - (size_t)close - 1);
    }
    return 0;
}

static int check_bytes(const struct compiling *c, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.at[i];
        bool escape_ok =
            byte != '%' || (i + 2 < text.len && char_is(text.at[i + 1], CHAR_HEX) && char_is(text.at[i + 2], CHAR_HEX));
        if (byte <= ' ' || byte >= 0x7f || strchr("\"<>\\^`|", byte) || !escape_ok) {
            conf_error(c->conf, c->node,
                       "the target of a redirect is a URI: what may not stand in one is percent-encoded");
            return -1;
        }
    }
    return 0;
}

/* The length of the template's host and port, which end at the first of "/?#" or where the path is put in. */
static size_t authority_len(struct slice text)
{
    size_t len = 0;
    while (len < text.len && !strchr("/?#", text.at[len]) &&
           !slice_starts(slice_make(text.at + len, text.len - len), SLICE("{path}")))
        len++;
    return len;
}

/* Text and {host} alone: what a client chooses freely must not decide where it is sent. */
static int check_authority(const struct compiling *c, struct slice authority)
{
    char plain[256];
    size_t len = 0;
    struct slice host;
    uint16_t port;
    size_t i = 0;
    while (i < authority.len && len < sizeof(plain)) {
        struct slice rest = slice_make(authority.at + i, authority.len - i);
        bool is_host = slice_starts(rest, SLICE("{host}"));
        if (rest.at[0] == '{' && !is_host) {
            conf_error(
                c->conf, c->node,
                "only `{host}` can be part of the host: with anything else the client could choose where it is sent");
            return -1;
        }
        plain[len++] = is_host ? 'h' : rest.at[0]; /* stands for the name that will be there */
        i += is_host ? 6 : 1;
    }
    if (i < authority.len || uri_parse_authority(slice_make(plain, len), &host, &port) < 0) {
        conf_error(c->conf, c->node, "`%.*s` is no host", SLICE_ARG(authority));
        return -1;
    }
    return 0;
}

static int check_start(struct compiling *c, struct slice text)
{
    static const struct slice schemes[] = { { "https://", 8 }, { "http://", 7 } };
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (!slice_starts(text, schemes[i]))
            continue;
        struct slice rest = slice_make(text.at + schemes[i].len, text.len - schemes[i].len);
        c->location->absolute = true;
        return check_authority(c, slice_make(rest.at, authority_len(rest)));
    }
    if (slice_starts(text, SLICE("//"))) {
        conf_error(c->conf, c->node,
                   "a target that begins with `//` leads to another host; write its scheme, as in `https://...`");
        return -1;
    }
    if (slice_starts(text, SLICE("/")) || slice_starts(text, SLICE("{path}")))
        return 0;
    conf_error(c->conf, c->node, "expected `https://...`, `http://...` or a path that begins with `/`");
    return -1;
}

int location_compile(struct conf *conf, const struct conf_node *node, struct slice text, struct location *ret_location)
{
    struct compiling c = { .conf = conf, .node = node, .location = ret_location };
    *ret_location = (struct location){ .query_at = UINT32_MAX };
    if (check_bytes(&c, text) < 0 || check_start(&c, text) < 0)
        return -1;
    ret_location->parts = mem_must((text.len + 2) * sizeof(*ret_location->parts));
    if (cut_parts(&c, text) < 0) {
        location_done(ret_location);
        return -1;
    }
    ret_location->has_query = c.in_query;
    if (ret_location->query_at > ret_location->count)
        ret_location->query_at = ret_location->count;
    return 0;
}

void location_done(struct location *location)
{
    mem_free(location->parts);
    location->parts = NULL;
}
