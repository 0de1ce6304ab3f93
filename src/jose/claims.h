/*
 * The claims of a token whose signature is good (RFC 7519, 4), and the rules of time, issuer and audience over them.
 *
 * Times are whole seconds since 1970; a fraction is cut off.  What is no number, does not fit, or is below zero is
 * malformed and refused: nothing is guessed, and nothing overflows.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "jose/fault.h"

struct arena;
struct json;

enum { CLAIM_ENTRIES_MAX = 1024, CLAIM_DEPTH_MAX = 16 };

struct claims {
    struct arena *arena;
    const struct json *root;                   /* an object */
    int64_t expires_s, not_before_s, issued_s; /* -1: not there */
    struct slice issuer, subject, id, session; /* at == NULL: not there */
};

/* `text` must stay; the rest is in the arena. JOSE_CLAIMS, JOSE_MEMORY. */
enum jose_fault claims_parse(struct arena *arena, struct slice text, struct claims *ret_claims);
/* By name, or, where there is none of that name and it has points, by the path that they divide: "realm_access.roles".
 * NULL. `name` is terminated. */
const struct json *claims_find(const struct json *root, const char *name);

struct claim_rules {
    int64_t skew_s;
    int64_t lifetime_max_s; /* from iat to exp; 0: any */
    bool expiry_optional;
    const char *const *issuers; /* none: any */
    unsigned issuer_count;
    const char *const *audiences; /* none: any */
    unsigned audience_count;
};

/* All rules but those of the clock. */
enum jose_fault claims_check(const struct claims *claims, const struct claim_rules *rules);
/* Those of the clock, which a token that was taken once has to pass each time. */
enum jose_fault claims_check_times(int64_t expires_s, int64_t not_before_s, int64_t issued_s, int64_t skew_s,
                                   int64_t now_s);
