/*
 * A key as it stands in a JWK (RFC 7517, RFC 7518 6, RFC 8037): plain bytes, checked as far as that goes without
 * mathematics (verify.h builds the key itself and checks the rest).
 *
 * Only what is public, or a secret of HMAC, is read.  Certificates (x5c, x5u) are not looked at.
 */
#pragma once

#include "base/slice.h"
#include "jose/algorithm.h"

struct arena;
struct json;

enum {
    RSA_BITS_MIN = 2048,
    RSA_BITS_MAX = 8192, /* beyond it one check takes more time than a request may cost */
    SECRET_BYTES_LIMIT = 1024,
};

struct jwk {
    uint8_t kind;        /* enum jwk_kind */
    uint8_t curve;       /* enum jwk_curve */
    bool has_private;    /* its private part stands there too: it is not read, but has no business there */
    uint32_t algorithms; /* bits of those that it may be used with */
    struct slice key_id; /* at == NULL: none */
    struct slice n, e;   /* RSA, without leading zeros */
    struct slice x, y;   /* EC: coordinates in full length; OKP: x is the public key */
    struct slice secret;
};

enum jwk_outcome { JWK_USABLE, JWK_UNUSABLE, JWK_NO_MEMORY };
/* What stands in the arena, or in the JSON's text, must stay. `*ret_why`: why a key is of no use here, static text. */
enum jwk_outcome jwk_parse(struct arena *arena, const struct json *object, struct jwk *ret_jwk, const char **ret_why);
/* A secret of HMAC given as it is: usable with the hashes that are not longer than it (RFC 7518, 3.2). */
uint32_t jwk_secret_algorithms(struct slice secret);
