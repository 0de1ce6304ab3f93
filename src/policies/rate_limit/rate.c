/*
 * Reading rates and offsets of time zones.
 */
#include "policies/rate_limit/rate.h"

#include "base/assert.h"

enum { MINUTE_S = 60, HOUR_S = 3600, DAY_S = 86400, WEEK_S = 7 * DAY_S, MONTH_S = 31 * DAY_S };
enum { COUNT_MAX = 1000000000, OFFSET_HOURS_MAX = 14 };

static const struct unit {
    const char *word, *letter;
    uint32_t seconds;
} units[] = {
    { "second", "s", 1 },  { "minute", "m", MINUTE_S }, { "hour", "h", HOUR_S },
    { "day", "d", DAY_S }, { "week", "w", WEEK_S },     { "month", "month", MONTH_S },
};

static const struct unit *find_unit(struct slice text)
{
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (slice_eq(text, slice_from(units[i].word)) || slice_eq(text, slice_from(units[i].letter)))
            return &units[i];
    return NULL;
}

static size_t digits_of(struct slice text)
{
    size_t len = 0;
    while (len < text.len && text.at[len] >= '0' && text.at[len] <= '9')
        len++;
    return len;
}

int rate_parse(struct slice text, struct rate *ret_rate, const char **ret_why)
{
    struct slice rest = text, head = slice_cut(&rest, '/');
    int64_t count, times = 1;
    *ret_why = "write it as `100/s`, `5000/h` or `10/30s`, with s, m, h, d, w or month";
    if (!rest.at || !slice_to_u63(slice_trim(head), &count))
        return -1;
    rest = slice_trim(rest);
    size_t digits = digits_of(rest);
    if (digits > 0 && !slice_to_u63(slice_make(rest.at, digits), &times))
        return -1;
    const struct unit *unit = find_unit(slice_make(rest.at + digits, rest.len - digits));
    if (!unit)
        return -1;
    *ret_why = "it lets nothing through; to refuse everything, use another policy";
    if (count == 0)
        return -1;
    *ret_why = "the number before the `/` is 1 to 1000000000";
    if (count > COUNT_MAX)
        return -1;
    *ret_why = "the time behind the `/` is from a second to 366 days, and a month stands alone";
    bool month = unit->seconds == MONTH_S;
    if (times < 1 || times > (int64_t)(WINDOW_MAX / NS_PER_S / unit->seconds) || (month && times != 1))
        return -1;
    *ret_rate = (struct rate){
        .count = (uint64_t)count,
        .window_ns = (uint64_t)times * unit->seconds * NS_PER_S,
        .period = month ? PERIOD_MONTH : PERIOD_FIXED,
    };
    return 0;
}

int rate_parse_node(struct conf *conf, const struct conf_node *node, void *ret_rate)
{
    const char *why = "it is no text";
    if (node->kind == NODE_SCALAR && rate_parse(node->text, ret_rate, &why) == 0)
        return 0;
    conf_error(conf, node, "`%.*s` is no rate: %s", SLICE_ARG(node->text), why);
    return -1;
}

int offset_parse(struct slice text, int64_t *ret_ns)
{
    int64_t hours, minutes;
    *ret_ns = 0;
    if (slice_eq(text, SLICE("UTC")) || slice_eq(text, SLICE("Z")))
        return 0;
    bool colon = text.len == 6 && text.at[3] == ':';
    if ((!colon && text.len != 5) || (text.at[0] != '+' && text.at[0] != '-'))
        return -1;
    if (!slice_to_u63(slice_make(text.at + 1, 2), &hours) ||
        !slice_to_u63(slice_make(text.at + text.len - 2, 2), &minutes))
        return -1;
    if (hours > OFFSET_HOURS_MAX || minutes > 59)
        return -1;
    int64_t seconds = hours * HOUR_S + minutes * MINUTE_S;
    *ret_ns = (text.at[0] == '-' ? -seconds : seconds) * (int64_t)NS_PER_S;
    return 0;
}

int offset_parse_node(struct conf *conf, const struct conf_node *node, void *ret_ns)
{
    if (node->kind == NODE_SCALAR && offset_parse(node->text, ret_ns) == 0)
        return 0;
    conf_error(conf, node,
               "expected `UTC` or an offset such as `+02:00`, got `%.*s`: names of zones are not known here",
               SLICE_ARG(node->text));
    return -1;
}
