/*
 * The signature algorithms of JOSE (RFC 7518, 3; RFC 8037) that there are here.  There is no `none`.
 *
 * Which of them a token may use is said by the configuration, as a set of bits; what the token says is only compared
 * with it.  An algorithm fits one kind of key and no other, so a public key is never taken for a secret.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum jwk_kind { JWK_RSA, JWK_EC, JWK_OKP, JWK_SECRET };
enum jwk_curve { CURVE_NONE, CURVE_P256, CURVE_P384, CURVE_P521, CURVE_ED25519, CURVE_ED448 };
enum jose_hash { HASH_NONE, HASH_SHA256, HASH_SHA384, HASH_SHA512, JOSE_HASHES };

/*   name   kind        hash         curve       PSS */
#define JOSE_ALGORITHMS(X)                                                                                             \
    X(RS256, JWK_RSA, HASH_SHA256, CURVE_NONE, false)                                                                  \
    X(RS384, JWK_RSA, HASH_SHA384, CURVE_NONE, false)                                                                  \
    X(RS512, JWK_RSA, HASH_SHA512, CURVE_NONE, false)                                                                  \
    X(PS256, JWK_RSA, HASH_SHA256, CURVE_NONE, true)                                                                   \
    X(PS384, JWK_RSA, HASH_SHA384, CURVE_NONE, true)                                                                   \
    X(PS512, JWK_RSA, HASH_SHA512, CURVE_NONE, true)                                                                   \
    X(ES256, JWK_EC, HASH_SHA256, CURVE_P256, false)                                                                   \
    X(ES384, JWK_EC, HASH_SHA384, CURVE_P384, false)                                                                   \
    X(ES512, JWK_EC, HASH_SHA512, CURVE_P521, false)                                                                   \
    X(EdDSA, JWK_OKP, HASH_NONE, CURVE_NONE, false)                                                                    \
    X(HS256, JWK_SECRET, HASH_SHA256, CURVE_NONE, false)                                                               \
    X(HS384, JWK_SECRET, HASH_SHA384, CURVE_NONE, false)                                                               \
    X(HS512, JWK_SECRET, HASH_SHA512, CURVE_NONE, false)

enum jose_algorithm {
#define X(name, kind, hash, curve, pss) ALG_##name,
    JOSE_ALGORITHMS(X)
#undef X
        JOSE_ALGORITHM_COUNT
};

struct jose_algorithm_info {
    const char *name;
    uint8_t kind;  /* enum jwk_kind */
    uint8_t hash;  /* enum jose_hash */
    uint8_t curve; /* enum jwk_curve; CURVE_NONE: any of the kind */
    bool pss;
};

const struct jose_algorithm_info *jose_algorithm_info(enum jose_algorithm algorithm);
/* By its exact name: names of algorithms count with case. */
bool jose_algorithm_find(struct slice name, enum jose_algorithm *ret_algorithm);
static inline uint32_t jose_algorithm_bit(enum jose_algorithm algorithm)
{
    return (uint32_t)1 << algorithm;
}
/* Those that a key of that kind and curve could check. */
uint32_t jose_algorithms_of(enum jwk_kind kind, enum jwk_curve curve);
unsigned jose_hash_bytes(enum jose_hash hash);
/* Of a coordinate, or of r and s: 32, 48, 66; of the OKP curves the length of a public key. */
unsigned jwk_curve_bytes(enum jwk_curve curve);
