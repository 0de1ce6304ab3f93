/*
 * What stands around every algorithm: the session's own target, the group, the share, the counts on the chosen, and the
 * answer when there is none.
 *
 * Permits are exact over all workers: the algorithm skips targets that look full, but only the counter's own answer to
 * our increment decides, since another worker may have taken the last permit in between.  Nothing here takes a lock.
 */
#include "balance/balance.h"
#include "balance/circuits.h"
#include "balance/share.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"

/* Another worker can take the permit we saw, but each time it does somebody gets on; this many lost races in a row mean
 * full. */
enum { LOST_RACES_MAX = 16 };

/* So many targets are looked at whenever something has changed; of more, each one that was looked at is a rest of so
 * long before the next look: some ten times what it took. */
enum { LOOK_FREELY_MAX = 256, LOOK_REST_NS = 100 };

/* Draws of one key for different questions have to differ. */
enum { DRAW_GROUP = 1, DRAW_SHARE };

static const struct target_slot *pick_for(struct balancer *b, const struct wish *wish, struct pick *pick);
static const struct target_slot *pick_session(struct balancer *b, const struct wish *wish, const struct pick *pick);
static const struct target_slot *pick_any(struct balancer *b, struct pick *pick);
static bool only_full(const struct balancer *b, const struct pick *pick);

static void tables_free(const struct balancer *b, void **tables, uint32_t count)
{
    for (uint32_t i = 0; tables && i < count; i++)
        if (tables[i])
            b->algorithm->free(tables[i]);
    mem_free(tables);
}

static void **tables_new(const struct balancer *b, const struct target_set *set)
{
    void **tables = mem_zalloc(set->group_count * sizeof *tables);
    for (uint32_t i = 0; tables && i < set->group_count; i++) {
        tables[i] = b->algorithm->build(&set->groups[i], b->conf, b->worker);
        if (!tables[i]) {
            tables_free(b, tables, i);
            return NULL;
        }
    }
    return tables;
}

static void let_set_go(struct balancer *b)
{
    if (!b->set)
        return;
    tables_free(b, b->tables, b->set->group_count);
    spread_done(&b->spread);
    target_set_drop(b->set);
    b->set = NULL;
    b->tables = NULL;
}

int balancer_init(struct balancer *b, const struct algorithm *algorithm, const struct balance_conf *conf,
                  struct cluster *cluster, struct target_set *set, unsigned worker)
{
    ENSURE(algorithm && algorithm->build && algorithm->pick && algorithm->free && set && cluster);
    *b = (struct balancer){ .algorithm = algorithm, .conf = conf, .cluster = cluster_hold(cluster), .worker = worker };
    rng_init(&b->rng);
    int r = balancer_update(b, set);
    if (r < 0)
        balancer_done(b);
    return r;
}

int balancer_update(struct balancer *b, struct target_set *set)
{
    struct spread spread;
    void **tables = tables_new(b, set);
    if (!tables || spread_init(&spread, set) < 0) {
        tables_free(b, tables, set->group_count);
        return -ERR_MEMORY;
    }
    target_set_hold(set);
    let_set_go(b);
    b->set = set;
    b->tables = tables;
    b->spread = spread;
    b->spread.epoch = atomic_load_explicit(&b->cluster->epoch, memory_order_acquire);
    b->trial_ns = circuits_look(set, b->conf, 0);
    spread_compute(&b->spread, set, b->conf);
    return 0;
}

void balancer_done(struct balancer *b)
{
    let_set_go(b);
    cluster_drop(b->cluster);
    b->cluster = NULL;
}

/* A look costs as much as there are targets. Where there are thousands, and one of them changes its state all the time,
 * looks are so far apart that they take a small part of a worker. Meanwhile the bars themselves are seen by every pick,
 * and a pick that finds nothing looks anew (`needed`). True when it was done. */
static bool look_anew(struct balancer *b, uint64_t now_ns, bool needed)
{
    uint32_t epoch = atomic_load_explicit(&b->cluster->epoch, memory_order_acquire);
    bool trial = b->trial_ns && now_ns >= b->trial_ns;
    if (epoch == b->spread.epoch && !trial)
        return false;
    if (!needed && b->set->count > LOOK_FREELY_MAX && now_ns < b->looked_ns + (uint64_t)b->set->count * LOOK_REST_NS)
        return false;
    b->spread.epoch = epoch;
    b->looked_ns = now_ns;
    b->trial_ns = circuits_look(b->set, b->conf, now_ns);
    spread_compute(&b->spread, b->set, b->conf);
    return true;
}

/* Why there is nothing, when it is not for want of well targets. */
static int refused(struct balancer *b, const struct wish *wish, const struct pick *pick)
{
    if (b->conf->circuit_breaker)
        breaker_release(&b->cluster->breaker, wish->now_ns);
    if (b->lacked == LIMIT_NONE && only_full(b, pick))
        b->lacked = LIMIT_TARGET_REQUESTS;
    return b->lacked != LIMIT_NONE ? -ERR_UPSTREAM_FULL : -ERR_NO_TARGET;
}

/* Its own breaker's place alone: the upstream's is given back by who gives up. */
static void release_probe(const struct balancer *b, struct target *target, uint64_t now_ns)
{
    if (b->conf->target_circuit_breaker)
        breaker_release(&target->breaker, now_ns);
}

static bool counts_requests(const struct balancer *b)
{
    return b->requests_max || b->conf->adaptive;
}

static uint32_t requests_max(const struct balancer *b)
{
    if (!b->conf->adaptive)
        return b->requests_max;
    uint32_t adaptive = adaptive_limit(&b->cluster->adaptive, b->conf->adaptive);
    return b->requests_max && b->requests_max < adaptive ? b->requests_max : adaptive;
}

/* It is looked at first and taken last, so that nobody is refused for a permit that comes to nothing. Another worker
 * may take the last one in between. */
static inline bool seals(struct balancer *b, struct target *target, uint64_t now_ns)
{
    if (!counts_requests(b) || permit_take(&b->cluster->permits.requests, requests_max(b)))
        return true;
    b->lacked = LIMIT_REQUESTS;
    release_probe(b, target, now_ns);
    permit_give(&target->in_flight);
    if (b->queues)
        queue_call(&b->cluster->queue, target);
    return false;
}

static bool is_full(const struct balancer *b)
{
    return counts_requests(b) &&
           atomic_load_explicit(&b->cluster->permits.requests, memory_order_seq_cst) >= requests_max(b);
}

int balancer_pick(struct balancer *b, const struct wish *wish, struct target **ret_target)
{
    ENSURE(b->set);
    if (!circuit_admits(b->cluster, b->conf, wish->now_ns, &b->rng))
        return -ERR_BREAKER_OPEN;
    (void)look_anew(b, wish->now_ns, false);
    struct pick pick; /* what stands in `passed` beyond its count is never looked at, and so not cleared */
    pick.key = wish->key;
    pick.passed.count = 0;
    pick.per_target_max = b->per_target_max;
    pick.called = wish->called;
    pick.past_limits = false;
    pick.now_ns = wish->now_ns;
    pick.rng = &b->rng;
    b->lacked = is_full(b) ? LIMIT_REQUESTS : LIMIT_NONE;
    b->lacked_target = NULL;
    const struct target_slot *slot = b->lacked == LIMIT_NONE ? pick_for(b, wish, &pick) : NULL;
    if (!slot && b->lacked == LIMIT_NONE && look_anew(b, wish->now_ns, true)) /* a panic may have begun */
        slot = pick_for(b, wish, &pick);
    if (!slot || !seals(b, slot->target, wish->now_ns))
        return refused(b, wish, &pick);
    struct target *target = target_hold(slot->target);
    atomic_fetch_add_explicit(&target->picks, 1, memory_order_relaxed);
    if (b->algorithm->counts_total)
        atomic_fetch_add_explicit(&b->cluster->in_flight, 1, memory_order_relaxed);
    if (b->algorithm->taken)
        b->algorithm->taken(target, wish->now_ns);
    *ret_target = target;
    return 0;
}

static void adapt(struct balancer *b, const struct outcome *outcome)
{
    uint32_t in_flight = atomic_load_explicit(&b->cluster->permits.requests, memory_order_relaxed);
    if (adaptive_judge(&b->cluster->adaptive, b->conf->adaptive, outcome, in_flight) && b->queues)
        queue_stir(&b->cluster->queue, NULL);
}

void balancer_judge(struct balancer *b, struct target *target, const struct outcome *outcome)
{
    if (err_info(outcome->err)->side == SIDE_UPSTREAM)
        atomic_fetch_add_explicit(&target->failures, 1, memory_order_relaxed);
    if (b->conf->outlier)
        outlier_judge(target, b->conf->outlier, b->set->count, outcome);
    circuits_judge(target, b->conf, outcome);
    if (b->conf->adaptive)
        adapt(b, outcome);
    if (b->algorithm->judged)
        b->algorithm->judged(target, outcome);
}

void balancer_whole(struct balancer *b, struct target *target)
{
    if (b->conf->outlier)
        outlier_whole(target);
    circuits_whole(target, b->conf);
}

static inline void give_back(struct balancer *b, struct target *target, uint64_t waiting_since_ns, uint64_t now_ns)
{
    if (waiting_since_ns != 0)
        circuits_release(target, b->conf, waiting_since_ns);
    if (b->algorithm->over)
        b->algorithm->over(target, waiting_since_ns, now_ns);
    if (b->algorithm->counts_total)
        atomic_fetch_sub_explicit(&b->cluster->in_flight, 1, memory_order_relaxed);
    if (counts_requests(b))
        permit_give(&b->cluster->permits.requests);
    permit_give(&target->in_flight);
}

void balancer_finish(struct balancer *b, struct target *target, uint64_t waiting_since_ns, uint64_t now_ns)
{
    give_back(b, target, waiting_since_ns, now_ns);
    if (b->queues)
        queue_call(&b->cluster->queue, target);
    target_drop(target);
}

void balancer_undo(struct balancer *b, struct target *target, uint64_t picked_ns)
{
    give_back(b, target, picked_ns, picked_ns);
    target_drop(target);
}

static bool take_permit(const struct pick *pick, const struct target_slot *slot)
{
    return permit_take_any(&slot->target->in_flight, slot_requests_max(slot, pick->per_target_max));
}

enum taking { TAKEN, TAKING_LOST, TAKING_REFUSED };

/* Its breaker first: a probe's place that is given back keeps nobody waiting, a permit may. */
static inline enum taking take(const struct balancer *b, const struct pick *pick, const struct target_slot *slot)
{
    if (!circuit_admits_target(slot->target, b->conf, pick->now_ns))
        return TAKING_REFUSED;
    if (take_permit(pick, slot))
        return TAKEN;
    release_probe(b, slot->target, pick->now_ns);
    return TAKING_LOST;
}

static inline const struct target_slot *pick_for(struct balancer *b, const struct wish *wish, struct pick *pick)
{
    pick->tried = wish->tried && wish->tried->count ? wish->tried : NULL;
    const struct target_slot *slot = wish->sticky ? pick_session(b, wish, pick) : NULL;
    if (!slot && b->lacked == LIMIT_NONE)
        slot = pick_any(b, pick);
    if (!slot && b->lacked == LIMIT_NONE && wish->retry_same && pick->tried) {
        pick->tried = NULL;
        slot = pick_any(b, pick);
    }
    return slot;
}

static unsigned ignored_for(const struct balancer *b, const struct target_slot *slot)
{
    uint32_t index = (uint32_t)(slot - b->set->slots), group = 0;
    while (index - b->set->groups[group].first >= b->set->groups[group].count)
        group++;
    return b->spread.groups[group].ignored;
}

/* A session stays with its target while that is well, though it may drain or have a weight of 0, and in a panic while
 * others in its state are picked. When it is full, the session waits for it, if there is a queue. */
static const struct target_slot *pick_session(struct balancer *b, const struct wish *wish, const struct pick *pick)
{
    const struct target_slot *slot = target_set_find_sticky(b->set, wish->sticky);
    unsigned keeps = BAR_DRAINING | BAR_UNREADY;
    if (!slot || (target_barred(slot->target) & ~(keeps | ignored_for(b, slot))))
        return NULL;
    if (pick->tried && tried_has(pick->tried, slot->target))
        return NULL;
    enum taking taking = pick_has_permit(pick, slot) ? take(b, pick, slot) : TAKING_LOST;
    if (taking == TAKEN)
        return slot;
    if (taking == TAKING_LOST && wish->waits) {
        b->lacked = LIMIT_TARGET_REQUESTS;
        b->lacked_target = slot->target;
    }
    return NULL;
}

static uint32_t draw(const struct balancer *b, struct pick *pick, unsigned question)
{
    uint64_t lot = b->algorithm->keyed ? hash_mix(pick->key + question) : rng_next(pick->rng);
    return (uint32_t)(lot >> 32) % SPREAD_ONE;
}

/* Refused for its share: the algorithm's next choice has its turn. */
static bool passes_by(const struct balancer *b, struct pick *pick, const struct target *target)
{
    if (pick->passed.count == TRIED_MAX)
        return false;
    uint32_t share = target_share(target, b->conf, pick->now_ns);
    return share < SPREAD_ONE && draw(b, pick, DRAW_SHARE) >= share;
}

/* Picks and counts: a slot whose target has one more in flight, or NULL. */
static const struct target_slot *pick_in(struct balancer *b, struct pick *pick, uint32_t at, bool by_share)
{
    const struct target_group *group = &b->set->groups[at];
    pick->ignored = b->spread.groups[at].ignored;
    pick->ready = spread_ready(&b->spread.groups[at]);
    pick->passed.count = 0;
    for (int races = 0; races < LOST_RACES_MAX;) {
        int index = b->algorithm->pick(b->tables[at], group, pick);
        if (index == PICK_NONE)
            return NULL;
        ENSURE(index >= 0 && (uint32_t)index < group->count);
        const struct target_slot *slot = &group->slots[index];
        if (by_share && passes_by(b, pick, slot->target)) {
            tried_add(&pick->passed, slot->target);
            continue;
        }
        /* With so many that are half-open, one more probe does no harm. */
        enum taking taking = TAKEN;
        if (pick->passed.count < TRIED_MAX)
            taking = take(b, pick, slot);
        else if (!take_permit(pick, slot))
            taking = TAKING_LOST;
        if (taking == TAKEN)
            return slot;
        if (taking == TAKING_LOST)
            races++;
        else
            tried_add(&pick->passed, slot->target);
    }
    return NULL;
}

/* The drawn group; then all in their order, for what the draw did not know: tries, permits, shares. */
static const struct target_slot *pick_any(struct balancer *b, struct pick *pick)
{
    uint32_t drawn = b->spread.first;
    if (!b->spread.single)
        drawn = spread_group(&b->spread, b->set, draw(b, pick, DRAW_GROUP));
    const struct target_slot *slot = pick_in(b, pick, drawn, true);
    if (!slot && pick->passed.count > 0)
        slot = pick_in(b, pick, drawn, false);
    for (uint32_t i = 0; !slot && i < b->set->group_count; i++)
        if (i != drawn)
            slot = pick_in(b, pick, i, false);
    return slot;
}

/* Would anything have been picked, but for permits? */
static bool only_full(const struct balancer *b, const struct pick *pick)
{
    if (!b->per_target_max && !b->set->limited)
        return false;
    struct pick without_permits = { .tried = pick->tried, .past_limits = true };
    for (uint32_t i = 0; i < b->set->group_count; i++) {
        const struct target_group *group = &b->set->groups[i];
        without_permits.ignored = b->spread.groups[i].ignored;
        for (uint32_t j = 0; j < group->count; j++)
            if (pick_allowed(&without_permits, &group->slots[j]))
                return true;
    }
    return false;
}
