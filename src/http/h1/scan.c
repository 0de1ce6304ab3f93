/*
 * Finding the end of a head, 32 or 16 bytes at a time.  Only line feeds matter: a head ends with the first one that
 * follows CR LF CR, or with the first that follows no CR, which the parser then refuses.  The few line feeds of a head
 * are picked out of a bit mask; what stands before one is in the buffer already, so a scan resumes exactly where it
 * stopped.
 */
#include "http/h1/parse.h"

#include <stdint.h>

#include "base/assert.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

enum { AVX2_BYTES_MIN = 256 }; /* below, SSE2 is as fast */

/* Does the line feed at buf[i] end the head? */
static inline bool ends_head(const char *buf, size_t i)
{
    if (i == 0 || buf[i - 1] != '\r')
        return true;
    return i == 1 || buf[i - 2] == '\n';
}

static size_t scan_bytes(const char *buf, size_t from, size_t len)
{
    for (size_t i = from; i < len; i++) {
        if (buf[i] == '\n' && ends_head(buf, i))
            return i + 1;
    }
    return 0;
}

#ifdef __SSE2__
static inline size_t scan_mask(const char *buf, size_t at, uint32_t mask)
{
    for (; mask != 0; mask &= mask - 1) {
        size_t i = at + (size_t)__builtin_ctz(mask);
        if (ends_head(buf, i))
            return i + 1;
    }
    return 0;
}

static size_t scan_sse2(const char *buf, size_t from, size_t len)
{
    const __m128i feed = _mm_set1_epi8('\n');

    for (; len - from >= 16; from += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(buf + from));
        size_t end = scan_mask(buf, from, (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, feed)));
        if (end != 0)
            return end;
    }
    return scan_bytes(buf, from, len);
}

/* Whole steps of 32 bytes; *from is how far they went.  Returns between the two widths, so that the upper halves of the
 * registers are cleared before SSE goes on: without that, each of its instructions waits for them (120 ns instead of 10
 * a head). */
__attribute__((target("avx2"), noinline)) static size_t scan_avx2(const char *buf, size_t *from, size_t len)
{
    const __m256i feed = _mm256_set1_epi8('\n');
    size_t at = *from;

    for (; len - at >= 32; at += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(buf + at));
        size_t end = scan_mask(buf, at, (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, feed)));
        if (end != 0)
            return end;
    }
    *from = at;
    return 0;
}
#endif

size_t h1_scan(const char *buf, size_t len, size_t *scanned)
{
    size_t from = *scanned;

    ENSURE(from <= len);
    *scanned = len;
#ifdef __SSE2__
    if (len - from >= AVX2_BYTES_MIN && __builtin_cpu_supports("avx2")) {
        size_t end = scan_avx2(buf, &from, len);
        if (end != 0)
            return end;
    }
    return scan_sse2(buf, from, len);
#else
    return scan_bytes(buf, from, len);
#endif
}
