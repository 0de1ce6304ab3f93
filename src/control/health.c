/*
 * The prober's clockwork: who is probed when, and what becomes of the answers.
 */
#include "control/health.h"

#include "base/assert.h"
#include "base/rng.h"
#include "base/sys.h"
#include "control/gateway.h"
#include "observe/log.h"
#include "observe/metrics.h"
#include "tls/tls.h"
#include "upstream/health_conf.h"
#include "upstream/probe.h"
#include "upstream/upstream.h"

enum { PROBES_MAX = 256 }; /* at once: each has a descriptor, and its answer costs the control thread some time */

enum { TO_UNHEALTHY, TO_HEALTHY, TRANSITIONS };

struct checked;

/* One kind of check on one target. */
struct checker {
    struct checked *checked;
    struct target *target; /* a reference */
    char *host;            /* the name that its address is one of; NULL: none */
    enum health_kind kind;
    struct timer timer;
    struct link turn;    /* due, and waits for its turn */
    struct probe *probe; /* NULL: none is under way */
    uint64_t started_ms; /* of the last probe */
    struct tls_layer *layer;
};

/* One kind of check on all targets of an upstream. */
struct checkers {
    const struct health_check_conf *conf; /* NULL: it is not asked for */
    struct checker **v;                   /* by the address of their targets */
    uint32_t count;
    struct series *results[PROBE_RESULT_COUNT], *transitions[TRANSITIONS];
};

/* An upstream with checks. */
struct checked {
    struct checked *next;
    struct health *health;
    struct upstream *upstream; /* held; its settings are */
    struct checkers kinds[HEALTH_KINDS];
    struct tls_material *material; /* what `context` was made of; held */
    struct tls_context *context;   /* NULL: plain, or not made yet */
    bool wanted;                   /* scratch of one health_follow */
};

struct health {
    struct gateway *gateway;
    struct loop *loop;
    struct tls_worker *tls; /* made for the first probe that needs it */
    struct checked *first;
    struct link turns; /* checkers that wait for theirs */
    unsigned running;
    struct rng rng;
};

static void on_due(struct timer *timer);

/* ---- figures ---- */

static struct health *watched;

static const struct metric_family results_family = {
    .name = "maitred_health_probes_total",
    .help = "Probes of health checks, by check (liveness, readiness, agent) and result.",
    .kind = METRIC_COUNTER,
    .labels = { "upstream", "check", "result" },
};
static const struct metric_family transitions_family = {
    .name = "maitred_health_transitions_total",
    .help = "Changes of what health checks say of a target, by check and direction (healthy, unhealthy).",
    .kind = METRIC_COUNTER,
    .labels = { "upstream", "check", "to" },
};
static const struct metric_family health_family = {
    .name = "maitred_target_health",
    .help = "1 while the check finds the target well, or has not asked it yet; 0 when it fails.",
    .kind = METRIC_GAUGE,
    .labels = { "upstream", "target", "check" },
};
static const struct metric_family share_family = {
    .name = "maitred_target_agent_share",
    .help = "What its agent lets a target take of its weight, 0 to 1.",
    .kind = METRIC_GAUGE,
    .labels = { "upstream", "target" },
};

static void collect_health(void *data, metric_emit *emit, void *ctx)
{
    for (const struct checked *checked = watched->first; checked; checked = checked->next)
        for (int kind = 0; kind < HEALTH_AGENT; kind++)
            for (uint32_t i = 0; i < checked->kinds[kind].count; i++) {
                const struct target *target = checked->kinds[kind].v[i]->target;
                const struct health_state *state = &target->health.checks[kind];
                const char *values[] = { upstream_name(checked->upstream), target->name,
                                         health_kind_word((enum health_kind)kind), NULL };
                emit(ctx, values, !(state->known && state->failing));
            }
}

static void collect_shares(void *data, metric_emit *emit, void *ctx)
{
    for (const struct checked *checked = watched->first; checked; checked = checked->next)
        for (uint32_t i = 0; i < checked->kinds[HEALTH_AGENT].count; i++) {
            struct target *target = checked->kinds[HEALTH_AGENT].v[i]->target;
            const char *values[] = { upstream_name(checked->upstream), target->name, NULL };
            emit(ctx, values, target_agent_share(target));
        }
}

static struct metric_source health_source = { &health_family, collect_health, NULL, NULL };
static struct metric_source share_source = { &share_family, collect_shares, NULL, NULL };

static void count_result(const struct checker *c, enum probe_result result)
{
    struct series **series = &c->checked->kinds[c->kind].results[result];
    const char *values[] = { upstream_name(c->checked->upstream), health_kind_word(c->kind), probe_result_word(result),
                             NULL };
    if (!*series)
        *series = series_get(&results_family, values);
    series_add(*series, c->checked->health->gateway->control.index, 1);
}

static void make_series(struct checked *checked, enum health_kind kind)
{
    static const char *const to_words[] = { [TO_UNHEALTHY] = "unhealthy", [TO_HEALTHY] = "healthy" };
    struct checkers *checkers = &checked->kinds[kind];
    for (int to = 0; to < TRANSITIONS; to++) {
        const char *values[] = { upstream_name(checked->upstream), health_kind_word(kind), to_words[to], NULL };
        checkers->transitions[to] = series_get(&transitions_family, values);
    }
}

/* ---- what becomes of a probe ---- */

struct idle_letter {
    struct letter letter;
    struct upstream *upstream; /* held */
    struct target *target;     /* held */
    unsigned worker;
};

static void deliver_idle(struct letter *letter, struct loop *loop)
{
    struct idle_letter *l = container_of(letter, struct idle_letter, letter);
    upstream_close_idle(l->upstream, l->worker, l->target);
    target_drop(l->target);
    upstream_drop(l->upstream);
    mem_free(l);
}

/* Idle connections to a target that is given up are of no use; the next one that serves should be a fresh one. */
static void close_idle(const struct checker *c)
{
    struct gateway *gateway = c->checked->health->gateway;
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        struct idle_letter *l = mem_alloc(sizeof *l);
        if (!l)
            return; /* they end with their time */
        *l = (struct idle_letter){ .letter.deliver = deliver_idle,
                                   .upstream = upstream_hold(c->checked->upstream),
                                   .target = target_hold(c->target),
                                   .worker = i };
        loop_post(&gateway->stations[i].worker.loop, &l->letter);
    }
}

static const char *probes_text(int64_t count, const char *one, const char *more, char ret_text[32])
{
    if (count == 1)
        (void)snprintf(ret_text, 32, "%s", one);
    else
        (void)snprintf(ret_text, 32, "%lld %s", (long long)count, more);
    return ret_text;
}

static void tell_ill(const struct checker *c, bool first, const char *why)
{
    char text[32];
    const struct health_pace *pace = &c->checked->kinds[c->kind].conf->pace;
    const char *name = upstream_name(c->checked->upstream);
    const char *is = c->kind == HEALTH_LIVENESS ? "unhealthy" : "not ready";
    if (first)
        log_warning("health", "target %s of `%s` is %s: its first probe failed: %s", c->target->name, name, is, why);
    else
        log_warning("health", "target %s of `%s` is %s: %s failed, the last: %s", c->target->name, name, is,
                    probes_text(pace->unhealthy_after, "a probe", "probes", text), why);
}

static void tell_well(const struct checker *c, bool first)
{
    char text[32];
    const struct health_pace *pace = &c->checked->kinds[c->kind].conf->pace;
    const char *name = upstream_name(c->checked->upstream);
    const char *is = c->kind == HEALTH_LIVENESS ? "healthy" : "ready";
    if (first)
        log_info("health", "target %s of `%s` is %s: its first probe passed", c->target->name, name, is);
    else
        log_notice("health", "target %s of `%s` is %s again: %s passed", c->target->name, name, is,
                   probes_text(pace->healthy_after, "a probe", "probes", text));
}

/* What an agent says is told when it changes something; that it cannot be asked, once. */
static void note_agent(const struct checker *c, const struct probe_report *report)
{
    uint64_t now_ns = c->checked->health->loop->now_ns;
    const char *name = upstream_name(c->checked->upstream), *target = c->target->name;
    const struct health_pace *pace = &c->checked->kinds[HEALTH_AGENT].conf->pace;
    bool passed = report->result == PROBE_PASSED, first = !c->target->health.checks[HEALTH_AGENT].known;
    enum health_change change = target_probed(c->target, HEALTH_AGENT, pace, passed, now_ns);
    if (change == HEALTH_BECAME_ILL)
        log_warning("health", "the agent of target %s of `%s` says nothing: %s; what it said last stands", target, name,
                    report->why);
    if (change == HEALTH_BECAME_WELL && !first)
        log_notice("health", "the agent of target %s of `%s` speaks again", target, name);
    if (!passed || !target_agent_said(c->target, &report->agent, now_ns))
        return;
    char text[AGENT_TEXT_MAX];
    log_notice("health", "the agent of target %s of `%s` says: %s%s%s", target, name,
               target_agent_text(c->target, text), report->agent.why[0] ? ": " : "", report->agent.why);
    if (c->target->agent.down)
        close_idle(c);
}

static void note(const struct checker *c, const struct probe_report *report)
{
    const struct health *health = c->checked->health;
    const struct checkers *checkers = &c->checked->kinds[c->kind];
    bool first = !c->target->health.checks[c->kind].known;
    enum health_change change =
        target_probed(c->target, c->kind, &checkers->conf->pace, report->result == PROBE_PASSED, health->loop->now_ns);
    if (change == HEALTH_BECAME_ILL) {
        series_add(checkers->transitions[TO_UNHEALTHY], health->gateway->control.index, 1);
        tell_ill(c, first, report->why);
        if (c->kind == HEALTH_LIVENESS)
            close_idle(c);
    } else if (change == HEALTH_BECAME_WELL) {
        if (!first) /* it counted as well before */
            series_add(checkers->transitions[TO_HEALTHY], health->gateway->control.index, 1);
        tell_well(c, first);
    }
}

/* ---- turns ---- */

static struct health_state *state_of(const struct checker *c)
{
    return &c->target->health.checks[c->kind];
}

static void arm(struct checker *c, uint64_t at_ms)
{
    struct loop *loop = c->checked->health->loop;
    state_of(c)->due_ms = MAX(at_ms, loop->now_ms + 1);
    timer_set(loop, &c->timer, state_of(c)->due_ms);
}

/* What was known before keeps its time, if that makes sense under the settings of now. */
static void arm_first(struct checker *c)
{
    struct health *health = c->checked->health;
    const struct health_pace *pace = &c->checked->kinds[c->kind].conf->pace;
    const struct health_state *state = state_of(c);
    uint64_t latest_ms = health->loop->now_ms + (uint64_t)pace->interval_ms;
    if (state->known)
        arm(c, MIN(state->due_ms, latest_ms));
    else
        arm(c, health->loop->now_ms + health_first_wait_ms(pace, &health->rng));
}

static void arm_next(struct checker *c)
{
    const struct health_pace *pace = &c->checked->kinds[c->kind].conf->pace;
    arm(c, c->started_ms + health_wait_ms(state_of(c), pace, &c->checked->health->rng));
}

/* ---- TLS ---- */

/* Of the certificates in force: made anew when those have changed. NULL: there is none, and none can be had. */
static struct tls_context *context_of(struct checked *checked)
{
    struct health *health = checked->health;
    struct tls_material *material = upstream_material(checked->upstream);
    struct tls_context *context;
    if (!material || material == checked->material)
        return checked->context;
    if (!health->tls)
        health->tls = tls_worker_new();
    if (!health->tls || tls_context_new(health->tls, material, &context) < 0)
        return checked->context;
    if (checked->context)
        tls_context_drop(checked->context);
    if (checked->material)
        tls_material_drop(checked->material);
    checked->context = context;
    checked->material = tls_material_hold(material);
    return context;
}

/* 0, or -ERR_MEMORY: there is no layer, and a plain connection will not do instead. */
static int secure(struct checker *c, const struct probe_order *order)
{
    if (!health_check_uses_tls(order->check, order->upstream))
        return 0;
    struct tls_context *context = context_of(c->checked);
    if (!context)
        return -ERR_MEMORY;
    if (!c->layer)
        return probe_layer_new(order, context, &c->layer);
    if (c->layer->context != context)
        tls_layer_use(c->layer, context);
    return 0;
}

/* ---- probes ---- */

static void start_next(struct health *health);

static void on_report(void *user, const struct probe_report *report)
{
    struct checker *c = user;
    struct health *health = c->checked->health;
    c->probe = NULL;
    health->running--;
    count_result(c, report->result);
    if (report->result != PROBE_GATEWAY && c->kind == HEALTH_AGENT)
        note_agent(c, report);
    else if (report->result != PROBE_GATEWAY)
        note(c, report);
    else
        log_warning("health_probe", "a probe of target %s of `%s` could not be sent: %s", c->target->name,
                    upstream_name(c->checked->upstream), report->why);
    arm_next(c);
    start_next(health);
}

static void start(struct checker *c)
{
    struct health *health = c->checked->health;
    struct probe_order order = {
        .upstream = upstream_settings(c->checked->upstream),
        .check = c->checked->kinds[c->kind].conf,
        .target = c->target,
        .host = c->host,
    };
    c->started_ms = health->loop->now_ms;
    if (secure(c, &order) == 0) {
        order.layer = c->layer;
        c->probe = probe_start(health->loop, &order, on_report, c);
    }
    if (c->probe) {
        health->running++;
        return;
    }
    count_result(c, PROBE_GATEWAY);
    arm_next(c);
}

static void start_next(struct health *health)
{
    while (health->running < PROBES_MAX && !list_empty(&health->turns)) {
        struct checker *c = container_of(health->turns.next, struct checker, turn);
        list_unlink(&c->turn);
        start(c);
    }
}

static void on_due(struct timer *timer)
{
    struct checker *c = container_of(timer, struct checker, timer);
    list_push_back(&c->checked->health->turns, &c->turn);
    start_next(c->checked->health);
}

/* ---- who is checked ---- */

static struct checker *checker_new(struct checked *checked, enum health_kind kind, const struct target_slot *slot)
{
    struct checker *c = mem_must(sizeof *c);
    c->checked = checked;
    c->target = target_hold(slot->target);
    c->host = slot->host ? mem_strdup(slot->host) : NULL;
    c->kind = kind;
    timer_init(&c->timer, on_due);
    list_init(&c->turn);
    target_checked(c->target, kind);
    return c;
}

/* A question that was under way is asked again, by whoever asks next. */
static void checker_free(struct checker *c)
{
    struct health *health = c->checked->health;
    if (c->probe) {
        probe_cancel(c->probe);
        health->running--;
        state_of(c)->due_ms = health->loop->now_ms;
    }
    list_unlink(&c->turn);
    timer_clear(health->loop, &c->timer);
    if (c->layer)
        tls_layer_drop(c->layer);
    target_unchecked(c->target, c->kind, health->loop->now_ns);
    target_drop(c->target);
    mem_free(c->host);
    mem_free(c);
}

static int compare_addresses(const void *a, const void *b)
{
    return (uintptr_t)a < (uintptr_t)b ? -1 : (uintptr_t)a > (uintptr_t)b;
}

static int compare_slots(const void *a, const void *b)
{
    const struct target_slot *const *x = a, *const *y = b;
    return compare_addresses((*x)->target, (*y)->target);
}

static int compare_with_checker(const void *target, const void *checker)
{
    return compare_addresses(target, (*(struct checker *const *)checker)->target);
}

static struct checker *find_checker(const struct checkers *checkers, const struct target *target)
{
    struct checker **found =
        checkers->count ? bsearch(target, checkers->v, checkers->count, sizeof(struct checker *), compare_with_checker)
                        : NULL;
    return found ? *found : NULL;
}

/* One for each target, however often it stands in the set, by their addresses: those of `old` go on. */
static struct checkers checkers_of(struct checked *checked, enum health_kind kind, const struct checkers *old)
{
    const struct target_set *set = upstream_targets(checked->upstream);
    const struct target_slot **slots = mem_must((set->count + 1) * sizeof(struct target_slot *));
    struct checkers fresh = { .v = mem_must((set->count + 1) * sizeof(struct checker *)) };
    for (uint32_t i = 0; i < set->count; i++)
        slots[i] = &set->slots[i];
    qsort(slots, set->count, sizeof(struct target_slot *), compare_slots);
    for (uint32_t i = 0; i < set->count; i++) {
        if (i > 0 && slots[i]->target == slots[i - 1]->target)
            continue;
        struct checker *known = find_checker(old, slots[i]->target);
        fresh.v[fresh.count++] = known ? known : checker_new(checked, kind, slots[i]);
    }
    mem_free(slots);
    return fresh;
}

static void take_set(struct checked *checked, enum health_kind kind)
{
    struct checkers *checkers = &checked->kinds[kind];
    if (!checkers->conf)
        return;
    struct checkers fresh = checkers_of(checked, kind, checkers);
    for (uint32_t i = 0; i < checkers->count; i++)
        if (!find_checker(&fresh, checkers->v[i]->target))
            checker_free(checkers->v[i]);
    mem_free(checkers->v);
    checkers->v = fresh.v;
    checkers->count = fresh.count;
}

static void arm_new(struct checked *checked)
{
    for (int kind = 0; kind < HEALTH_KINDS; kind++)
        for (uint32_t i = 0; i < checked->kinds[kind].count; i++) {
            struct checker *c = checked->kinds[kind].v[i];
            if (!timer_armed(&c->timer) && !c->probe && c->turn.next == &c->turn)
                arm_first(c);
        }
}

static struct checked *checked_new(struct health *health, struct upstream *upstream)
{
    const struct upstream_conf *conf = upstream_settings(upstream);
    struct checked *checked = mem_must(sizeof *checked);
    checked->health = health;
    checked->upstream = upstream_hold(upstream);
    checked->kinds[HEALTH_LIVENESS].conf = conf->health_check;
    checked->kinds[HEALTH_READINESS].conf = conf->readiness_check;
    checked->kinds[HEALTH_AGENT].conf = conf->agent_check;
    for (int kind = 0; kind < HEALTH_KINDS; kind++) {
        if (checked->kinds[kind].conf && kind != HEALTH_AGENT)
            make_series(checked, (enum health_kind)kind);
        take_set(checked, (enum health_kind)kind);
    }
    return checked;
}

static void checkers_done(struct checkers *checkers)
{
    for (uint32_t i = 0; i < checkers->count; i++)
        checker_free(checkers->v[i]);
    mem_free(checkers->v);
    for (int i = 0; i < PROBE_RESULT_COUNT; i++)
        if (checkers->results[i])
            series_drop(checkers->results[i]);
    for (int i = 0; i < TRANSITIONS; i++)
        if (checkers->transitions[i])
            series_drop(checkers->transitions[i]);
}

static void checked_free(struct checked *checked)
{
    for (int kind = 0; kind < HEALTH_KINDS; kind++)
        checkers_done(&checked->kinds[kind]);
    if (checked->context)
        tls_context_drop(checked->context);
    if (checked->material)
        tls_material_drop(checked->material);
    upstream_drop(checked->upstream);
    mem_free(checked);
}

/* ---- following ---- */

static struct checked *find_checked(const struct health *health, const struct upstream *upstream)
{
    for (struct checked *checked = health->first; checked; checked = checked->next)
        if (checked->upstream == upstream)
            return checked;
    return NULL;
}

static void free_unwanted(struct health *health)
{
    struct checked **at = &health->first;
    while (*at) {
        struct checked *checked = *at;
        if (checked->wanted) {
            at = &checked->next;
            continue;
        }
        *at = checked->next;
        checked_free(checked);
    }
}

/* New ones come before old ones go: what both check is not forgotten in between. */
void health_follow(struct health *health, const struct snapshot *snapshot)
{
    for (struct checked *checked = health->first; checked; checked = checked->next)
        checked->wanted = false;
    for (size_t i = 0; i < snapshot->upstream_count; i++) {
        struct upstream *upstream = snapshot->upstreams[i].object;
        const struct upstream_conf *conf = upstream_settings(upstream);
        if (!conf->health_check && !conf->readiness_check && !conf->agent_check)
            continue;
        struct checked *checked = find_checked(health, upstream);
        if (!checked) {
            checked = checked_new(health, upstream);
            checked->next = health->first;
            health->first = checked;
        }
        checked->wanted = true;
    }
    free_unwanted(health);
    for (struct checked *checked = health->first; checked; checked = checked->next)
        arm_new(checked);
    start_next(health); /* those that went may have been in the way */
}

void health_targets_changed(struct health *health, const struct upstream *upstream)
{
    struct checked *checked = find_checked(health, upstream);
    if (!checked)
        return;
    for (int kind = 0; kind < HEALTH_KINDS; kind++)
        take_set(checked, (enum health_kind)kind);
    arm_new(checked);
    start_next(health);
}

struct health *health_new(struct gateway *gateway)
{
    struct health *health = mem_must(sizeof *health);
    ENSURE(!watched);
    health->gateway = gateway;
    health->loop = &gateway->control.loop;
    list_init(&health->turns);
    rng_init(&health->rng);
    watched = health;
    metrics_add_source(&health_source);
    metrics_add_source(&share_source);
    return health;
}

void health_free(struct health *health)
{
    metrics_remove_source(&health_source);
    metrics_remove_source(&share_source);
    watched = NULL;
    for (struct checked *checked = health->first; checked; checked = checked->next)
        checked->wanted = false;
    free_unwanted(health);
    loop_turn(health->loop, 0); /* cancelled probes reclaim themselves, and with them their TLS */
    if (health->tls)
        tls_worker_free(health->tls);
    mem_free(health);
}
