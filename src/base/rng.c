/*
 * xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018).  Its state must not be
 * all zero, so a seed is spread over it by splitmix64, which never gives four zeros in a row.
 */
#include "base/rng.h"

#include "base/assert.h"
#include "base/sys.h"

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

void rng_seed(struct rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        rng->s[i] = splitmix(&seed);
}

void rng_init(struct rng *rng)
{
    uint64_t seed;
    sys->random(&seed, sizeof(seed));
    rng_seed(rng, seed);
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotl(s[3], 45);
    return result;
}

/* A 32-bit draw times the bound: the high half is the answer.  Draws whose low half is below 2^32 mod bound would make
 * some answers likelier than others and are thrown away (Lemire, "Fast random integer generation in an interval",
 * 2019). */
uint32_t rng_below(struct rng *rng, uint32_t bound)
{
    ENSURE(bound > 0);
    uint64_t product = (rng_next(rng) >> 32) * bound;
    if ((uint32_t)product < bound) {
        uint32_t uneven = -bound % bound;
        while ((uint32_t)product < uneven)
            product = (rng_next(rng) >> 32) * bound;
    }
    return (uint32_t)(product >> 32);
}
