/*
 * The alias table: columns that are too high fill up those that are too low, until all are level.
 */
#include "balance/algorithms/weighted_draw.h"

#include "base/assert.h"
#include "base/sys.h"

/* Draws in vain before all targets are looked at. With half of the weight barred that never happens; with nine tenths
 * barred once in thirty picks. */
enum { DRAWS_MAX = 32 };

/* Columns that wait, low ones from the front and high ones from the back of one array. */
struct columns {
    uint64_t *heights; /* weight times count: the level is the sum of all weights */
    uint32_t *waiting;
    uint32_t low, high;
};

static void columns_sort(struct columns *columns, uint32_t count, uint64_t level)
{
    columns->high = count;
    for (uint32_t i = 0; i < count; i++)
        if (columns->heights[i] < level)
            columns->waiting[columns->low++] = i;
        else
            columns->waiting[--columns->high] = i;
}

static void fill_up(struct weighted_draw *draw, struct columns *columns, uint64_t level)
{
    while (columns->low > 0 && columns->high < draw->count) {
        uint32_t low = columns->waiting[--columns->low], high = columns->waiting[columns->high];
        draw->entries[low].own = (uint32_t)(((unsigned __int128)columns->heights[low] << 32) / level);
        draw->entries[low].other = high;
        columns->heights[high] -= level - columns->heights[low];
        if (columns->heights[high] < level) {
            columns->high++;
            columns->waiting[columns->low++] = high;
        }
    }
}

struct weighted_draw *weighted_draw_new(const struct target_group *group)
{
    uint32_t count = group->weight > 0 ? group->count : 0;
    struct weighted_draw *draw = mem_zalloc(sizeof *draw + count * sizeof *draw->entries);
    struct columns columns = { .heights = mem_alloc((count + 1u) * sizeof *columns.heights),
                               .waiting = mem_alloc((count + 1u) * sizeof *columns.waiting) };
    if (draw && columns.heights && columns.waiting) {
        draw->count = count;
        for (uint32_t i = 0; i < count; i++) {
            columns.heights[i] = (uint64_t)group->slots[i].weight * count;
            draw->entries[i] = (struct draw_entry){ .own = UINT32_MAX, .other = i };
        }
        columns_sort(&columns, count, group->weight);
        fill_up(draw, &columns, group->weight);
    } else {
        mem_free(draw);
        draw = NULL;
    }
    mem_free(columns.heights);
    mem_free(columns.waiting);
    return draw;
}

int weighted_draw_once(const struct weighted_draw *draw, struct rng *rng)
{
    if (draw->count == 0)
        return PICK_NONE;
    uint64_t lot = rng_next(rng);
    uint32_t column = (uint32_t)((lot >> 32) * draw->count >> 32);
    const struct draw_entry *entry = &draw->entries[column];
    return (int)((uint32_t)lot < entry->own ? column : entry->other);
}

/* Each is taken with the chance that its weight has among those seen so far. */
static int draw_among_all(const struct target_group *group, const struct pick *pick)
{
    int chosen = PICK_NONE;
    uint32_t weight = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        if (!pick_allowed(pick, &group->slots[i]))
            continue;
        weight += group->slots[i].weight;
        if (rng_below(pick->rng, weight) < group->slots[i].weight)
            chosen = (int)i;
    }
    return chosen;
}

int weighted_draw_allowed(const struct weighted_draw *draw, const struct target_group *group, const struct pick *pick)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        int index = weighted_draw_once(draw, pick->rng);
        if (index == PICK_NONE)
            return PICK_NONE;
        if (pick_allowed(pick, &group->slots[index]))
            return index;
    }
    return draw_among_all(group, pick);
}

uint32_t weighted_draw_sample(const struct weighted_draw *draw, const struct target_group *group,
                              const struct pick *pick, int ret_indices[DRAW_SAMPLE])
{
    uint32_t count = 0;
    for (int i = 0; i < DRAW_SAMPLE; i++) {
        int index = weighted_draw_once(draw, pick->rng);
        if (index != PICK_NONE && pick_allowed(pick, &group->slots[index]))
            ret_indices[count++] = index;
    }
    if (count > 0)
        return count;
    ret_indices[0] = draw_among_all(group, pick);
    return ret_indices[0] != PICK_NONE;
}
