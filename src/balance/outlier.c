/*
 * Counting, ejecting, and letting back.
 */
#include "balance/outlier.h"

#include <math.h>

#include "balance/blame.h"
#include "base/assert.h"
#include "base/sys.h"
#include "observe/log.h"

/* IS_CHANGING: one thread takes it out, or lets it back; others leave it alone. */
enum { IS_IN, IS_OUT, IS_CHANGING };

const char *const outlier_reason_words[OUTLIER_REASONS] = {
    [OUTLIER_5XX] = "consecutive_5xx",
    [OUTLIER_GATEWAY] = "consecutive_gateway_failures",
    [OUTLIER_LOCAL] = "consecutive_local_failures",
    [OUTLIER_SUCCESS_RATE] = "success_rate",
    [OUTLIER_FAILURE_PERCENTAGE] = "failure_percentage",
};

static unsigned read_count(const atomic_uint *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

uint32_t outlier_most(const struct outlier_conf *conf, uint32_t targets)
{
    if (targets <= 1)
        return 0;
    uint32_t most = (uint32_t)((double)targets * conf->max_ejected_percent / 100);
    return MIN(MAX(most, 1u), targets);
}

/* ---- out and back ---- */

static bool change(struct outlier_state *state, unsigned from)
{
    unsigned expected = from;
    return atomic_compare_exchange_strong_explicit(&state->ejected, &expected, IS_CHANGING, memory_order_acquire,
                                                   memory_order_relaxed);
}

static bool take_room(struct outlier_shared *shared, uint32_t most)
{
    unsigned ejected = read_count(&shared->ejected);
    while (ejected < most)
        if (atomic_compare_exchange_weak_explicit(&shared->ejected, &ejected, ejected + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    return false;
}

static uint64_t ejection_ms(const struct outlier_conf *conf, unsigned ejections)
{
    uint64_t most_ms = (uint64_t)conf->max_ejection_ms, base_ms = (uint64_t)conf->base_ejection_ms;
    return MIN(base_ms * ejections, most_ms);
}

static bool eject(struct target *target, const struct outlier_conf *conf, uint32_t targets, enum outlier_reason reason,
                  uint64_t now_ns, uint64_t *ret_for_ms)
{
    struct outlier_state *state = &target->outlier;
    struct outlier_shared *shared = &target->cluster->outlier;
    if (read_count(&state->ejected) != IS_IN || !take_room(shared, outlier_most(conf, targets)))
        return false;
    if (!change(state, IS_IN)) {
        atomic_fetch_sub_explicit(&shared->ejected, 1, memory_order_relaxed);
        return false;
    }
    unsigned ejections = read_count(&state->ejections) + 1;
    *ret_for_ms = ejection_ms(conf, ejections);
    atomic_store_explicit(&state->ejections, ejections, memory_order_relaxed);
    atomic_store_explicit(&state->until_ns, now_ns + *ret_for_ms * 1000000, memory_order_relaxed);
    (void)target_bar(target, BAR_EJECTED, now_ns);
    atomic_fetch_add_explicit(&shared->ejections[reason], 1, memory_order_relaxed);
    atomic_store_explicit(&state->ejected, IS_OUT, memory_order_release);
    return true;
}

static void forget_streaks(struct outlier_state *state)
{
    atomic_store_explicit(&state->streak_5xx, 0, memory_order_relaxed);
    atomic_store_explicit(&state->streak_gateway, 0, memory_order_relaxed);
    atomic_store_explicit(&state->streak_local, 0, memory_order_relaxed);
    atomic_store_explicit(&state->streak_cut, 0, memory_order_relaxed);
}

bool outlier_uneject(struct target *target, uint64_t now_ns)
{
    struct outlier_state *state = &target->outlier;
    if (!change(state, IS_OUT))
        return false;
    forget_streaks(state);
    (void)target_unbar(target, BAR_EJECTED, now_ns);
    atomic_fetch_sub_explicit(&target->cluster->outlier.ejected, 1, memory_order_relaxed);
    atomic_store_explicit(&state->ejected, IS_IN, memory_order_release);
    return true;
}

void outlier_forget(struct target *target)
{
    if (read_count(&target->outlier.ejected) == IS_OUT)
        atomic_fetch_sub_explicit(&target->cluster->outlier.ejected, 1, memory_order_relaxed);
}

/* ---- failures in a row ---- */

static void add_counts(struct outlier_state *state, bool all, bool failed)
{
    atomic_fetch_add_explicit(&state->counts, (unsigned long long)failed << 32 | all, memory_order_relaxed);
}

static bool add_to_streak(atomic_uint *streak, int64_t most)
{
    return most > 0 && atomic_fetch_add_explicit(streak, 1, memory_order_relaxed) + 1 >= (uint64_t)most;
}

/* A line that nobody writes stays in every worker's cache. */
static void end_streak(atomic_uint *streak)
{
    if (read_count(streak) != 0)
        atomic_store_explicit(streak, 0, memory_order_relaxed);
}

/* Adds it to the rows that it belongs to; false: none is full. */
static bool note_failure(struct outlier_state *state, const struct outlier_conf *conf, enum blame blame,
                         unsigned status, enum outlier_reason *ret_reason)
{
    bool full = false;
    if (blame == BLAME_LOCAL && conf->split_local) {
        *ret_reason = OUTLIER_LOCAL;
        return add_to_streak(&state->streak_local, conf->consecutive_local);
    }
    if (conf->split_local)
        end_streak(&state->streak_local);
    if (status >= 502 && status <= 504) {
        *ret_reason = OUTLIER_GATEWAY;
        full = add_to_streak(&state->streak_gateway, conf->consecutive_gateway);
    } else {
        end_streak(&state->streak_gateway);
    }
    if (!add_to_streak(&state->streak_5xx, conf->consecutive_5xx))
        return full;
    *ret_reason = OUTLIER_5XX;
    return true;
}

/* Its own head, which was fine, has ended all other rows. */
static bool note_cut(struct outlier_state *state, const struct outlier_conf *conf, enum outlier_reason *ret_reason)
{
    if (!add_to_streak(&state->streak_cut, conf->split_local ? conf->consecutive_local : conf->consecutive_5xx))
        return false;
    *ret_reason = conf->split_local ? OUTLIER_LOCAL : OUTLIER_5XX;
    return true;
}

static void tell_of_row(const struct target *target, const struct outlier_conf *conf, enum outlier_reason reason,
                        uint64_t for_ms)
{
    static const char *const what[] = {
        [OUTLIER_5XX] = "failures", [OUTLIER_GATEWAY] = "gateway failures", [OUTLIER_LOCAL] = "tries without an answer"
    };
    int64_t most = reason == OUTLIER_5XX       ? conf->consecutive_5xx
                   : reason == OUTLIER_GATEWAY ? conf->consecutive_gateway
                                               : conf->consecutive_local;
    log_warning("outlier", "target %s of `%s` is ejected for %.1f s: %lld %s in a row", target->name,
                target->cluster->name, (double)for_ms / 1000, (long long)most, what[reason]);
}

bool outlier_judge(struct target *target, const struct outlier_conf *conf, uint32_t targets,
                   const struct outcome *outcome)
{
    struct outlier_state *state = &target->outlier;
    enum blame blame = outcome_blame(outcome);
    enum outlier_reason reason;
    uint64_t for_ms;
    if (blame == BLAME_UNSAID)
        return false;
    add_counts(state, !outcome->again, blame != BLAME_PRAISE);
    if (blame == BLAME_PRAISE) {
        end_streak(&state->streak_5xx);
        end_streak(&state->streak_gateway);
        end_streak(&state->streak_local);
        return false;
    }
    bool full = note_failure(state, conf, blame, outcome_status(outcome), &reason);
    if (outcome->again && note_cut(state, conf, &reason))
        full = true;
    if (!full || !eject(target, conf, targets, reason, outcome->now_ns, &for_ms))
        return false;
    tell_of_row(target, conf, reason, for_ms);
    return true;
}

void outlier_whole(struct target *target)
{
    end_streak(&target->outlier.streak_cut);
}

/* ---- the interval ---- */

uint32_t outlier_sweep(const struct target_set *set, uint64_t now_ns)
{
    uint32_t back = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        struct target *target = set->slots[i].target;
        if (read_count(&target->outlier.ejected) != IS_OUT ||
            now_ns < atomic_load_explicit(&target->outlier.until_ns, memory_order_relaxed))
            continue;
        if (!outlier_uneject(target, now_ns))
            continue;
        log_notice("outlier", "target %s of `%s` is let back", target->name, target->cluster->name);
        back++;
    }
    return back;
}

static double success_rate(const struct target *target)
{
    return 100 - 100.0 * target->outlier.last_failed / target->outlier.last_all;
}

/* What the rates of those with enough requests come to. */
struct rates {
    uint32_t targets;
    double mean, deviation;
};

static struct rates rates_of(const struct target_set *set, int64_t min_requests)
{
    struct rates rates = { 0, 0, 0 };
    double squares = 0;
    for (uint32_t i = 0; i < set->count; i++)
        if (set->slots[i].target->outlier.last_all >= min_requests) {
            rates.mean += success_rate(set->slots[i].target);
            rates.targets++;
        }
    if (rates.targets == 0)
        return rates;
    rates.mean /= rates.targets;
    for (uint32_t i = 0; i < set->count; i++)
        if (set->slots[i].target->outlier.last_all >= min_requests) {
            double off = success_rate(set->slots[i].target) - rates.mean;
            squares += off * off;
        }
    rates.deviation = sqrt(squares / rates.targets);
    return rates;
}

/* Below what success rate targets are ejected, for which reason, and how many requests they must have had. */
struct bound {
    enum outlier_reason reason;
    double below;
    bool or_at; /* the bound itself is too low already */
    int64_t min_requests;
    struct rates rates;
};

static int compare_rates(const void *a, const void *b)
{
    double x = success_rate(*(struct target *const *)a), y = success_rate(*(struct target *const *)b);
    return (x > y) - (x < y);
}

static void tell_of_rate(const struct target *target, const struct bound *bound, uint64_t for_ms)
{
    const struct outlier_state *state = &target->outlier;
    if (bound->reason == OUTLIER_SUCCESS_RATE)
        log_warning(
            "outlier",
            "target %s of `%s` is ejected for %.1f s: %.1f %% of %u tries succeeded, below %.1f %%; the mean is "
            "%.1f %%",
            target->name, target->cluster->name, (double)for_ms / 1000, success_rate(target), state->last_all,
            bound->below, bound->rates.mean);
    else
        log_warning("outlier", "target %s of `%s` is ejected for %.1f s: %u of %u tries failed", target->name,
                    target->cluster->name, (double)for_ms / 1000, state->last_failed, state->last_all);
}

static uint32_t eject_below(const struct target_set *set, const struct outlier_conf *conf, const struct bound *bound,
                            uint64_t now_ns)
{
    struct target **worst = mem_alloc((set->count + 1) * sizeof(struct target *));
    uint32_t count = 0, ejected = 0;
    for (uint32_t i = 0; worst && i < set->count; i++) {
        struct target *target = set->slots[i].target;
        if (target->outlier.last_all < bound->min_requests)
            continue;
        double rate = success_rate(target);
        if (rate < bound->below || (bound->or_at && rate <= bound->below))
            worst[count++] = target;
    }
    if (count > 1)
        qsort(worst, count, sizeof(struct target *), compare_rates);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t for_ms;
        if (!eject(worst[i], conf, set->count, bound->reason, now_ns, &for_ms))
            continue;
        tell_of_rate(worst[i], bound, for_ms);
        ejected++;
    }
    mem_free(worst);
    return ejected;
}

static void close_interval(const struct target_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        struct outlier_state *state = &set->slots[i].target->outlier;
        unsigned long long counts = atomic_exchange_explicit(&state->counts, 0, memory_order_relaxed);
        state->last_all = (uint32_t)counts;
        state->last_failed = MIN((uint32_t)(counts >> 32), state->last_all); /* of some the head was counted before */
        unsigned ejections = read_count(&state->ejections);
        if (read_count(&state->ejected) == IS_IN && ejections > 0)
            atomic_store_explicit(&state->ejections, ejections - 1, memory_order_relaxed);
    }
}

uint32_t outlier_evaluate(const struct target_set *set, const struct outlier_conf *conf, uint64_t now_ns)
{
    const struct outlier_success_rate *success = &conf->success_rate;
    const struct outlier_failure_percentage *failure = &conf->failure_percentage;
    uint32_t ejected = 0;
    close_interval(set);
    if (success->stdev_factor > 0) {
        struct rates rates = rates_of(set, success->min_requests);
        const struct bound bound = { OUTLIER_SUCCESS_RATE, rates.mean - rates.deviation * success->stdev_factor, false,
                                     success->min_requests, rates };
        if (rates.targets >= success->min_targets)
            ejected += eject_below(set, conf, &bound, now_ns);
    }
    if (failure->threshold_percent > 0) {
        struct rates rates = rates_of(set, failure->min_requests);
        const struct bound bound = { OUTLIER_FAILURE_PERCENTAGE, 100 - failure->threshold_percent, true,
                                     failure->min_requests, rates };
        if (rates.targets >= failure->min_targets)
            ejected += eject_below(set, conf, &bound, now_ns);
    }
    return ejected;
}
