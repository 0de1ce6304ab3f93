/*
 * An arena serves one exchange: allocation is a bump of a pointer, everything is freed at once.  Blocks come from the
 * worker's slab; what does not fit a block is taken from the heap.  All of it is charged to the memory budget and the
 * arena has a limit of its own.  Owned by whoever made it; one worker.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct memory;
struct arena_block;

struct arena {
    struct memory *memory;
    struct arena_block *blocks;     /* newest first; the oldest holds the arena itself when made by arena_new */
    char *at, *end;                 /* what is left of the newest of usual size */
    size_t used_bytes, limit_bytes; /* bytes handed out, with their alignment */
};

enum { ARENA_LIMIT_DEFAULT = 1 << 20, ARENA_ALIGN = 16 };

/* The arena lives in its own first block. NULL without memory. */
struct arena *arena_new(struct memory *memory, size_t limit_bytes);
void arena_free(struct arena *arena);

/* Aligned to 16, not zeroed. NULL at the limit or without memory. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_zalloc(struct arena *arena, size_t size);
/* Unaligned copy of bytes. at == NULL on failure (an empty slice copies to a non-NULL empty one). */
struct slice arena_copy(struct arena *arena, struct slice bytes);
/* Formats into the arena; at == NULL on failure. NUL-terminated behind the slice. */
struct slice arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
