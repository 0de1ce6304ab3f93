/*
 * Two hashes of bytes.  hash_bytes is SipHash-1-3 (Aumasson and Bernstein, 2012, with one and three rounds): without
 * the key nobody can choose names that collide.  hash_stable has no key and never changes, whatever the machine's byte
 * order.
 */
#include "base/hash.h"

#include <endian.h>

#include "base/sys.h"

static struct {
    uint64_t k0, k1;
} key; /* written once, before threads start */

void hash_seed(void)
{
    sys->random(&key, sizeof(key));
}

static inline uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static inline uint64_t load_le(const char *at)
{
    uint64_t x;
    memcpy(&x, at, sizeof(x));
    return le64toh(x);
}

/* The last zero to seven bytes, little-endian, zeros above. */
static inline uint64_t load_tail(const char *at, size_t len)
{
    uint64_t x = 0;
    for (size_t i = 0; i < len; i++)
        x |= (uint64_t)(unsigned char)at[i] << (8 * i);
    return x;
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] = rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] = rotl(v[2], 32);
}

uint64_t hash_bytes(struct slice bytes)
{
    uint64_t v[4] = {
        key.k0 ^ 0x736f6d6570736575ull,
        key.k1 ^ 0x646f72616e646f6dull,
        key.k0 ^ 0x6c7967656e657261ull,
        key.k1 ^ 0x7465646279746573ull,
    };
    size_t whole = bytes.len & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word = load_le(bytes.at + i);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)bytes.len << 56 | load_tail(bytes.at + whole, bytes.len & 7);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Each word is mixed before it is folded in, so that words which differ in few bits differ everywhere; rotation and an
 * odd multiplier make the order of words count. */
uint64_t hash_stable(struct slice bytes, uint64_t seed)
{
    const uint64_t odd = 0x9e3779b97f4a7c15ull;
    uint64_t h = hash_mix(seed ^ 0x2545f4914f6cdd1dull) ^ (uint64_t)bytes.len * odd;
    size_t whole = bytes.len & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8)
        h = rotl(h ^ hash_mix(load_le(bytes.at + i) + odd), 29) * odd;
    h = rotl(h ^ hash_mix(load_tail(bytes.at + whole, bytes.len & 7) + odd), 29) * odd;
    return hash_mix(h);
}
