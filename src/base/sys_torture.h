/*
 * For tests: a table of calls in front of the one in use that makes one chosen call fail.  A scenario is run again and
 * again with the 1st, 2nd, 3rd ... fallible call failing once, until it ends before the chosen one is reached; every
 * run must end without a crash or a leak, with the right answer or a clean error.
 *
 *      for (n = 1;; n++) { sys_torture_arm(n); scenario(); if (sys_torture_calls() < n) break; }
 *      sys_torture_disarm();
 *
 * Arm and disarm only while a single thread runs; the calls themselves may come from any.
 */
#pragma once

#include <stdint.h>

/* Counts from zero again and lets the n-th fallible call fail; 0 fails none and only counts. */
void sys_torture_arm(uint64_t n);
/* Fallible calls since arming, the failed one included. */
uint64_t sys_torture_calls(void);
/* Puts the table back that was in use before the first arming. */
void sys_torture_disarm(void);

#ifdef MAITRED_TORTURE
/* Arms with the number in the environment's MAITRED_TORTURE, if it is there. For main, before threads start. */
void sys_torture_from_env(void);
#endif
