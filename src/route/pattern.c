/*
 * Reading path templates and prefixes.  A mistake names the segment and says what to write instead.
 */
#include "route/pattern.h"

#include "base/arena.h"
#include "conf/conf.h"
#include "http/chars.h"
#include "http/uri.h"

struct reading {
    struct conf *conf;
    const struct conf_node *node;
    struct pattern *pattern;
    bool captures_ok; /* a template, not a prefix */
};

static int read_capture(struct reading *r, struct slice segment, bool last);
static int read_literal(struct reading *r, struct slice segment, bool last);

static int read_segment(struct reading *r, struct slice segment, bool last)
{
    struct pattern *p = r->pattern;
    if (p->count == PATTERN_SEGMENTS_MAX) {
        conf_error(r->conf, r->node, "a path pattern has at most %d segments", PATTERN_SEGMENTS_MAX);
        return -1;
    }
    if (segment.len > SEGMENT_BYTES_MAX) {
        conf_error(r->conf, r->node, "a segment of a path pattern has at most %d bytes", SEGMENT_BYTES_MAX);
        return -1;
    }
    bool braces = slice_find(segment, '{') >= 0 || slice_find(segment, '}') >= 0;
    return braces ? read_capture(r, segment, last) : read_literal(r, segment, last);
}

static int read_pattern(struct reading *r, const char *text)
{
    struct slice rest = slice_from(text);
    r->pattern->count = r->pattern->capture_count = 0;
    if (rest.len == 0 || rest.at[0] != '/') {
        conf_error(r->conf, r->node, "a path begins with `/`");
        return -1;
    }
    rest.at++;
    rest.len--;
    if (!r->captures_ok && rest.len == 0)
        return 0;
    if (!r->captures_ok && rest.len > 1 && rest.at[rest.len - 1] == '/')
        rest.len--;
    for (;;) {
        ptrdiff_t slash = slice_find(rest, '/');
        struct slice segment = slash < 0 ? rest : slice_make(rest.at, (size_t)slash);
        if (read_segment(r, segment, slash < 0) < 0)
            return -1;
        if (slash < 0)
            return 0;
        rest = slice_make(rest.at + slash + 1, rest.len - (size_t)slash - 1);
    }
}

int pattern_parse_template(struct conf *conf, const struct conf_node *node, const char *text,
                           struct pattern *ret_pattern)
{
    struct reading r = { conf, node, ret_pattern, true };
    return read_pattern(&r, text);
}

int pattern_parse_prefix(struct conf *conf, const struct conf_node *node, const char *text, struct pattern *ret_pattern)
{
    struct reading r = { conf, node, ret_pattern, false };
    return read_pattern(&r, text);
}

static bool name_valid(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || !char_is(c, CHAR_DIGIT)))
            return false;
    }
    return name.len > 0;
}

static int add_capture(struct reading *r, enum segment_kind kind, struct slice name)
{
    struct pattern *p = r->pattern;
    if (p->capture_count == PATTERN_CAPTURES_MAX) {
        conf_error(r->conf, r->node, "a path pattern has at most %d captures", PATTERN_CAPTURES_MAX);
        return -1;
    }
    for (unsigned i = 0; i < p->capture_count; i++) {
        if (slice_eq(p->captures[i], name)) {
            conf_error(r->conf, r->node, "the capture `{%.*s}` stands there twice", SLICE_ARG(name));
            return -1;
        }
    }
    p->captures[p->capture_count++] = name;
    p->segments[p->count++] = (struct segment){ kind, name };
    return 0;
}

static int read_capture(struct reading *r, struct slice segment, bool last)
{
    struct slice name = slice_make(segment.at + 1, segment.len - 2); /* only looked at when the braces are in place */
    enum segment_kind kind = SEGMENT_PARAM;

    if (!r->captures_ok) {
        conf_error(r->conf, r->node,
                   "a prefix has no captures; write it as `path`, with `{name...}` for the remainder");
        return -1;
    }
    if (segment.len < 2 || segment.at[0] != '{' || segment.at[segment.len - 1] != '}') {
        conf_error(r->conf, r->node,
                   "`%.*s`: a segment is either text or one `{name}`; use `regex` for a part of a segment",
                   SLICE_ARG(segment));
        return -1;
    }
    if (slice_ends(name, SLICE("..."))) {
        name.len -= 3;
        kind = SEGMENT_REST;
    }
    if (!name_valid(name)) {
        conf_error(r->conf, r->node,
                   "`%.*s`: a capture's name is made of letters, digits and `_`, and begins with no digit",
                   SLICE_ARG(segment));
        return -1;
    }
    if (kind == SEGMENT_REST && !last) {
        conf_error(r->conf, r->node, "`%.*s` takes the remainder of the path, so it can only be the last segment",
                   SLICE_ARG(segment));
        return -1;
    }
    return add_capture(r, kind, name);
}

/* Escapes what no request path holds as it is, then normalises. */
static int normalise_literal(struct reading *r, struct slice segment, struct slice *ret_text)
{
    static const char hex[] = "0123456789ABCDEF";
    struct arena *arena = conf_arena(r->conf);
    char *text = arena_alloc(arena, 1 + 3 * segment.len);
    size_t len = 0;
    if (!text)
        return -ERR_MEMORY;
    text[len++] = '/';
    for (size_t i = 0; i < segment.len; i++) {
        unsigned char c = (unsigned char)segment.at[i];
        if (c > ' ' && c < 0x7f) {
            text[len++] = (char)c;
            continue;
        }
        text[len++] = '%';
        text[len++] = hex[c >> 4];
        text[len++] = hex[c & 15];
    }
    int rc = uri_normalise(arena, slice_make(text, len), ret_text);
    if (rc < 0)
        return rc;
    ret_text->at++;
    ret_text->len--;
    return 0;
}

static int read_literal(struct reading *r, struct slice segment, bool last)
{
    struct slice text;
    if (segment.len == 0 && !(last && r->captures_ok)) {
        conf_error(r->conf, r->node, "a path pattern has no empty segments (`//`)");
        return -1;
    }
    if (slice_eq(segment, SLICE(".")) || slice_eq(segment, SLICE(".."))) {
        conf_error(r->conf, r->node, "`%.*s`: request paths are matched with dot segments resolved",
                   SLICE_ARG(segment));
        return -1;
    }
    if (slice_find(segment, '?') >= 0 || slice_find(segment, '#') >= 0) {
        conf_error(r->conf, r->node, "`%.*s`: the query is no part of the path; match it with `query`",
                   SLICE_ARG(segment));
        return -1;
    }
    int rc = normalise_literal(r, segment, &text);
    if (rc < 0 || (segment.len > 0 && text.len == 0)) {
        conf_error(r->conf, r->node, rc == -ERR_MEMORY ? "out of memory" : "`%.*s` is no valid path segment",
                   SLICE_ARG(segment));
        return -1;
    }
    r->pattern->segments[r->pattern->count++] = (struct segment){ SEGMENT_LITERAL, text };
    return 0;
}
