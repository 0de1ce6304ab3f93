/*
 * The table of algorithms, and what follows from it.
 */
#include "jose/algorithm.h"

#include "base/assert.h"

static const struct jose_algorithm_info algorithms[] = {
#define X(name, kind, hash, curve, pss) [ALG_##name] = { #name, kind, hash, curve, pss },
    JOSE_ALGORITHMS(X)
#undef X
};

const struct jose_algorithm_info *jose_algorithm_info(enum jose_algorithm algorithm)
{
    ENSURE((unsigned)algorithm < JOSE_ALGORITHM_COUNT);
    return &algorithms[algorithm];
}

bool jose_algorithm_find(struct slice name, enum jose_algorithm *ret_algorithm)
{
    for (unsigned i = 0; i < JOSE_ALGORITHM_COUNT; i++)
        if (slice_eq(name, slice_from(algorithms[i].name))) {
            *ret_algorithm = (enum jose_algorithm)i;
            return true;
        }
    return false;
}

uint32_t jose_algorithms_of(enum jwk_kind kind, enum jwk_curve curve)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < JOSE_ALGORITHM_COUNT; i++)
        if (algorithms[i].kind == kind && (algorithms[i].curve == CURVE_NONE || algorithms[i].curve == curve))
            bits |= jose_algorithm_bit((enum jose_algorithm)i);
    return bits;
}

unsigned jose_hash_bytes(enum jose_hash hash)
{
    static const uint8_t bytes[JOSE_HASHES] = { [HASH_SHA256] = 32, [HASH_SHA384] = 48, [HASH_SHA512] = 64 };
    ENSURE((unsigned)hash < JOSE_HASHES);
    return bytes[hash];
}

unsigned jwk_curve_bytes(enum jwk_curve curve)
{
    static const uint8_t bytes[] = { [CURVE_NONE] = 0,  [CURVE_P256] = 32,    [CURVE_P384] = 48,
                                     [CURVE_P521] = 66, [CURVE_ED25519] = 32, [CURVE_ED448] = 57 };
    ENSURE((unsigned)curve < ARRAY_LEN(bytes));
    return bytes[curve];
}
