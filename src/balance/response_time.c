/*
 * Integer arithmetic on two packed words.
 */
#include "balance/response_time.h"

#include "base/assert.h"

enum {
    OPEN_BITS = 20,      /* a million in flight on one target */
    HALF_LIFE_MS = 6931, /* to 1/e in ten seconds */
    EXPECTED_MIN_US = 100,
    FAILED_MIN_US = 1000000,    /* what a failure counts as, at least */
    AVERAGE_MAX_US = 120000000, /* a failing target is tried again after a few minutes at the latest */
};

static uint64_t open_word(uint64_t started_ns)
{
    return started_ns / 1000 << OPEN_BITS | 1;
}

void response_time_began(struct response_time *times, uint64_t started_ns)
{
    atomic_fetch_add_explicit(&times->open, open_word(started_ns), memory_order_relaxed);
}

void response_time_ended(struct response_time *times, uint64_t started_ns)
{
    atomic_fetch_sub_explicit(&times->open, open_word(started_ns), memory_order_relaxed);
}

/* Halves once a half-life, and in a straight line in between. */
static uint64_t decayed(uint64_t value, uint32_t after_ms)
{
    uint32_t halves = after_ms / HALF_LIFE_MS, rest = after_ms % HALF_LIFE_MS;
    if (halves >= 32)
        return 0;
    value >>= halves;
    return value - value * rest / (2 * HALF_LIFE_MS);
}

static uint64_t average_us(uint64_t word)
{
    return word >> 32;
}

/* Clocks of workers differ by a turn of the loop: what seems to come from the future was now. */
static uint32_t age_ms(uint64_t word, uint64_t now_ns)
{
    uint32_t age = (uint32_t)(now_ns / 1000000) - (uint32_t)word;
    return age > INT32_MAX ? 0 : age;
}

void response_time_note(struct response_time *times, uint64_t took_ns, bool failed, uint64_t now_ns)
{
    unsigned long long word = atomic_load_explicit(&times->average, memory_order_relaxed);
    uint64_t sample_us = took_ns / 1000 + 1, before_us = average_us(word);
    if (failed)
        sample_us = MAX(sample_us, MAX(2 * before_us, (uint64_t)FAILED_MIN_US));
    sample_us = MIN(sample_us, (uint64_t)AVERAGE_MAX_US);
    uint32_t after_ms = age_ms(word, now_ns);
    after_ms = MAX(after_ms, 1u); /* many in one moment count for something */
    uint64_t kept_us = decayed(before_us, after_ms);
    uint64_t average = word == 0 ? sample_us : kept_us + sample_us - decayed(sample_us, after_ms);
    /* Another worker may have noted one of its own in between, which then stands for both. */
    (void)atomic_compare_exchange_strong_explicit(&times->average, &word, average << 32 | (uint32_t)(now_ns / 1000000),
                                                  memory_order_relaxed, memory_order_relaxed);
}

uint64_t response_time_expected_us(const struct response_time *times, uint64_t now_ns)
{
    uint64_t word = atomic_load_explicit(&times->average, memory_order_relaxed);
    uint64_t open = atomic_load_explicit(&times->open, memory_order_relaxed);
    uint64_t expected_us = MAX(decayed(average_us(word), age_ms(word, now_ns)), (uint64_t)EXPECTED_MIN_US);
    uint64_t count = open & ((UINT64_C(1) << OPEN_BITS) - 1);
    if (count == 0)
        return expected_us;
    /* Both sides are modulo 2^44, and the difference is far below that: 200 days. Above half of it, it is negative. */
    uint64_t age_sum_us = (count * (now_ns / 1000) << OPEN_BITS) - (open - count);
    age_sum_us = age_sum_us > INT64_MAX ? 0 : age_sum_us >> OPEN_BITS;
    return MAX(expected_us, age_sum_us / count);
}
