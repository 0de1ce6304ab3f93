/*
 * Random: each request by chance, as the weights say. Nothing is shared and nothing remembered.
 */
#include "base/sys.h"

#include "balance/algorithms/algorithms.h"
#include "balance/algorithms/weighted_draw.h"

static void *random_build(const struct target_group *group, const struct balance_conf *conf, unsigned worker)
{
    return weighted_draw_new(group);
}

static int random_pick(void *table, const struct target_group *group, const struct pick *pick)
{
    return weighted_draw_allowed(table, group, pick);
}

const struct algorithm algorithm_random = {
    .name = "random",
    .doc = RANDOM_DOC,
    .build = random_build,
    .pick = random_pick,
    .free = mem_free,
};
