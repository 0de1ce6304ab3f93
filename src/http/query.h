/*
 * Parameters of a query as services read them (application/x-www-form-urlencoded, WHATWG URL 5.1): names and values are
 * percent-decoded, "+" is a space, and an escape that is none stands for itself.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"

struct arena;

/* The first parameter whose decoded name is `name`; its value still encoded. at == NULL when there is none. */
struct slice query_find(struct slice query, struct slice name);
/* How many have that decoded name. */
unsigned query_count(struct slice query, struct slice name);
/* Without all parameters of that decoded name; the others stay as they are written. -ERR_MEMORY. */
MUST_USE int query_remove(struct arena *arena, struct slice query, struct slice name, struct slice *ret_query);
/* The text itself when there is nothing to decode. -ERR_MEMORY. */
MUST_USE int query_decode(struct arena *arena, struct slice encoded, struct slice *ret_text);
