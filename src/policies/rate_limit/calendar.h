/*
 * The windows of a calendar: when the one ends that a moment is in.  Seconds, minutes, hours and days begin where the
 * clock says so, weeks on Monday, months on their first day, in UTC shifted by a fixed offset.
 */
#pragma once

#include <stdint.h>

struct bound;

/* Both in nanoseconds of the wall since 1970. */
uint64_t calendar_window_end(const struct bound *bound, uint64_t wall_ns);
