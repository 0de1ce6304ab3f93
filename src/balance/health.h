/*
 * What active checks know of a target: from single probes to a verdict, and when the next probe is due.
 *
 *                 unhealthy_after failures in a row
 *      unknown --first probe--> passing  <------------------------------>  failing
 *                                          healthy_after passes in a row
 *
 * A target counts as well until its first probe says otherwise, and that first one decides alone, both ways: nobody
 * should wait for three probes to learn that a new target is not there. While probes contradict the verdict the next
 * one comes faster. Pure: no clock, no socket; who probes stands in control/health.c.
 *
 * Owner: part of a target, so that a reload keeps it; the control thread's, but for what it sets in target->barred.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rng;
struct target;

/* Two questions that are asked apart: is it alive (or to be given up), and does it want work now? And what its agent
 * says (agent.h), whose verdict is no more than that it can be asked. */
enum health_kind { HEALTH_LIVENESS, HEALTH_READINESS, HEALTH_AGENT, HEALTH_KINDS };

/* How often, and after how many probes in a row the verdict changes. */
struct health_pace {
    int64_t interval_ms;      /* from one probe's start to the next one's */
    int64_t fast_interval_ms; /* the same while probes contradict the verdict */
    int64_t timeout_ms;       /* of a probe */
    int64_t unhealthy_after, healthy_after;
    double jitter_percent; /* each wait is drawn from so much less to so much more */
};

enum health_change { HEALTH_SAME, HEALTH_BECAME_WELL, HEALTH_BECAME_ILL };

/* Of one kind of check on one target. */
struct health_state {
    uint64_t due_ms;     /* of the next probe, by the control loop's clock; 0: at the next opportunity */
    uint32_t against;    /* probes in a row that contradict the verdict */
    uint32_t checkers;   /* who probes it now: with the last one it is forgotten */
    bool known, failing; /* `failing` says something once it is known */
};

struct target_health {
    struct health_state checks[HEALTH_KINDS];
};

/* A probe has passed or failed. */
enum health_change health_note(struct health_state *state, const struct health_pace *pace, bool passed);
/* Until the next probe, counted from the start of the one before. At least 1. */
uint64_t health_wait_ms(const struct health_state *state, const struct health_pace *pace, struct rng *rng);
/* For a first probe: anywhere within the fast interval, so that a thousand targets are not asked in one moment. */
uint64_t health_first_wait_ms(const struct health_pace *pace, struct rng *rng);

/* Given up by its liveness check or by its agent. */
bool health_is_ill(const struct target *target);
/* "liveness", "readiness", "agent": for logs and labels. */
const char *health_kind_word(enum health_kind kind);

/* Notes the probe on the target and sets or clears its bar. One that is alive again is no outlier any more. */
enum health_change target_probed(struct target *target, enum health_kind kind, const struct health_pace *pace,
                                 bool passed, uint64_t now_ns);
/* A prober begins to ask this of the target, or ceases to. When nobody asks any more, what was known is forgotten and
 * bars nothing. */
void target_checked(struct target *target, enum health_kind kind);
void target_unchecked(struct target *target, enum health_kind kind, uint64_t now_ns);
