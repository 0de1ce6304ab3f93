/*
 * A signed token in the compact serialization of JWS (RFC 7515, 7.1), taken apart but not checked yet.
 *
 *      BASE64URL(header) "." BASE64URL(payload) "." BASE64URL(signature)
 *
 * Of the header only alg, kid, typ, crit and b64 are read.  Whatever a token brings along to be checked with (jwk, jku,
 * x5u, x5c) is never looked at: keys come from the configuration alone.
 */
#pragma once

#include "base/slice.h"
#include "jose/algorithm.h"
#include "jose/fault.h"

struct arena;

enum {
    JWS_BYTES_DEFAULT = 8192,
    JWS_BYTES_MAX = 65536,
    JWS_HEADER_BYTES_MAX = 4096, /* decoded */
    JWS_KID_MAX = 256,
};

/* Slices point into the token's text and into the arena. */
struct jws {
    struct slice signed_text; /* header and payload with the point between them, as they came */
    struct slice payload;     /* decoded */
    struct slice signature;   /* decoded */
    struct slice key_id;      /* at == NULL: none */
    struct slice type;        /* `typ`; at == NULL: none */
    enum jose_algorithm algorithm;
};

/* `allowed`: bits of the algorithms that may be. A token with another one is refused before anything is computed. */
enum jose_fault jws_parse(struct arena *arena, struct slice text, size_t bytes_max, uint32_t allowed,
                          struct jws *ret_jws);
/* Is `typ` that type? "application/" may be left out on both sides, case does not count (RFC 7515, 4.1.9). */
bool jws_type_is(const struct jws *jws, struct slice wanted);
