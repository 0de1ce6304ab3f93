/*
 * Breakers around a pick.
 */
#include "balance/circuits.h"

#include "base/assert.h"
#include "observe/log.h"

static const char *cause_text(const struct breaker_news *news, const struct breaker_conf *conf, char *text, size_t size)
{
    const struct window_sum *sum = &news->sum;
    double window_s = (double)conf->window_ms / 1000;
    switch (news->cause) {
    case BREAKER_RATIO:
        (void)snprintf(text, size, "%u of %u tries failed (%.0f %%) in %.1f s", sum->bad, sum->all,
                       100.0 * sum->bad / sum->all, window_s);
        break;
    case BREAKER_SLOW:
        (void)snprintf(text, size, "%u of %u answers took longer than %lld ms (%.0f %%) in %.1f s", sum->bad, sum->all,
                       (long long)conf->latency.above_ms, 100.0 * sum->bad / sum->all, window_s);
        break;
    case BREAKER_STREAK:
        (void)snprintf(text, size, "%u failures in a row", sum->bad);
        break;
    case BREAKER_PROBE:
        (void)snprintf(text, size, "a probe failed");
        break;
    }
    return text;
}

/* `target` NULL: the upstream's. */
static void tell(const struct breaker_news *news, const struct breaker_conf *conf, const struct cluster *cluster,
                 const struct target *target)
{
    char why[160];
    const char *of = target ? "target " : "all targets", *name = target ? target->name : "";
    switch (news->now) {
    case BREAKER_OPEN:
        log_warning("circuit", "the circuit to %s%s of `%s` is open for %.1f s: %s", of, name, cluster->name,
                    (double)news->open_ms / 1000, cause_text(news, conf, why, sizeof why));
        break;
    case BREAKER_HALF_OPEN:
        log_notice("circuit", "the circuit to %s%s of `%s` is half open: %lld probes at once are let through", of, name,
                   cluster->name, (long long)conf->probes);
        break;
    case BREAKER_RAMPING:
        log_notice("circuit", "the circuit to %s%s of `%s` closes: its probes succeeded; all requests in %.1f s", of,
                   name, cluster->name, (double)conf->ramp_ms / 1000);
        break;
    case BREAKER_CLOSED:
        log_notice("circuit", "the circuit to %s%s of `%s` is closed", of, name, cluster->name);
        break;
    }
}

bool circuit_decides(struct cluster *cluster, const struct breaker_conf *conf, uint64_t now_ns, struct rng *rng)
{
    struct breaker_news news;
    bool admitted = breaker_admits(&cluster->breaker, conf, now_ns, &news);
    if (news.changed)
        tell(&news, conf, cluster, NULL);
    if (admitted) {
        uint32_t share = breaker_share(&cluster->breaker, conf, now_ns);
        admitted = share == BREAKER_ONE || rng_below(rng, BREAKER_ONE) < share;
    }
    if (!admitted)
        atomic_fetch_add_explicit(&cluster->breaker.rejected, 1, memory_order_relaxed);
    return admitted;
}

bool circuit_decides_target(struct target *target, const struct breaker_conf *conf, uint64_t now_ns)
{
    struct breaker_news news;
    bool admitted = breaker_admits(&target->breaker, conf, now_ns, &news);
    if (news.changed)
        tell(&news, conf, target->cluster, target);
    return admitted;
}

void circuits_decide(struct target *target, const struct balance_conf *conf, const struct outcome *outcome)
{
    struct breaker_news news;
    if (conf->circuit_breaker) {
        breaker_judge(&target->cluster->breaker, conf->circuit_breaker, outcome, &news);
        if (news.changed)
            tell(&news, conf->circuit_breaker, target->cluster, NULL);
    }
    if (!conf->target_circuit_breaker)
        return;
    breaker_judge(&target->breaker, conf->target_circuit_breaker, outcome, &news);
    if (!news.changed)
        return;
    if (news.now == BREAKER_OPEN)
        (void)target_bar(target, BAR_TRIPPED, outcome->now_ns);
    tell(&news, conf->target_circuit_breaker, target->cluster, target);
}

void circuits_release(struct target *target, const struct balance_conf *conf, uint64_t started_ns)
{
    if (conf->circuit_breaker)
        breaker_release(&target->cluster->breaker, started_ns);
    if (conf->target_circuit_breaker)
        breaker_release(&target->breaker, started_ns);
}

/*
 * Whoever opened a breaker sets the bar a moment later, and with it the epoch moves: so a look always follows. A bar
 * that came late, when the breaker was half-open again, goes with that look.
 *
 * An exchange of before a reload may eject a target although nobody would let it back any more: so does this look.
 */
uint64_t circuits_look(const struct target_set *set, const struct balance_conf *conf, uint64_t now_ns)
{
    const struct breaker_conf *breaker = conf->target_circuit_breaker;
    uint64_t next_ns = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        struct target *target = set->slots[i].target;
        unsigned barred = target_barred(target);
        if ((barred & BAR_EJECTED) && !conf->outlier)
            (void)outlier_uneject(target, now_ns);
        if (!(barred & BAR_TRIPPED))
            continue;
        uint64_t wait_ms = breaker ? breaker_wait_ms(&target->breaker, breaker, now_ns) : 0;
        if (wait_ms > 0) {
            uint64_t due_ns = now_ns + wait_ms * 1000000;
            next_ns = next_ns ? MIN(next_ns, due_ns) : due_ns;
            continue;
        }
        if (!breaker)
            breaker_forget(&target->breaker);
        (void)target_unbar(target, BAR_TRIPPED, now_ns);
    }
    return next_ns;
}
