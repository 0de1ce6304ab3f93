/*
 * Latencies in logarithmic buckets, as HdrHistogram does it:
 *
 *     0 .. 127        one bucket for each nanosecond
 *     each doubling   128 buckets, so a bucket is at most 1/128 (0.8 %) wide
 *
 * Adding is a shift and an increment, so it can be done for each request; no sample is kept
 * and none is lost, whatever its size.
 */
#pragma once

#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 7,
    HISTOGRAM_SUB = 1 << HISTOGRAM_SUB_BITS,
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB,
};

/* Owned by whoever declares it; all zeros is an empty one. One thread. */
struct histogram {
    uint64_t count;
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value_ns);

/* The value that the share `quantile` (0 to 1) of all samples does not exceed: the middle of
 * its bucket, and never more than the largest sample. 0 when there is none. */
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);
