/*
 * Keys ready for use on one thread, and the check of a signature.
 *
 *      jwks (text, checked) --jose_keys_new, on each worker--> jose_keys --jws_verify(jws)--> JOSE_OK
 *
 * A key is tried when it may be used with the token's algorithm, and its `kid` is the token's or one of both has none.
 * At most JOSE_TRIES_MAX keys are tried for a token, so a set of many keys without a `kid` costs no more.
 *
 * Owner: whoever made it; one thread, that of its library.
 */
#pragma once

#include "jose/fault.h"
#include "jose/jwks.h"
#include "jose/token.h"

struct jose_keys;
struct jose_library;

enum { JOSE_TRIES_MAX = 4 };

/* Keys that the library refuses (a point off its curve) are left out and counted. -ERR_MEMORY. */
MUST_USE int jose_keys_new(struct jose_library *library, const struct jwks *jwks, struct jose_keys **ret_keys);
void jose_keys_free(struct jose_keys *keys);
unsigned jose_keys_count(const struct jose_keys *keys);

/* JOSE_OK; JOSE_UNKNOWN_KEY: no key is there that could be tried; JOSE_SIGNATURE; JOSE_MEMORY. */
enum jose_fault jws_verify(const struct jose_keys *keys, const struct jws *jws);
