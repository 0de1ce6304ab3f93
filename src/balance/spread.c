/*
 * Computing the spread; done when the cluster's epoch has moved, not on every pick. There may be ten thousand targets:
 * each is looked at once, and what follows is arithmetic on groups.
 */
#include "balance/spread.h"

#include "balance/conf.h"
#include "base/assert.h"
#include "base/sys.h"

/* An operator's word and an open breaker always count. */
static const unsigned ignored_in[SPREAD_STEPS] = {
    [SPREAD_CALM] = 0,
    [SPREAD_PANIC_FIRST] = BAR_UNREADY | BAR_EJECTED,
    [SPREAD_PANIC_ALL] = BAR_UNREADY | BAR_EJECTED | BAR_UNHEALTHY,
};

int spread_init(struct spread *spread, const struct target_set *set)
{
    *spread = (struct spread){ .groups = mem_zalloc(set->group_count * sizeof *spread->groups) };
    return spread->groups ? 0 : -ERR_MEMORY;
}

void spread_done(struct spread *spread)
{
    mem_free(spread->groups);
    spread->groups = NULL;
}

static void weigh_group(struct group_spread *spread, const struct target_group *group)
{
    for (int step = 0; step < SPREAD_STEPS; step++)
        spread->ready[step] = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        unsigned barred = target_barred(group->slots[i].target);
        for (int step = 0; step < SPREAD_STEPS; step++)
            if (!(barred & ~ignored_in[step]))
                spread->ready[step] += group->slots[i].weight;
    }
}

/* The groups of one priority: [from, to). */
struct level {
    uint32_t from, to;
    double weight, ready; /* of all, and of those available */
};

static struct level level_at(const struct spread *spread, const struct target_set *set, uint32_t from,
                             enum spread_step step)
{
    struct level level = { .from = from, .to = from };
    while (level.to < set->group_count && set->groups[level.to].priority == set->groups[from].priority) {
        level.weight += set->groups[level.to].weight;
        level.ready += spread->groups[level.to].ready[step];
        level.to++;
    }
    return level;
}

static double capacity(double ready, double weight, double overprovision)
{
    double share = weight > 0 ? ready * overprovision / weight : 0;
    return share < 1 ? share : 1;
}

static void give(struct group_spread *spread, double until, enum spread_step step)
{
    spread->until = (uint32_t)(until * SPREAD_ONE + 0.5);
    spread->step = step;
    spread->ignored = ignored_in[step];
}

/* A level has one group, or two: those nearby, which take what they can carry of its share, and those elsewhere. */
static void divide_level(struct spread *spread, const struct target_set *set, const struct level *level, double share,
                         enum spread_step step, double overprovision, double *until)
{
    struct group_spread *near = &spread->groups[level->from], *far = &spread->groups[level->to - 1];
    double nearby = 1;
    if (near != far && far->ready[step] > 0)
        nearby = capacity(near->ready[step], set->groups[level->from].weight, overprovision);
    if (near != far)
        give(near, *until + share * nearby, step);
    *until += share;
    give(far, *until, step);
}

static double total_capacity(const struct spread *spread, const struct target_set *set, double overprovision)
{
    double total = 0;
    struct level level;
    for (uint32_t at = 0; at < set->group_count; at = level.to) {
        level = level_at(spread, set, at, SPREAD_CALM);
        total += capacity(level.ready, level.weight, overprovision);
    }
    return total;
}

/* How much a level ignores so that enough of it is there. */
static enum spread_step panic_step(const struct spread *spread, const struct target_set *set, uint32_t from,
                                   double percent)
{
    struct level level = level_at(spread, set, from, SPREAD_CALM);
    if (level.weight == 0 || percent == 0 || level.ready * 100 >= level.weight * percent)
        return SPREAD_CALM;
    level = level_at(spread, set, from, SPREAD_PANIC_FIRST);
    return level.ready * 100 >= level.weight * percent ? SPREAD_PANIC_FIRST : SPREAD_PANIC_ALL;
}

/* Shares of the levels, with what each ignores; the sum, which is below 1 when they cannot carry everything. */
static double share_levels(struct spread *spread, const struct target_set *set, const struct balance_conf *conf,
                           bool short_of, double scale)
{
    double until = 0, sum = 0;
    struct level level;
    for (uint32_t at = 0; at < set->group_count; at = level.to) {
        enum spread_step step = short_of ? panic_step(spread, set, at, conf->panic_percent) : SPREAD_CALM;
        level = level_at(spread, set, at, step);
        double mine = capacity(level.ready, level.weight, conf->overprovision);
        mine = mine < 1 - sum ? mine : 1 - sum;
        sum += mine;
        spread->panicked += step != SPREAD_CALM;
        divide_level(spread, set, &level, mine * scale, step, conf->overprovision, &until);
    }
    return sum;
}

static void find_single(struct spread *spread, const struct target_set *set)
{
    uint32_t before = 0, serving = 0;
    spread->first = 0;
    for (uint32_t i = 0; i < set->group_count; i++) {
        if (spread->groups[i].until > before && serving++ == 0)
            spread->first = i;
        before = spread->groups[i].until;
    }
    spread->single = serving <= 1;
}

void spread_compute(struct spread *spread, const struct target_set *set, const struct balance_conf *conf)
{
    for (uint32_t i = 0; i < set->group_count; i++)
        weigh_group(&spread->groups[i], &set->groups[i]);
    bool short_of = total_capacity(spread, set, conf->overprovision) < 1;
    spread->panicked = 0;
    double sum = share_levels(spread, set, conf, short_of, 1);
    if (sum > 0 && sum < 1) { /* without a panic, what there is takes all */
        spread->panicked = 0;
        (void)share_levels(spread, set, conf, short_of, 1 / sum);
    }
    find_single(spread, set);
}

uint32_t spread_group(const struct spread *spread, const struct target_set *set, uint32_t draw)
{
    for (uint32_t i = 0; i < set->group_count; i++)
        if (draw < spread->groups[i].until)
            return i;
    return spread->first;
}
