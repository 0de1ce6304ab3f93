/*
 * URI pieces (RFC 3986) as routing needs them: percent-decoding, dot segments, authorities, query parameters.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"

struct arena;

/* Normalises a path for matching: percent-decodes unreserved characters, upper-cases the other escapes, resolves dot
 * segments, merges nothing. An escaped "/" stays escaped. -ERR_BAD_TARGET on bad escapes, NUL, or a path that climbs
 * above the root. Returns the input itself when nothing changes. */
MUST_USE int uri_normalise(struct arena *arena, struct slice path, struct slice *ret_path);
/* What a path may hold although services read it in more than one way. */
struct uri_rules {
    bool escaped_slashes; /* "%2F" and "%5C"; else they are refused */
    bool empty_segments;  /* "//"; else runs of slashes become one */
};
/* The one form in which a path is both matched and sent on: normalised, and by the rules. -ERR_BAD_TARGET for what
 * cannot be normalised, and for a dot segment that only some services would see: "..;x", "..%2F". */
MUST_USE int uri_settle(struct arena *arena, struct slice path, const struct uri_rules *rules, struct slice *ret_path);
/* Decodes every escape. -ERR_BAD_TARGET on a bad one. */
MUST_USE int uri_decode(struct arena *arena, struct slice text, struct slice *ret_text);
/* Next name=value of a query (not decoded); false at the end. */
bool uri_next_param(struct slice *rest, struct slice *ret_name, struct slice *ret_value);
/* "host[:port]": a name of letters, digits and "-._~", an IPv4 or an [IPv6]; no user info. A reg-name (RFC 3986) could
 * hold escapes and delimiters too, which no name in use does and which services read in more than one way. ret_port 0
 * when there is none. */
MUST_USE int uri_parse_authority(struct slice authority, struct slice *ret_host, uint16_t *ret_port);
/* Bytes that may stand in a request target's path and query as sent. */
bool uri_target_valid(struct slice target);
