/*
 * The bucket of bytes.  Its word is the time when it is full again; a byte may take less than a nanosecond, so bytes
 * become time for all that is taken at once, rounded up.
 */
#include "policies/rate_limit/bandwidth.h"

#include "base/assert.h"
#include "policies/rate_limit/algorithm.h"

__extension__ typedef unsigned __int128 wide;

static uint64_t time_of(const struct bandwidth *b, uint64_t bytes)
{
    return (uint64_t)(((wide)bytes * NS_PER_S + b->bytes_per_s - 1) / b->bytes_per_s);
}

uint64_t bandwidth_take(const struct bandwidth *b, uint64_t *word, uint64_t now_ns, uint64_t wanted,
                        uint64_t *ret_wait_ns)
{
    ENSURE(wanted > 0 && b->bytes_per_s > 0);
    uint64_t depth = time_of(b, b->burst_bytes), owed = *word > now_ns ? *word - now_ns : 0;
    uint64_t there = owed >= depth ? 0 : (uint64_t)((wide)(depth - owed) * b->bytes_per_s / NS_PER_S);
    uint64_t piece = MIN(wanted, MIN(b->burst_bytes, (uint64_t)BANDWIDTH_PIECE));
    *ret_wait_ns = 0;
    if (there < piece) {
        *ret_wait_ns = owed + time_of(b, piece) - depth;
        return 0;
    }
    uint64_t granted = MIN(wanted, there);
    *word = now_ns + owed + time_of(b, granted);
    return granted;
}
