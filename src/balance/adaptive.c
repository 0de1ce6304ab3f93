/*
 * Moving the limit.
 */
#include "balance/adaptive.h"

#include <math.h>

#include "balance/balance.h"
#include "base/assert.h"

enum {
    SAMPLES_MIN = 50, /* of a round: the mean of exponential times is then within 14 % */
    ROUNDS = 12,      /* of an epoch; the last two are drained */
    DRAINED_FROM = ROUNDS - 2,
};

static const double DRAIN_ROOTS = 2;    /* roots of the limit by which it is lowered: more than the one it allows */
static const double GRADIENT_MIN = 0.5; /* a round of bad luck halves it at most */
static const double SMOOTHING = 0.5;    /* of both the limit and the base: the new one's part */

static bool is_drained(const struct adaptive *a)
{
    return a->round % ROUNDS >= DRAINED_FROM;
}

uint32_t adaptive_limit(const struct adaptive *adaptive, const struct adaptive_conf *conf)
{
    int64_t limit = atomic_load_explicit(&adaptive->limit, memory_order_relaxed);
    if (limit == 0)
        limit = conf->initial;
    return (uint32_t)(limit < conf->min ? conf->min : MIN(limit, conf->max));
}

static double bounded(double limit, const struct adaptive_conf *conf)
{
    return fmin(fmax(limit, (double)conf->min), (double)conf->max);
}

static void measure(struct adaptive *a, double mean_us)
{
    if (a->base_us == 0)
        a->base_us = mean_us;
    else if (a->round % ROUNDS == ROUNDS - 1)
        a->base_us += SMOOTHING * (mean_us - a->base_us);
    else if (mean_us < a->base_us) /* it can be done faster than that: no need to wait for the measurement */
        a->base_us += SMOOTHING / 4 * (mean_us - a->base_us);
    a->now_us = mean_us;
}

static void follow(struct adaptive *a, const struct adaptive_conf *conf, uint32_t most)
{
    double gradient = fmin(fmax(a->base_us / a->now_us, GRADIENT_MIN), 1);
    double wanted = a->estimate * gradient + sqrt(a->estimate);
    if (wanted > a->estimate && most < a->estimate / 2)
        return; /* it was not used: nothing is known of more */
    a->estimate = bounded(a->estimate + SMOOTHING * (wanted - a->estimate), conf);
}

/* True when it has risen. */
static bool end_round(struct adaptive *a, const struct adaptive_conf *conf)
{
    double count = atomic_exchange_explicit(&a->samples, 0, memory_order_relaxed);
    double sum = (double)atomic_exchange_explicit(&a->sum_us, 0, memory_order_relaxed);
    uint32_t most = atomic_exchange_explicit(&a->most, 0, memory_order_relaxed);
    if (a->estimate == 0)
        a->estimate = (double)conf->initial;
    if (count > 0) {
        measure(a, fmax(sum / count, 1));
        if (!is_drained(a))
            follow(a, conf, most);
    }
    a->round++;
    double limit = is_drained(a) ? bounded(a->estimate - DRAIN_ROOTS * sqrt(a->estimate), conf) : a->estimate;
    unsigned now = (unsigned)fmax(limit, 1), before = atomic_load_explicit(&a->limit, memory_order_relaxed);
    atomic_store_explicit(&a->limit, now, memory_order_relaxed);
    return now > before;
}

/* Errors come fast, and say nothing of how long work takes; a try that timed out does. */
static bool tells(const struct outcome *outcome)
{
    if (outcome->again)
        return false;
    if (outcome->err == ERR_NONE)
        return outcome->status < 500 && outcome->status != 429;
    return outcome->err == ERR_RESPONSE_TIMEOUT || outcome->err == ERR_TRY_TIMEOUT;
}

bool adaptive_judge(struct adaptive *adaptive, const struct adaptive_conf *conf, const struct outcome *outcome,
                    uint32_t in_flight)
{
    if (!tells(outcome) || outcome->now_ns < outcome->started_ns)
        return false;
    uint64_t us = (outcome->now_ns - outcome->started_ns) / 1000;
    atomic_fetch_add_explicit(&adaptive->sum_us, us, memory_order_relaxed);
    if (in_flight > atomic_load_explicit(&adaptive->most, memory_order_relaxed))
        atomic_store_explicit(&adaptive->most, in_flight, memory_order_relaxed);
    unsigned count = atomic_fetch_add_explicit(&adaptive->samples, 1, memory_order_relaxed) + 1;
    if (count < MAX((unsigned)SAMPLES_MIN, adaptive_limit(adaptive, conf)) ||
        atomic_exchange_explicit(&adaptive->moving, true, memory_order_acquire))
        return false;
    bool risen = end_round(adaptive, conf);
    atomic_store_explicit(&adaptive->moving, false, memory_order_release);
    return risen;
}
