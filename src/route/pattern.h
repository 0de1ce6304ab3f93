/*
 * Path templates and prefixes as routes are written with: "/users/{id}", "/files/{rest...}", prefix "/api".
 *
 * A pattern is a list of segments.  Literal text is brought into the form that uri_normalise gives request paths, so
 * that the two compare as bytes.  "/a/" ends in an empty literal segment and differs from "/a"; in a prefix the last
 * slash does not count.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"

struct conf;
struct conf_node;

enum { PATTERN_SEGMENTS_MAX = 64, PATTERN_CAPTURES_MAX = 16, SEGMENT_BYTES_MAX = 1024 };

enum segment_kind { SEGMENT_LITERAL, SEGMENT_PARAM, SEGMENT_REST };

struct segment {
    enum segment_kind kind;
    struct slice text; /* the normalised literal (in the conf's arena), or the name (in the pattern's text) */
};
struct pattern {
    struct segment segments[PATTERN_SEGMENTS_MAX];
    struct slice captures[PATTERN_CAPTURES_MAX]; /* names, in the order of the path */
    unsigned count, capture_count;
};

/* Control thread. 0, or -1 after conf_error at `node`. */
MUST_USE int pattern_parse_template(struct conf *conf, const struct conf_node *node, const char *text,
                                    struct pattern *ret_pattern);
MUST_USE int pattern_parse_prefix(struct conf *conf, const struct conf_node *node, const char *text,
                                  struct pattern *ret_pattern);
