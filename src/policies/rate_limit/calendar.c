/*
 * Days to months and back, for the proleptic Gregorian calendar, by counting days from a 1 March: then the leap day is
 * the last of its year and 400 years are always 146097 days.
 */
#include "policies/rate_limit/calendar.h"

#include "base/assert.h"
#include "policies/rate_limit/algorithm.h"

enum { DAYS_400_YEARS = 146097, DAYS_TO_1970 = 719468 /* from 1 March of year 0 */, DAYS_WEEK = 7 };

#define DAY_NS    (86400 * (int64_t)NS_PER_S)
#define MONDAY_NS (4 * DAY_NS) /* 5 January 1970: weeks are counted from there */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Of the first day of the month that is `month` (0 to 11, March first) of the year that began in March of `year`. */
static int64_t days_of(int64_t year, int64_t month)
{
    int64_t era = floor_div(year, 400), of_era = year - era * 400;
    int64_t day = (153 * month + 2) / 5;
    return era * DAYS_400_YEARS + of_era * 365 + of_era / 4 - of_era / 100 + day - DAYS_TO_1970;
}

static int64_t next_month(int64_t days)
{
    days += DAYS_TO_1970;
    int64_t era = floor_div(days, DAYS_400_YEARS), of_era = days - era * DAYS_400_YEARS;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t day = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * day + 2) / 153 + 1;
    return days_of(era * 400 + year + month / 12, month % 12);
}

uint64_t calendar_window_end(const struct bound *bound, uint64_t wall_ns)
{
    int64_t local = (int64_t)wall_ns + bound->offset_ns, window = (int64_t)bound->window_ns, end;
    if (bound->period == PERIOD_MONTH) {
        end = next_month(floor_div(local, DAY_NS)) * DAY_NS;
    } else {
        int64_t from = window % (DAYS_WEEK * DAY_NS) == 0 ? MONDAY_NS : 0;
        end = (floor_div(local - from, window) + 1) * window + from;
    }
    ENSURE(end > local);
    return (uint64_t)(end - bound->offset_ns);
}
