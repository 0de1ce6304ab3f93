/*
 * Ranges of HTTP statuses in a configuration: `503`, `500-599`.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct conf;
struct conf_list;
struct conf_node;

struct status_range {
    uint16_t from, to; /* both included */
};

enum { STATUS_RANGE_MAX = 599 };

/* 0, or -1 after conf_error, which shows the example. */
MUST_USE int status_range_parse(struct conf *conf, const struct conf_node *node, int status_min, const char *example,
                                struct status_range *ret_range);
/* `ranges` is of struct status_range. */
bool status_ranges_have(const struct conf_list *ranges, unsigned status);
