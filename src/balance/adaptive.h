/*
 * A limit on requests that finds itself: how many a service can work on at once, seen from how long its answers take.
 *
 * Every so many answers (a round) the limit moves:
 *
 *      gradient = base / now              how much of the time is work rather than waiting in the service
 *      limit   -> limit * gradient + sqrt(limit)
 *
 * `now` is the mean of the round's times to the head. `base` is what they take when little waits: in 2 of 12 rounds the
 * limit is lowered by twice the queue that it allows, which drains that queue and hardly touches the
 * work, and the second of the two is measured. So the base follows a service that has become slower for good, and a
 * queue that stands for ever is not taken for the service's own time. Nothing is throttled to a minimum to measure.
 *
 * With c servers the limit settles where c + sqrt(limit) = limit. It grows only while at least half of it is used. The
 * form is that of TCP Vegas and of gradient limits; the base by partial draining is our own.
 *
 * Pure: times are given. Relaxed atomics, any worker; who completes a round moves the limit, alone.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct outcome;

struct adaptive_conf {
    int64_t min, max, initial;
};
extern const struct conf_struct adaptive_schema;

struct adaptive {
    _Alignas(64) atomic_uint limit; /* 0: nothing is known yet */
    atomic_uint samples;            /* of this round */
    atomic_ullong sum_us;           /* of their times */
    atomic_uint most;               /* in flight during it */
    atomic_bool moving;
    /* of who moves it */
    double estimate; /* the limit, with its fraction and without the draining */
    double base_us, now_us;
    uint32_t round;
};

/* What counts now: within the settings' bounds. */
uint32_t adaptive_limit(const struct adaptive *adaptive, const struct adaptive_conf *conf);
/* How a try went; `in_flight` with it. True when the limit has risen, and more may begin. */
bool adaptive_judge(struct adaptive *adaptive, const struct adaptive_conf *conf, const struct outcome *outcome,
                    uint32_t in_flight);
