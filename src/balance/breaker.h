/*
 * A circuit breaker: whether to try at all. One stands before an upstream as a whole, one before each target.
 *
 *               too many failures                     open_for is over
 *      closed ---------------------> open ----------------------------> half-open
 *        ^                            ^ ^        one probe failed          |
 *        |                            | +----------------------------------+
 *        |   ramp is over             |  too many failures                 | all probes succeeded
 *        +---------------------- ramping <---------------------------------+
 *
 * All of the state is one word: since when, how often it opened in a row, and which state. A transition is one
 * compare-and-swap, so that exactly one worker makes it (and tells of it). In half-open a second word counts the probes
 * that are out and those that succeeded; it is tagged with the state's time, so that nobody has to reset it. A try
 * counts as a probe by when it started: nothing else is let through then.
 *
 * A probe that never comes back holds its place for one `open_for`; then the place is given anew. One that was
 * cancelled gives it back at once.
 *
 * Pure: the time is given. Relaxed atomics, any worker.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "balance/breaker_conf.h"
#include "balance/window.h"

struct outcome;

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_RAMPING };

struct breaker {
    _Alignas(64) atomic_ullong word;
    atomic_ullong probes;
    atomic_uint streak;             /* failures in a row */
    atomic_uint streak_cut;         /* answers that broke off, with none in between that came whole */
    atomic_ullong opened, rejected; /* ever */
    struct window failures, slow;
};

/* Why it opened. */
enum breaker_cause { BREAKER_RATIO, BREAKER_STREAK, BREAKER_SLOW, BREAKER_PROBE };

/* What changed, for whoever has to tell. */
struct breaker_news {
    bool changed;
    enum breaker_state now;
    enum breaker_cause cause; /* of opening */
    struct window_sum sum;    /* of BREAKER_RATIO and BREAKER_SLOW; `bad` alone of BREAKER_STREAK */
    uint64_t open_ms;         /* of opening: how long */
};

enum { BREAKER_ONE = 1 << 16 }; /* all of the traffic */

/* May one more try begin? Makes the transitions that are due. In half-open a probe's place is taken, which the
 * outcome, or breaker_release, gives back. It does not draw lots while it ramps: breaker_share says the odds. */
bool breaker_admits(struct breaker *breaker, const struct breaker_conf *conf, uint64_t now_ns,
                    struct breaker_news *ret_news);
/* Of BREAKER_ONE: less than all only while it ramps. */
uint32_t breaker_share(const struct breaker *breaker, const struct breaker_conf *conf, uint64_t now_ns);
/* How a try went. */
void breaker_judge(struct breaker *breaker, const struct breaker_conf *conf, const struct outcome *outcome,
                   struct breaker_news *ret_news);
/* An answer came whole. */
static inline void breaker_whole(struct breaker *breaker)
{
    if (atomic_load_explicit(&breaker->streak_cut, memory_order_relaxed) != 0)
        atomic_store_explicit(&breaker->streak_cut, 0, memory_order_relaxed);
}
/* A try ended that was not judged: if it was a probe, another may take its place. */
void breaker_release(struct breaker *breaker, uint64_t started_ns);
/* Until it may let a probe through; 0 when it is not open, or that time has come. */
uint64_t breaker_wait_ms(const struct breaker *breaker, const struct breaker_conf *conf, uint64_t now_ns);
/* As it is now: open no longer than its time, ramping no longer than its time. */
enum breaker_state breaker_state_at(const struct breaker *breaker, const struct breaker_conf *conf, uint64_t now_ns);
/* As if nothing had been: its settings have gone. */
void breaker_forget(struct breaker *breaker);

/* As it was left by the last who looked. */
static inline enum breaker_state breaker_state(const struct breaker *breaker)
{
    return (enum breaker_state)(atomic_load_explicit(&breaker->word, memory_order_relaxed) & 3);
}
