/*
 * "100/s", "5000/h", "10/30s", "1000000/month": how many, and in what time.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "conf/conf.h"
#include "policies/rate_limit/algorithm.h"

struct rate {
    uint64_t count;
    uint64_t window_ns;
    enum period period;
};

/* 0, or -1 with *ret_why saying what is wrong. */
MUST_USE int rate_parse(struct slice text, struct rate *ret_rate, const char **ret_why);
int rate_parse_node(struct conf *conf, const struct conf_node *node, void *ret_rate);
#define RATE_TYPE                                                                                                      \
    {                                                                                                                  \
        .kind = CONF_CUSTOM, .parse = rate_parse_node, .size = sizeof(struct rate),                                    \
        .pattern = "a number in a time: `100/s`, `5000/h`, `10/30s`"                                                   \
    }
/* "UTC", "Z", "+02:00", "-0330": east of Greenwich is positive. */
MUST_USE int offset_parse(struct slice text, int64_t *ret_ns);
int offset_parse_node(struct conf *conf, const struct conf_node *node, void *ret_ns);
#define OFFSET_TYPE                                                                                                    \
    {                                                                                                                  \
        .kind = CONF_CUSTOM, .parse = offset_parse_node, .size = sizeof(int64_t), .pattern = "`UTC` or `+HH:MM`"       \
    }
