/*
 * Regular expressions on what a client sends: compiled once (JIT where the machine allows it), run with limits, so that
 * no pattern and no subject can hold a worker for long.  A run that hits a limit is an error and never "does not
 * match": otherwise a client could craft a request that slips past a guarded route.  Matches are of the whole subject.
 *
 * Immutable after regex_compile; shared by all workers.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "base/slice.h"

struct arena;
struct conf;
struct conf_node;
struct regex;

enum { REGEX_BYTES_MAX = 8192 };

/* A named group: the name is a slice of the pattern's text. */
struct regex_group {
    struct slice name;
    unsigned number;
};

/* Control thread. 0, or -1 after conf_error at `node`. */
MUST_USE int regex_compile(struct conf *conf, const struct conf_node *node, const char *text, struct regex **ret_regex);
void regex_free(struct regex *regex);
/* Stores at most `max` named groups and returns how many there are. `text` is what was compiled. */
unsigned regex_groups(const struct regex *regex, const char *text, struct regex_group *ret_groups, unsigned max);

/* 1 when the whole subject matches, else 0; -ERR_BAD_TARGET past a limit, -ERR_MEMORY. `ret_spans`, unless NULL, points
 * into the arena: begin and end of each group, both SIZE_MAX when it took no part. */
MUST_USE int regex_match(const struct regex *regex, struct slice subject, struct arena *arena,
                         const size_t **ret_spans);
