/* A small fast generator (xoshiro256**) for choices that need no secrecy: jitter, sampling, random picks. Seeded from
 * sys->random. */
#pragma once

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_init(struct rng *rng);                /* from sys->random */
void rng_seed(struct rng *rng, uint64_t seed); /* repeatable, for tests */
uint64_t rng_next(struct rng *rng);
uint32_t rng_below(struct rng *rng, uint32_t bound); /* 0 <= n < bound, unbiased; bound > 0 */
