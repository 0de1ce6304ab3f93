/*
 * Signals as events of the control loop (signalfd): no handler, no race.
 */
#pragma once

#include "base/err.h"
#include "loop/loop.h"

struct signals {
    struct io io;
    struct loop *loop;
    void (*on_signal)(struct signals *signals, int number);
};

/* Blocks the signals we take (HUP, TERM, INT, QUIT, USR1, USR2, CHLD) in the process and watches them; PIPE is ignored.
 * Before threads start. */
MUST_USE int signals_init(struct signals *signals, struct loop *loop, void (*on_signal)(struct signals *, int));
void signals_done(struct signals *signals);
