/*
 * The timer wheel: four levels of 256 slots, 1 ms a tick at the ground, and a list for what lies further than 2^32 ms.
 *
 *      level = the highest byte in which the deadline and the cursor differ; slot = that byte of the deadline
 *
 * So every timer of a level lies behind the cursor's slot of that level and within the same turn of it: the first
 * occupied slot of the lowest occupied level is the next thing to do, and no slot is ever walked for nothing.  A timer
 * moves down at most four times in its life. Bits of the maps may be stale (clearing a timer leaves them); they are
 * repaired when met.  One per loop, same thread.
 */
#pragma once

#include <stdint.h>

#include "base/list.h"

enum { WHEEL_LEVELS = 4, WHEEL_SLOTS = 256, WHEEL_WORDS = WHEEL_SLOTS / 64 };

struct timer;

struct wheel {
    uint64_t cursor_ms; /* every timer up to and including this has left the slots */
    struct link due;    /* set for the past: fires in the next turn */
    struct link far;    /* differs from the cursor above the low 32 bits */
    struct link slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t occupied[WHEEL_LEVELS][WHEEL_WORDS];
};

/* NULL without memory. */
struct wheel *wheel_new(uint64_t now_ms);
void wheel_free(struct wheel *wheel);
void wheel_insert(struct wheel *wheel, struct timer *timer);
/* When there is something to do: at or before the earliest deadline; UINT64_MAX when there is nothing. */
uint64_t wheel_next_ms(struct wheel *wheel);
/* Moves the cursor to now_ms and whatever has expired to the end of `ret_expired`, earliest first. */
void wheel_advance(struct wheel *wheel, uint64_t now_ms, struct link *ret_expired);
