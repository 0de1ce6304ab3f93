/*
 * A rolling window: how many of the last while, and how many of those were bad. Ten buckets, each a word that says
 * which tenth of the window it is for; the one under way and the nine before it count.
 *
 *      word    tenth (20 bits) | bad (22 bits) | all (22 bits)
 *
 * Lock-free and shared by workers: a count is one addition while the tenth lasts. A bucket that is full (four million)
 * counts no further. What is lost when a bucket changes hands harms nobody.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { WINDOW_TENTHS = 10 };

struct window {
    atomic_ullong buckets[WINDOW_TENTHS];
};

struct window_sum {
    uint32_t all, bad;
};

/* Counts one of all, or a bad one, or one that is both. `tenth_ms` is above 0. */
void window_add(struct window *window, uint64_t tenth_ms, uint64_t now_ms, bool all, bool bad);
struct window_sum window_sum(const struct window *window, uint64_t tenth_ms, uint64_t now_ms);
void window_clear(struct window *window);
