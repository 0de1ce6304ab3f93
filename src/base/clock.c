/*
 * Dates as text, all in UTC.  The calendar is the proleptic Gregorian one; days are turned into a date by counting
 * years from 1 March, so that the leap day comes last and months have a regular pattern (30.6 days on average from
 * March).
 */
#include "base/clock.h"

#include "base/assert.h"

struct date {
    unsigned year, month, day; /* month and day from 1 */
    unsigned weekday;          /* 0 is Sunday */
    unsigned hour, minute, second, milli;
};

enum {
    DAYS_PER_400_YEARS = 146097,
    DAYS_TO_1970 = 719468, /* from 1 March of year 0 */
    SECONDS_PER_DAY = 86400,
};

static const char month_names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char day_names[] = "SunMonTueWedThuFriSat";

static struct date date_of(uint64_t wall_ns)
{
    uint64_t seconds = wall_ns / 1000000000u;
    unsigned of_day = (unsigned)(seconds % SECONDS_PER_DAY);
    uint64_t days = seconds / SECONDS_PER_DAY;

    uint64_t since = days + DAYS_TO_1970;
    unsigned era = (unsigned)(since / DAYS_PER_400_YEARS);
    unsigned of_era = (unsigned)(since % DAYS_PER_400_YEARS);
    /* leave out the leap days before dividing: one in 4 years (1,460 days), none in 100 (36,524), one in 400 */
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month = (5 * of_year + 2) / 153; /* 0 is March; five months have 153 days */
    bool next_year = month >= 10;
    return (struct date){
        .year = era * 400 + year_of_era + next_year,
        .month = next_year ? month - 9 : month + 3,
        .day = of_year - (153 * month + 2) / 5 + 1,
        .weekday = (unsigned)((days + 4) % 7), /* 1 January 1970 was a Thursday */
        .hour = of_day / 3600,
        .minute = of_day / 60 % 60,
        .second = of_day % 60,
        .milli = (unsigned)(wall_ns / 1000000u % 1000u),
    };
}

static char *put_digits(char *at, unsigned value, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + width;
}

static char *put_text(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

static char *put_time(char *at, const struct date *date)
{
    at = put_digits(at, date->hour, 2);
    *at++ = ':';
    at = put_digits(at, date->minute, 2);
    *at++ = ':';
    return put_digits(at, date->second, 2);
}

void clock_http_date(uint64_t wall_ns, char ret_text[HTTP_DATE_LEN])
{
    struct date date = date_of(wall_ns);
    char *at = put_text(ret_text, day_names + (size_t)3 * date.weekday, 3);
    at = put_text(at, ", ", 2);
    at = put_digits(at, date.day, 2);
    *at++ = ' ';
    at = put_text(at, month_names + (size_t)3 * (date.month - 1), 3);
    *at++ = ' ';
    at = put_digits(at, date.year, 4);
    *at++ = ' ';
    at = put_time(at, &date);
    at = put_text(at, " GMT", 4);
    ENSURE(at == ret_text + HTTP_DATE_LEN);
}

void clock_rfc3339(uint64_t wall_ns, char ret_text[RFC3339_LEN])
{
    struct date date = date_of(wall_ns);
    char *at = put_digits(ret_text, date.year, 4);
    *at++ = '-';
    at = put_digits(at, date.month, 2);
    *at++ = '-';
    at = put_digits(at, date.day, 2);
    *at++ = 'T';
    at = put_time(at, &date);
    *at++ = '.';
    at = put_digits(at, date.milli, 3);
    *at++ = 'Z';
    ENSURE(at == ret_text + RFC3339_LEN);
}

void clock_clf(uint64_t wall_ns, char ret_text[CLF_DATE_LEN])
{
    struct date date = date_of(wall_ns);
    char *at = put_digits(ret_text, date.day, 2);
    *at++ = '/';
    at = put_text(at, month_names + (size_t)3 * (date.month - 1), 3);
    *at++ = '/';
    at = put_digits(at, date.year, 4);
    *at++ = ':';
    at = put_time(at, &date);
    at = put_text(at, " +0000", 6);
    ENSURE(at == ret_text + CLF_DATE_LEN);
}

/* ---- reading ---- */

static bool take_number(const char *at, int width, unsigned *ret_value)
{
    *ret_value = 0;
    for (int i = 0; i < width; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        *ret_value = *ret_value * 10 + (unsigned)(at[i] - '0');
    }
    return true;
}

static unsigned month_of(const char *at)
{
    for (unsigned i = 0; i < 12; i++)
        if (memcmp(at, month_names + (size_t)3 * i, 3) == 0)
            return i + 1;
    return 0;
}

/* From 1970 on. */
static uint64_t days_of(const struct date *d)
{
    unsigned year = d->month <= 2 ? d->year - 1 : d->year;
    unsigned month = d->month > 2 ? d->month - 3 : d->month + 9;
    unsigned of_year = (153 * month + 2) / 5 + d->day - 1;
    unsigned of_era = year % 400 * 365 + year % 400 / 4 - year % 400 / 100 + of_year;
    return (uint64_t)(year / 400) * DAYS_PER_400_YEARS + of_era - DAYS_TO_1970;
}

bool clock_parse_http_date(struct slice text, uint64_t *ret_seconds)
{
    static const char form[] = "___, __ ___ ____ __:__:__ GMT";
    struct date d = { 0 };
    if (text.len != HTTP_DATE_LEN)
        return false;
    for (size_t i = 0; i < HTTP_DATE_LEN; i++)
        if (form[i] != '_' && form[i] != text.at[i])
            return false;
    d.month = month_of(text.at + 8);
    if (!take_number(text.at + 5, 2, &d.day) || !take_number(text.at + 12, 4, &d.year) ||
        !take_number(text.at + 17, 2, &d.hour) || !take_number(text.at + 20, 2, &d.minute) ||
        !take_number(text.at + 23, 2, &d.second))
        return false;
    if (d.year < 1970 || d.month == 0 || d.day < 1 || d.day > 31 || d.hour > 23 || d.minute > 59 || d.second > 60)
        return false;
    *ret_seconds = days_of(&d) * SECONDS_PER_DAY + d.hour * 3600 + d.minute * 60 + d.second;
    return true;
}
