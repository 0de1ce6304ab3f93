/*
 * The processor time that other processes have used, in nanoseconds, from
 * /proc/PID/task/TID/schedstat. The load generator reads it itself, exactly when its
 * measuring window opens and closes, so that warming up is in neither number.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* The sum over all threads of the given processes; a process that is gone counts nothing.
 * The kernel books a running thread's time at each tick, so one reading is early by at most
 * a few milliseconds. */
uint64_t cpu_time_ns(const pid_t *pids, unsigned count);
