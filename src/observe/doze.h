/*
 * How a thread that drains rings sleeps, at next to no cost for those who fill them.
 *
 *      drain; something was there: doze_nap 50 ms, so that lines gather     woken early only when a ring is half full
 *             nothing was there:   doze_sleep until poked                   the first line costs one system call, once
 *             could not write:     doze_wait, then try again                nobody's poke counts
 *
 * A producer puts its line and calls doze_poke, which is one load unless the thread sleeps.  Dekker's handshake: the
 * producer stores the ring's head and then loads the state, the thread stores the state and then loads the heads, all
 * sequentially consistent, so one of the two sees the other.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"

enum doze_state { DOZE_AWAKE, DOZE_NAPPING, DOZE_ASLEEP };

/* Owned by the struct it is embedded in. */
struct doze {
    _Alignas(64) _Atomic(int) state; /* enum doze_state */
    int wake_fd;
    int epfd;
};

/* -ERR_SYSTEM without descriptors. */
MUST_USE int doze_init(struct doze *doze);
void doze_done(struct doze *doze);

/* On the thread. */
void doze_nap(struct doze *doze, int max_ms);
void doze_wait(struct doze *doze, int max_ms);
void doze_sleep(struct doze *doze, bool (*is_idle)(void *data), void *data);

/* Any thread, and signal handlers: wakes it whatever it does. */
void doze_kick(struct doze *doze);
/* After a line was put. `pressing`: room is running out, do not wait for the nap to end. */
static inline void doze_poke(struct doze *doze, bool pressing)
{
    int state = atomic_load(&doze->state);
    if (__builtin_expect(state == DOZE_ASLEEP || (state == DOZE_NAPPING && pressing), 0))
        doze_kick(doze);
}
