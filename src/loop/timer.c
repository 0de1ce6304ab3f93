/*
 * Timers of a loop: arming, clearing, firing.  The slots are wheel.c's.  A timer leaves its list before its callback
 * runs, so the callback may arm it again, clear any other, or free its owner in the reclaim phase.
 */
#include "base/assert.h"
#include "loop/loop.h"
#include "loop/turn.h"
#include "loop/wheel.h"

void timer_init(struct timer *timer, void (*on_timer)(struct timer *timer))
{
    list_init(&timer->link);
    timer->on_timer = on_timer;
    timer->at_ms = 0;
}

void timer_set(struct loop *loop, struct timer *timer, uint64_t at_ms)
{
    if (timer_armed(timer))
        list_unlink(&timer->link);
    else
        loop->timers_armed++;
    timer->at_ms = at_ms > 0 ? at_ms : 1;
    wheel_insert(loop->wheel, timer);
}

void timer_at_most(struct loop *loop, struct timer *timer, uint64_t at_ms)
{
    if (!timer_armed(timer) || timer->at_ms > at_ms)
        timer_set(loop, timer, at_ms);
}

void timer_clear(struct loop *loop, struct timer *timer)
{
    if (!timer_armed(timer))
        return;
    list_unlink(&timer->link);
    timer->at_ms = 0;
    ENSURE(loop->timers_armed > 0);
    loop->timers_armed--;
}

void loop_fire_timers(struct loop *loop)
{
    struct link expired, *item;

    if (loop->timers_armed == 0) {
        loop->wheel->cursor_ms = loop->now_ms;
        return;
    }
    list_init(&expired);
    wheel_advance(loop->wheel, loop->now_ms, &expired);
    while ((item = list_pop_front(&expired))) {
        struct timer *timer = container_of(item, struct timer, link);
        timer->at_ms = 0;
        loop->timers_armed--;
        timer->on_timer(timer);
    }
}
