/*
 * How long a target takes, as all workers know it together: a moving average of its answers, and how long those that
 * are in flight have been waiting.
 *
 *      average     of the time to an answer's head; each sample weighs as much as the time since the last one is of
 *                  the decay time, so that a burst of answers does not outvote the ten seconds before it. Without
 *                  news it decays towards nothing: a target that was slow is tried again.
 *      open        the number of tries that wait for an answer and the sum of their starts in one word, so that a
 * reader never sees one without the other: from both follows their mean age. A target that hangs looks as slow as it is
 *                  before its first answer is late.
 *
 * A failure counts as a slow answer, however fast it came, and twice as slow as the average in a row: a target that
 * fails at once is no fast target. Relaxed atomics; a lost sample harms nobody.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct response_time {
    _Alignas(64) atomic_ullong open; /* sum of starts in microseconds << 20 | how many; the sum wraps around */
    atomic_ullong average;           /* microseconds << 32 | when it was noted, in milliseconds, wrapping around */
};

void response_time_began(struct response_time *times, uint64_t started_ns);
/* An answer's head came, or none will. With the same start as it began. */
void response_time_ended(struct response_time *times, uint64_t started_ns);
void response_time_note(struct response_time *times, uint64_t took_ns, bool failed, uint64_t now_ns);
/* What the next answer may take, in microseconds: the average as it has decayed, or the mean age of those in flight
 * when that is more; at least 100, so that among targets that are as good as immediate, or unknown, the number of
 * requests in flight decides. */
uint64_t response_time_expected_us(const struct response_time *times, uint64_t now_ns);
