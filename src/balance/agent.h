/*
 * What a target's agent says of it: a line as HAProxy's agent-check has them, `75% drain`, `maint`, `down#disk full`.
 *
 *      N%                  its share of its weight, 0 to 100; 0 is `drain`
 *      ready drain maint   how it is administered: takes work, keeps its sessions alone, takes nothing
 *      up down             how it feels; `failed` and `stopped` are `down`; behind `#` stands why
 *      maxconn:N           passed by, as is what is not known
 *
 * What a line does not speak of stays as it was said before; an agent that is silent changes nothing.
 *
 * Owner: the state is part of a target and the control thread's; what follows from it are bars, and `withheld`, which
 * workers read.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct target;

enum { AGENT_LINE_MAX = 512, AGENT_WHY_MAX = 80 };

struct agent_line {
    int percent;             /* AGENT_UNSAID, or 0 to 100 */
    int bars;                /* AGENT_UNSAID, or BAR_DRAINING, BAR_DISABLED, 0: ready */
    int down;                /* AGENT_UNSAID, true, false */
    char why[AGENT_WHY_MAX]; /* printable; empty: not said */
};
enum { AGENT_UNSAID = -1 };

struct agent_state {
    atomic_uint withheld; /* of SPREAD_ONE: how much less than its weight it takes */
    unsigned bars;        /* BAR_DRAINING, BAR_DISABLED */
    bool down;
};

/* The line may end with CR; false when there is no word in it that is known. */
bool agent_parse(struct slice line, struct agent_line *ret_line);
/* True when that changed anything. */
bool target_agent_said(struct target *target, const struct agent_line *line, uint64_t now_ns);
/* In words: "75%, drains". */
enum { AGENT_TEXT_MAX = 64 };
const char *target_agent_text(const struct target *target, char ret_text[AGENT_TEXT_MAX]);
double target_agent_share(const struct target *target); /* of its weight, 0 to 1 */
/* Nobody asks the agent any more: what it said is over. */
void target_agent_forget(struct target *target, uint64_t now_ns);
