/*
 * The logarithmic latency histogram; histogram.h draws the buckets. An index is made of the
 * position of the highest bit (the row) and the seven bits that follow it (the column), so
 * that indices rise with the values and a quantile is one walk over the counts.
 */
#include "histogram.h"

#include <assert.h>

static unsigned bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_SUB)
        return (unsigned)value;
    unsigned top = 63u - (unsigned)__builtin_clzll(value);
    unsigned shift = top - HISTOGRAM_SUB_BITS;
    return ((shift + 1) << HISTOGRAM_SUB_BITS) + (unsigned)((value >> shift) & (HISTOGRAM_SUB - 1));
}

static uint64_t bucket_middle(unsigned index)
{
    if (index < HISTOGRAM_SUB)
        return index;
    unsigned shift = (index >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t low = (uint64_t)(HISTOGRAM_SUB + (index & (HISTOGRAM_SUB - 1))) << shift;
    return low + (((uint64_t)1 << shift) >> 1);
}

void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
    unsigned index = bucket_of(value_ns);
    assert(index < HISTOGRAM_BUCKETS);
    histogram->buckets[index]++;
    histogram->count++;
    if (value_ns > histogram->max_ns)
        histogram->max_ns = value_ns;
}

uint64_t histogram_quantile(const struct histogram *histogram, double quantile)
{
    assert(quantile >= 0 && quantile <= 1);
    if (histogram->count == 0)
        return 0;
    uint64_t wanted = (uint64_t)(quantile * (double)histogram->count + 0.5);
    if (wanted == 0)
        wanted = 1;
    uint64_t seen = 0;
    for (unsigned index = 0; index < HISTOGRAM_BUCKETS; index++) {
        seen += histogram->buckets[index];
        if (seen >= wanted) {
            uint64_t value = bucket_middle(index);
            return value < histogram->max_ns ? value : histogram->max_ns;
        }
    }
    return histogram->max_ns;
}
