/*
 * Verdicts of active checks. The model is what HAProxy (rise, fall, fastinter) and Envoy (thresholds, a first probe
 * that decides alone) have in common.
 */
#include "balance/health.h"

#include "balance/target.h"
#include "base/assert.h"
#include "base/rng.h"

enum health_change health_note(struct health_state *state, const struct health_pace *pace, bool passed)
{
    if (!state->known) {
        state->known = true;
        state->failing = !passed;
        state->against = 0;
        return passed ? HEALTH_BECAME_WELL : HEALTH_BECAME_ILL;
    }
    if (passed != state->failing) {
        state->against = 0;
        return HEALTH_SAME;
    }
    int64_t enough = state->failing ? pace->healthy_after : pace->unhealthy_after;
    if (++state->against < enough)
        return HEALTH_SAME;
    state->against = 0;
    state->failing = !passed;
    return passed ? HEALTH_BECAME_WELL : HEALTH_BECAME_ILL;
}

/* Evenly drawn, so that the mean stays the interval and probers that began together drift apart. */
static uint64_t spread_wait(int64_t wait_ms, double percent, struct rng *rng)
{
    int64_t most_ms = (int64_t)((double)wait_ms * percent / 100);
    if (most_ms > 0 && most_ms < INT32_MAX)
        wait_ms += (int64_t)rng_below(rng, (uint32_t)(2 * most_ms + 1)) - most_ms;
    return (uint64_t)MAX(wait_ms, (int64_t)1);
}

uint64_t health_wait_ms(const struct health_state *state, const struct health_pace *pace, struct rng *rng)
{
    bool in_transition = state->against > 0;
    return spread_wait(in_transition ? pace->fast_interval_ms : pace->interval_ms, pace->jitter_percent, rng);
}

uint64_t health_first_wait_ms(const struct health_pace *pace, struct rng *rng)
{
    int64_t within_ms = MIN(pace->fast_interval_ms, (int64_t)INT32_MAX);
    return 1 + (within_ms > 0 ? rng_below(rng, (uint32_t)within_ms) : 0);
}

const char *health_kind_word(enum health_kind kind)
{
    static const char *const words[] = {
        [HEALTH_LIVENESS] = "liveness", [HEALTH_READINESS] = "readiness", [HEALTH_AGENT] = "agent"
    };
    return words[kind];
}

static bool fails(const struct target *target, enum health_kind kind)
{
    const struct health_state *state = &target->health.checks[kind];
    return state->known && state->failing;
}

bool health_is_ill(const struct target *target)
{
    return fails(target, HEALTH_LIVENESS) || target->agent.down;
}

static void set_bar(struct target *target, enum health_kind kind, uint64_t now_ns)
{
    if (kind == HEALTH_AGENT)
        return; /* that it cannot be asked bars nothing */
    unsigned bar = kind == HEALTH_LIVENESS ? BAR_UNHEALTHY : BAR_UNREADY;
    if (kind == HEALTH_LIVENESS ? health_is_ill(target) : fails(target, kind))
        (void)target_bar(target, bar, now_ns);
    else
        (void)target_unbar(target, bar, now_ns);
}

enum health_change target_probed(struct target *target, enum health_kind kind, const struct health_pace *pace,
                                 bool passed, uint64_t now_ns)
{
    enum health_change change = health_note(&target->health.checks[kind], pace, passed);
    if (change != HEALTH_SAME)
        set_bar(target, kind, now_ns);
    if (change == HEALTH_BECAME_WELL && kind == HEALTH_LIVENESS)
        (void)outlier_uneject(target, now_ns);
    return change;
}

void target_checked(struct target *target, enum health_kind kind)
{
    target->health.checks[kind].checkers++;
}

void target_unchecked(struct target *target, enum health_kind kind, uint64_t now_ns)
{
    struct health_state *state = &target->health.checks[kind];
    ENSURE(state->checkers > 0);
    if (--state->checkers > 0)
        return;
    *state = (struct health_state){ 0 };
    set_bar(target, kind, now_ns);
    if (kind == HEALTH_AGENT)
        target_agent_forget(target, now_ns);
}
