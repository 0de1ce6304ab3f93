/*
 * Cookies of requests (RFC 6265 5.4 and 4.2.1, as servers read them): `name=value` pairs, each behind "; ". What is no
 * pair is passed by. Names count with case. The first of a name is the one that counts: user agents send the one with
 * the longest path first. A value in double quotes is what stands between them.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"

struct arena;
struct fields;

/* The next pair of a Cookie field's value; false at the end. */
bool cookie_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value);
/* Over all Cookie fields. at == NULL when there is none of that name. */
struct slice cookie_find(const struct fields *fields, struct slice name);
/* How many there are of that name, over all Cookie fields, and the value of the last; untouched when there is none. */
unsigned cookie_count(const struct fields *fields, struct slice name, struct slice *ret_value);
/* Takes all cookies of that name out of the fields' values; a field without any other goes. Values are written anew
 * in the arena, never in place. -ERR_MEMORY. */
MUST_USE int cookie_remove(struct fields *fields, struct arena *arena, struct slice name);
/* May it be the value of a cookie that we set (cookie-octet, RFC 6265 4.1.1)? */
bool cookie_value_valid(struct slice value);
