/*
 * SipHash-1-3 keyed once a process: safe against chosen keys, for every table that a peer can fill and for consistent
 * choices.  hash_stable is unkeyed (xxh-like mixing of our own), the same in every process and version: for placement
 * that several gateways must agree on.
 */
#pragma once

#include <stdint.h>

#include "base/slice.h"

void hash_seed(void); /* once, at start */
uint64_t hash_bytes(struct slice bytes);
uint64_t hash_stable(struct slice bytes, uint64_t seed);
static inline uint64_t hash_mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    x ^= x >> 33;
    return x;
}
