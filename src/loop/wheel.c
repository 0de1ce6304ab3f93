/*
 * The timer wheel (see wheel.h).  Insertion looks at the highest differing byte, so the place of a timer depends on
 * nothing but its deadline and the cursor; cascading is inserting again with a newer cursor.
 * Invariant: no occupied slot of any level is at or before the cursor's slot of that level.
 */
#include "loop/wheel.h"

#include "base/assert.h"
#include "base/sys.h"
#include "loop/loop.h"

struct wheel *wheel_new(uint64_t now_ms)
{
    struct wheel *wheel = mem_zalloc(sizeof(*wheel));

    if (!wheel)
        return NULL;
    wheel->cursor_ms = now_ms;
    list_init(&wheel->due);
    list_init(&wheel->far);
    for (int level = 0; level < WHEEL_LEVELS; level++)
        for (int slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
    return wheel;
}

void wheel_free(struct wheel *wheel)
{
    mem_free(wheel);
}

void wheel_insert(struct wheel *wheel, struct timer *timer)
{
    uint64_t differs = timer->at_ms ^ wheel->cursor_ms;

    ENSURE(list_empty(&timer->link));
    if (timer->at_ms <= wheel->cursor_ms) {
        list_push_back(&wheel->due, &timer->link);
        return;
    }
    if (differs >> 32) {
        list_push_back(&wheel->far, &timer->link);
        return;
    }
    int level = (31 - __builtin_clz((uint32_t)differs)) / 8;
    unsigned slot = (timer->at_ms >> (8 * level)) & (WHEEL_SLOTS - 1);
    list_push_back(&wheel->slots[level][slot], &timer->link);
    wheel->occupied[level][slot / 64] |= 1ull << (slot % 64);
}

/* The first slot of a level that holds a timer, or -1; repairs stale bits on the way. */
static int wheel_first_slot(struct wheel *wheel, int level)
{
    for (int word = 0; word < WHEEL_WORDS; word++) {
        while (wheel->occupied[level][word]) {
            int slot = word * 64 + __builtin_ctzll(wheel->occupied[level][word]);
            if (!list_empty(&wheel->slots[level][slot]))
                return slot;
            wheel->occupied[level][word] &= wheel->occupied[level][word] - 1;
        }
    }
    return -1;
}

/* The list to be looked at next and when; NULL when there is none. */
static struct link *wheel_first(struct wheel *wheel, uint64_t *ret_at_ms)
{
    for (int level = 0; level < WHEEL_LEVELS; level++) {
        int slot = wheel_first_slot(wheel, level);
        if (slot < 0)
            continue;
        uint64_t above = wheel->cursor_ms >> (8 * level) >> 8;
        *ret_at_ms = ((above << 8) | (uint64_t)slot) << (8 * level);
        ENSURE(*ret_at_ms > wheel->cursor_ms);
        return &wheel->slots[level][slot];
    }
    if (list_empty(&wheel->far))
        return NULL;
    *ret_at_ms = ((wheel->cursor_ms >> 32) + 1) << 32;
    return &wheel->far;
}

uint64_t wheel_next_ms(struct wheel *wheel)
{
    uint64_t at_ms;

    if (!list_empty(&wheel->due))
        return wheel->cursor_ms;
    return wheel_first(wheel, &at_ms) ? at_ms : UINT64_MAX;
}

static void list_move_all(struct link *from, struct link *to)
{
    struct link *item;

    while ((item = list_pop_front(from)))
        list_push_back(to, item);
}

void wheel_advance(struct wheel *wheel, uint64_t now_ms, struct link *ret_expired)
{
    struct link *slot;
    uint64_t at_ms;

    ENSURE(now_ms >= wheel->cursor_ms);
    list_move_all(&wheel->due, ret_expired);
    while ((slot = wheel_first(wheel, &at_ms)) && at_ms <= now_ms) {
        struct link moving, *item;

        /* What stays far would be met again in the list that is being walked. */
        list_init(&moving);
        list_move_all(slot, &moving);
        wheel->cursor_ms = at_ms;
        while ((item = list_pop_front(&moving)))
            wheel_insert(wheel, container_of(item, struct timer, link));
        list_move_all(&wheel->due, ret_expired);
    }
    wheel->cursor_ms = now_ms;
}
