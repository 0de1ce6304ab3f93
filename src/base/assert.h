/*
 * Assertions that stay on in release builds.  ENSURE states an invariant of ours and aborts with its place; it is
 * never used on anything a peer can control.  MAGIC_* guard long-lived objects against use after free and mix-ups.
 */
#pragma once

#include <stdint.h>

_Noreturn void ensure_failed(const char *what, const char *file, int line, const char *function);

#define ENSURE(cond)                                                                                                   \
    do {                                                                                                               \
        if (__builtin_expect(!(cond), 0))                                                                              \
            ensure_failed(#cond, __FILE__, __LINE__, __func__);                                                        \
    } while (0)

#define MAGIC_CHECK(obj, value) ENSURE((obj) != NULL && (obj)->magic == (value))

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - __builtin_offsetof(type, member)))
#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
