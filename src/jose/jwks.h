/*
 * A set of keys (RFC 7517, 5), and the text that it is read from: control reads and checks it, and each worker builds
 * keys of its own from the same text (verify.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "jose/jwk.h"

struct arena;

enum { JWKS_BYTES_MAX = 256 << 10, JWKS_KEYS_MAX = 128 };

struct jwks {
    struct jwk *keys; /* those that are of use */
    unsigned count, unusable;
    const char *why;    /* of the first that is of no use; or why there is no set. Static text */
    unsigned why_index; /* which that is */
    bool has_private;
};

/* `allowed`: bits of algorithms; keys that fit none of them are left out. A lone key without a set around it is a set
 * of one. 0; -ERR_BAD_BODY when the text is no set, `why` tells; -ERR_MEMORY. */
MUST_USE int jwks_parse(struct arena *arena, struct slice text, uint32_t allowed, struct jwks *ret_jwks);
