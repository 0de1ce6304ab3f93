/*
 * Outlier detection: targets that answer worse than they should are ejected for a while, by what real requests show.
 *
 *      failures in a row       noticed at once, by the worker that judged the last of them
 *      success rate            looked at each interval, by control: far below the mean of all
 *      failure percentage      the same: too high, whatever the others do
 *
 * An ejection lasts as long as the target has been ejected lately: the base time times the number of ejections, which
 * falls by one with each interval that it serves. Only so many targets may be out at once. The model is Envoy's.
 *
 * Relaxed atomics, any worker, but for what is marked as control's. State is part of the target and the cluster, so
 * that a reload keeps it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct cluster;
struct conf_struct;
struct outcome;
struct target;
struct target_set;

struct outlier_success_rate {
    int64_t min_targets, min_requests;
    double stdev_factor; /* 0: off */
};
struct outlier_failure_percentage {
    int64_t min_targets, min_requests;
    double threshold_percent; /* 0: off */
};

struct outlier_conf {
    bool on;
    int64_t interval_ms;
    int64_t consecutive_5xx, consecutive_gateway, consecutive_local; /* 0: off */
    bool split_local; /* failures without an answer are counted apart; else they count as 5xx */
    int64_t base_ejection_ms, max_ejection_ms;
    double max_ejected_percent;
    struct outlier_success_rate success_rate;
    struct outlier_failure_percentage failure_percentage;
};
extern const struct conf_struct outlier_schema; /* of outlier_conf */

enum outlier_reason {
    OUTLIER_5XX,
    OUTLIER_GATEWAY,
    OUTLIER_LOCAL,
    OUTLIER_SUCCESS_RATE,
    OUTLIER_FAILURE_PERCENTAGE,
    OUTLIER_REASONS
};
extern const char *const outlier_reason_words[OUTLIER_REASONS]; /* the configuration's */

/* Of one target. */
struct outlier_state {
    _Alignas(64) atomic_ullong counts; /* of the interval: failed << 32 | all */
    atomic_uint streak_5xx, streak_gateway, streak_local;
    atomic_uint streak_cut;         /* answers that broke off, with none in between that came whole */
    atomic_uint ejected;            /* enum, in outlier.c */
    atomic_uint ejections;          /* how often lately: the multiplier */
    atomic_ullong until_ns;         /* of the ejection */
    uint32_t last_all, last_failed; /* of the interval that is looked at; control's */
};

/* Of one upstream. */
struct outlier_shared {
    atomic_uint ejected;                      /* targets now */
    atomic_ullong ejections[OUTLIER_REASONS]; /* ever */
};

/* How many of so many targets may be out: the share, at least one, and never the only one. */
uint32_t outlier_most(const struct outlier_conf *conf, uint32_t targets);
/* A try was judged; ejects the target when it was the last straw. `targets`: in its set. True when it was ejected. */
bool outlier_judge(struct target *target, const struct outlier_conf *conf, uint32_t targets,
                   const struct outcome *outcome);
/* An answer came whole. */
void outlier_whole(struct target *target);
/* Lets those come back whose time is over. How many. */
uint32_t outlier_sweep(const struct target_set *set, uint64_t now_ns);
/* The end of an interval: ejects by success rate and failure percentage, the worst first; lowers multipliers; counts
 * begin anew. Control's. How many were ejected. */
uint32_t outlier_evaluate(const struct target_set *set, const struct outlier_conf *conf, uint64_t now_ns);
/* It comes back before its time. Harmless when it is not out. True when it was. */
bool outlier_uneject(struct target *target, uint64_t now_ns);
/* The target ends. */
void outlier_forget(struct target *target);
