/*
 * Computing the spread; done when the cluster's epoch has moved, not on every pick.
 */
#include "balance/spread.h"

#include "balance/conf.h"
#include "base/assert.h"
#include "base/sys.h"

/* What a panic ignores, step by step. An operator's word and an open breaker always count. */
enum { PANIC_FIRST = BAR_UNREADY | BAR_EJECTED, PANIC_ALL = PANIC_FIRST | BAR_UNHEALTHY };

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

static double available(const struct target_group *group, unsigned ignored)
{
    uint32_t weight = 0;
    for (uint32_t i = 0; i < group->count; i++)
        if (!(target_barred(group->slots[i].target) & ~ignored))
            weight += group->slots[i].weight;
    return weight;
}

/* The groups of one priority: [from, to). */
struct level {
    uint32_t from, to;
    double weight, ready; /* of all, and of those available */
};

static struct level level_at(const struct target_set *set, uint32_t from, unsigned ignored)
{
    struct level level = { .from = from, .to = from };
    while (level.to < set->group_count && set->groups[level.to].priority == set->groups[from].priority) {
        const struct target_group *group = &set->groups[level.to++];
        level.weight += group->weight;
        level.ready += available(group, ignored);
    }
    return level;
}

static double capacity(double ready, double weight, double overprovision)
{
    double share = weight > 0 ? ready * overprovision / weight : 0;
    return share < 1 ? share : 1;
}

/* A level has one group, or two: those nearby, which take what they can carry of its share, and those elsewhere. */
static void divide_level(struct spread *spread, const struct target_set *set, const struct level *level, double share,
                         unsigned ignored, double overprovision, double *until)
{
    const struct target_group *near = &set->groups[level->from], *far = &set->groups[level->to - 1];
    double nearby = 1;
    if (near != far && available(far, ignored) > 0)
        nearby = capacity(available(near, ignored), near->weight, overprovision);
    uint32_t near_until = (uint32_t)((*until + share * nearby) * SPREAD_ONE + 0.5);
    *until += share;
    spread->groups[level->to - 1] = (struct group_spread){ (uint32_t)(*until * SPREAD_ONE + 0.5), ignored };
    if (near != far)
        spread->groups[level->from] = (struct group_spread){ near_until, ignored };
}

static double total_capacity(const struct target_set *set, double overprovision)
{
    double total = 0;
    struct level level;
    for (uint32_t at = 0; at < set->group_count; at = level.to) {
        level = level_at(set, at, 0);
        total += capacity(level.ready, level.weight, overprovision);
    }
    return total;
}

/* What a level ignores so that enough of it is there. */
static unsigned panic_bars(const struct target_set *set, uint32_t from, double percent)
{
    struct level level = level_at(set, from, 0);
    if (level.weight == 0 || percent == 0 || level.ready * 100 >= level.weight * percent)
        return 0;
    level = level_at(set, from, PANIC_FIRST);
    return level.ready * 100 >= level.weight * percent ? PANIC_FIRST : PANIC_ALL;
}

/* Shares of the levels, with what each ignores; the sum, which is below 1 when they cannot carry everything. */
static double share_levels(struct spread *spread, const struct target_set *set, const struct balance_conf *conf,
                           bool short_of, double scale)
{
    double until = 0, sum = 0;
    struct level level;
    for (uint32_t at = 0; at < set->group_count; at = level.to) {
        unsigned ignored = short_of ? panic_bars(set, at, conf->panic_percent) : 0;
        level = level_at(set, at, ignored);
        double mine = capacity(level.ready, level.weight, conf->overprovision);
        mine = mine < 1 - sum ? mine : 1 - sum;
        sum += mine;
        spread->panicked += ignored != 0;
        divide_level(spread, set, &level, mine * scale, ignored, conf->overprovision, &until);
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
    bool short_of = total_capacity(set, conf->overprovision) < 1;
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
