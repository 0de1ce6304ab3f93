/*
 * Conditions of a route on header fields, query parameters and cookies: there, absent, equal to a text, or wholly
 * matched by a regex. Of several values under one name, one that fits is enough.
 *
 * Immutable after condition_compile; shared by all workers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct arena;
struct conf;
struct conf_entry;
struct message;
struct regex;

enum condition_kind { CONDITION_HEADER, CONDITION_QUERY, CONDITION_COOKIE };
enum condition_test { TEST_PRESENT, TEST_ABSENT, TEST_EQUALS, TEST_REGEX };

struct condition {
    uint8_t kind;   /* enum condition_kind */
    uint8_t test;   /* enum condition_test */
    uint16_t field; /* enum field_id of a header */
    struct slice name;
    struct slice value; /* TEST_EQUALS: the text; TEST_REGEX: the pattern's text */
    struct regex *regex;
};

/* Control thread; `entry` is of a MAP of field_match_conf. 0, or -1 after conf_error. The name and the text stay the
 * entry's. */
MUST_USE int condition_compile(struct conf *conf, enum condition_kind kind, const struct conf_entry *entry,
                               struct condition *ret_condition);
void condition_done(struct condition *condition);
/* The same test of the same thing? */
bool condition_same(const struct condition *a, const struct condition *b);

/* 1, 0, or -ERR_BAD_TARGET (a regex ran into its limits), -ERR_MEMORY. The arena takes decoded text and a regex's
 * scratch. */
MUST_USE int condition_holds(const struct condition *condition, const struct message *request, struct arena *arena);
