/*
 * Sticky sessions: a client comes back to the target that served it first, by a cookie.
 *
 * The cookie names a target by its mark: 64 bits of HMAC-SHA256 over upstream and address with the configured secret,
 * else of a hash that is the same in every gateway. It holds nothing about the client and needs no table: any gateway
 * with the same configuration understands it, and one that is made up names no target.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct address;
struct upstream_try;

enum same_site { SAME_SITE_LAX, SAME_SITE_STRICT, SAME_SITE_NONE, SAME_SITE_UNSAID };

struct sticky_conf {
    const char *cookie; /* its name; never NULL once loaded */
    int64_t ttl_ms;     /* 0: until the browser closes */
    const char *path, *domain;
    const char *secret; /* NULL: marks are not secret */
    int same_site;      /* enum same_site */
    bool secure, http_only, hide;
};
extern const struct conf_struct sticky_schema; /* of sticky_conf */

enum { MARK_DIGITS = 16 };

/* A target's mark; never 0. `conf` may be NULL: then it is 0. */
uint64_t sticky_mark(const struct sticky_conf *conf, const char *upstream_name, const struct address *address);
/* 0 for what is no mark. */
uint64_t sticky_parse(struct slice value);
void sticky_format(uint64_t mark, char ret_digits[MARK_DIGITS]);
/* Is the target of this open try the one that the mark names? */
bool sticky_served(const struct upstream_try *try_, uint64_t mark);
