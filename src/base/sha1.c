/*
 * SHA-1 of a message that is there as a whole, as RFC 3174 writes it down: blocks of 64 bytes, eighty steps each, the
 * schedule kept in a ring of sixteen words.
 */
#include "base/sha1.h"

enum { BLOCK_BYTES = 64, LENGTH_BYTES = 8, STEPS = 80 };

static uint32_t rotate(uint32_t x, unsigned by)
{
    return x << by | x >> (32 - by);
}

static uint32_t word_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* RFC 3174 5: f and K of a step. */
static uint32_t mix(unsigned step, uint32_t b, uint32_t c, uint32_t d)
{
    switch (step / 20) {
    case 0:
        return ((b & c) | (~b & d)) + 0x5a827999;
    case 1:
        return (b ^ c ^ d) + 0x6ed9eba1;
    case 2:
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    default:
        return (b ^ c ^ d) + 0xca62c1d6;
    }
}

static void take_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t w[16], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];

    for (unsigned i = 0; i < 16; i++)
        w[i] = word_at(block + (size_t)4 * i);
    for (unsigned i = 0; i < STEPS; i++) {
        if (i >= 16)
            w[i & 15] = rotate(w[(i + 13) & 15] ^ w[(i + 8) & 15] ^ w[(i + 2) & 15] ^ w[i & 15], 1);
        uint32_t next = rotate(a, 5) + mix(i, b, c, d) + e + w[i & 15];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void sha1(struct slice bytes, uint8_t ret_digest[SHA1_BYTES])
{
    uint32_t state[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
    uint8_t last[2 * BLOCK_BYTES] = { 0 };
    size_t whole = bytes.len / BLOCK_BYTES * BLOCK_BYTES, rest = bytes.len - whole;
    uint64_t bits = (uint64_t)bytes.len * 8;

    for (size_t at = 0; at < whole; at += BLOCK_BYTES)
        take_block(state, (const uint8_t *)bytes.at + at);
    if (rest > 0)
        memcpy(last, bytes.at + whole, rest);
    last[rest] = 0x80;
    size_t len = rest + 1 + LENGTH_BYTES > BLOCK_BYTES ? 2 * BLOCK_BYTES : BLOCK_BYTES;
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        last[len - 1 - i] = (uint8_t)(bits >> (8 * i));
    for (size_t at = 0; at < len; at += BLOCK_BYTES)
        take_block(state, last + at);
    for (unsigned i = 0; i < SHA1_BYTES; i++)
        ret_digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
