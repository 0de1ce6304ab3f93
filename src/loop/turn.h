/*
 * The phases of a turn that live in files of their own; for loop.c alone.
 */
#pragma once

struct loop;

/* Calls every timer whose deadline has come, earliest first. */
void loop_fire_timers(struct loop *loop);
/* Delivers every letter posted before the call, oldest first. */
void loop_deliver(struct loop *loop);
/* Run and flush queues until both are empty or the turn's budget is used. */
void loop_run_tasks(struct loop *loop);
void loop_reclaim(struct loop *loop);
