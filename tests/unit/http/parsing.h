/* For parser tests: an arena, a head of text copied exactly (so that reading behind it is seen), generous rules. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "http/h1/parse.h"

static struct memory memory;
static struct arena *arena;
__attribute__((unused)) static struct h1_head parsed;
__attribute__((unused)) static const struct h1_rules rules = { .secure_scheme = "http",
                                                               .target_bytes_max = 100,
                                                               .fields_max = 10 };

static int parsing_set_up(void **state)
{
    if (memory_init(&memory, NULL, 0) < 0)
        return -1;
    arena = arena_new(&memory, ARENA_LIMIT_DEFAULT);
    return arena ? 0 : -1;
}

static int parsing_tear_down(void **state)
{
    arena_free(arena);
    memory_done(&memory);
    return 0;
}

static inline struct slice exact_copy(const char *text, size_t len)
{
    struct slice copy = arena_copy(arena, slice_make(text, len));
    assert_non_null(copy.at);
    return copy;
}

static inline void assert_slice(struct slice s, const char *expected)
{
    if (s.len != strlen(expected) || memcmp(s.at, expected, s.len) != 0)
        fail_msg("\"%.*s\" instead of \"%s\"", (int)s.len, s.at, expected);
}

#define PARSE_TEST(f) cmocka_unit_test_setup_teardown(f, parsing_set_up, parsing_tear_down)
