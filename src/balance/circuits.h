/*
 * The breakers that stand around a pick: one before the upstream, one before each target.
 *
 *      upstream's      asked before anything is chosen; while it ramps, lots decide
 *      target's        open is a bar, so that groups and algorithms see it; in half-open it is asked once the target
 *                      has been chosen, as a permit is; the ramp is part of the target's share
 *
 * What opens, half-opens and closes is told in the log, once, by the worker that made it so.
 */
#pragma once

#include "balance/balance.h"
#include "balance/breaker.h"

bool circuit_decides(struct cluster *cluster, const struct breaker_conf *conf, uint64_t now_ns, struct rng *rng);
bool circuit_decides_target(struct target *target, const struct breaker_conf *conf, uint64_t now_ns);

/* May a try begin at all? */
static inline bool circuit_admits(struct cluster *cluster, const struct balance_conf *conf, uint64_t now_ns,
                                  struct rng *rng)
{
    return !conf->circuit_breaker || breaker_state(&cluster->breaker) == BREAKER_CLOSED ||
           circuit_decides(cluster, conf->circuit_breaker, now_ns, rng);
}
/* Of the target that was chosen. */
static inline bool circuit_admits_target(struct target *target, const struct balance_conf *conf, uint64_t now_ns)
{
    return !conf->target_circuit_breaker || breaker_state(&target->breaker) == BREAKER_CLOSED ||
           circuit_decides_target(target, conf->target_circuit_breaker, now_ns);
}
void circuits_decide(struct target *target, const struct balance_conf *conf, const struct outcome *outcome);
static inline void circuits_judge(struct target *target, const struct balance_conf *conf, const struct outcome *outcome)
{
    if (conf->circuit_breaker || conf->target_circuit_breaker)
        circuits_decide(target, conf, outcome);
}
/* An answer came whole. */
static inline void circuits_whole(struct target *target, const struct balance_conf *conf)
{
    if (conf->circuit_breaker)
        breaker_whole(&target->cluster->breaker);
    if (conf->target_circuit_breaker)
        breaker_whole(&target->breaker);
}
/* A try that was let through was not judged. */
void circuits_release(struct target *target, const struct balance_conf *conf, uint64_t started_ns);
/* Looks at all targets: those whose breakers have been open long enough may be picked again, and bars that no setting
 * stands behind any more go. When the next look is due; 0: never. */
uint64_t circuits_look(const struct target_set *set, const struct balance_conf *conf, uint64_t now_ns);
