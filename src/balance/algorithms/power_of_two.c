/*
 * The power of two choices (Mitzenmacher, 2001): two targets by chance, of which the one with fewer requests in flight
 * for its weight is taken.  Two looks bring nearly all that looking at every target would, and gateways that know
 * nothing of each other do not all run to the same idle one.
 *
 * The draws go by weight, and the first one wins a tie: an idle upstream is divided exactly as the weights say.
 */
#include "base/sys.h"

#include "balance/algorithms/algorithms.h"
#include "balance/algorithms/weighted_draw.h"

/* Draws for a second one that differs. When one target has nearly all of the weight it is hardly worth more. */
enum { SECOND_DRAWS_MAX = 4 };

static void *power_of_two_build(const struct target_group *group, const struct balance_conf *conf, unsigned worker)
{
    return weighted_draw_new(group);
}

static bool less_busy(const struct target_slot *a, const struct target_slot *b)
{
    uint64_t on_a = atomic_load_explicit(&a->target->in_flight, memory_order_relaxed);
    uint64_t on_b = atomic_load_explicit(&b->target->in_flight, memory_order_relaxed);
    return on_a * b->weight < on_b * a->weight;
}

static int power_of_two_pick(void *table, const struct target_group *group, const struct pick *pick)
{
    int first = weighted_draw_allowed(table, group, pick);
    if (first == PICK_NONE)
        return PICK_NONE;
    for (int i = 0; i < SECOND_DRAWS_MAX; i++) {
        int second = weighted_draw_once(table, pick->rng);
        if (second != first && pick_allowed(pick, &group->slots[second]))
            return less_busy(&group->slots[second], &group->slots[first]) ? second : first;
    }
    return first;
}

const struct algorithm algorithm_power_of_two = {
    .name = "power_of_two",
    .doc = POWER_OF_TWO_DOC,
    .build = power_of_two_build,
    .pick = power_of_two_pick,
    .free = mem_free,
};
