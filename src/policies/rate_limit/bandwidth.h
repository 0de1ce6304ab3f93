/*
 * Bytes a second: a bucket of bytes that all bodies of a key drink from.  Over any window of w at most burst + w * rate
 * bytes pass.
 */
#pragma once

#include <stdint.h>

struct bandwidth {
    uint64_t bytes_per_s; /* 0: no limit */
    uint64_t burst_bytes;
};

enum { BANDWIDTH_PIECE = 16384 }; /* what is waited for, so that a slow body does not dribble by the byte */

/* How many of the `wanted` bytes (more than 0) may pass now: they are taken. When none may, *ret_wait_ns is the time
 * until a piece may. `word` as in a token bucket (algorithm.h). */
uint64_t bandwidth_take(const struct bandwidth *bandwidth, uint64_t *word, uint64_t now_ns, uint64_t wanted,
                        uint64_t *ret_wait_ns);
