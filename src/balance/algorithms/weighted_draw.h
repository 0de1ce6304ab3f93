/*
 * A target by chance, as likely as its weight says, in one step however many there are: Walker's alias method, with
 * the table built as Vose does ("A linear algorithm for generating random numbers with a given distribution", 1991).
 *
 *      entry i     most of its column is its own         |#########aaa|
 *                  what is left belongs to another       |            |
 *
 * The table is immutable: 8 bytes a target.
 */
#pragma once

#include "balance/balance.h"

struct weighted_draw {
    uint32_t count;
    struct draw_entry {
        uint32_t own; /* of 2^32: how much of the column is its own */
        uint32_t other;
    } entries[];
};

/* NULL without memory; to be freed with mem_free. */
struct weighted_draw *weighted_draw_new(const struct target_group *group);
/* Of all with a weight, allowed or not; PICK_NONE when none has. */
int weighted_draw_once(const struct weighted_draw *draw, struct rng *rng);
/* Of those that may be picked, still by their weights: O(1) while a good part of the weight may be, else one pass over
 * all. PICK_NONE when none may. */
int weighted_draw_allowed(const struct weighted_draw *draw, const struct target_group *group, const struct pick *pick);
/* Draws so many (at most), allowed ones only and maybe one twice; how many there are in ret_indices: 0 when none may be
 * picked. */
enum { DRAW_SAMPLE = 16 };
uint32_t weighted_draw_sample(const struct weighted_draw *draw, const struct target_group *group,
                              const struct pick *pick, int ret_indices[DRAW_SAMPLE]);
