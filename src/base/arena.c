/*
 * The arena.  Blocks form a list whose last one is the oldest and holds the arena itself:
 *
 *      blocks -> [ next | size | ....used.... at      end ] -> [ heap block ] -> [ next | size | struct arena | .... ]
 *
 * A request that no block can hold gets a heap block of its own, and the bump pointer stays where it was.  A request
 * that only this block cannot hold begins a new one; what is left of the old is lost, less than the request each time.
 * Under AddressSanitizer what has not been handed out is poisoned.
 */
#include "base/arena.h"

#include <stdarg.h>

#include "base/assert.h"
#include "base/memory.h"

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif
#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size)   ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

struct arena_block {
    struct arena_block *next;
    size_t heap_size; /* with this header; 0 for one of the worker's blocks */
};

_Static_assert(sizeof(struct arena_block) % ARENA_ALIGN == 0, "what follows the header is aligned");
_Static_assert(sizeof(struct arena) % ARENA_ALIGN == 0, "what follows the arena is aligned");

enum { BLOCK_ROOM = ARENA_BLOCK_BYTES - sizeof(struct arena_block) };

static void poison(void *at, size_t size)
{
    ASAN_POISON_MEMORY_REGION(at, size);
}

struct arena *arena_new(struct memory *memory, size_t limit_bytes)
{
    struct arena_block *block = memory_block(memory);
    if (block == NULL)
        return NULL;
    *block = (struct arena_block){ NULL, 0 };
    struct arena *arena = (struct arena *)(block + 1);
    *arena = (struct arena){
        .memory = memory,
        .blocks = block,
        .at = (char *)(arena + 1),
        .end = (char *)block + ARENA_BLOCK_BYTES,
        .limit_bytes = MIN(limit_bytes, SIZE_MAX / 2), /* so that sums of sizes cannot wrap */
    };
    poison(arena->at, (size_t)(arena->end - arena->at));
    return arena;
}

void arena_free(struct arena *arena)
{
    if (arena == NULL)
        return;
    struct memory *memory = arena->memory;
    struct arena_block *block = arena->blocks;
    while (block != NULL) { /* the last one takes the arena with it */
        struct arena_block *next = block->next;
        size_t heap_size = block->heap_size;
        ASAN_UNPOISON_MEMORY_REGION(block, heap_size ? heap_size : (size_t)ARENA_BLOCK_BYTES);
        if (heap_size > 0)
            memory_put(memory, block, heap_size);
        else
            memory_block_free(memory, block);
        block = next;
    }
}

/* Puts a block for `size` more bytes in front, and points the bump there when it is of the usual size.
 * Returns where the bytes may go, or NULL. */
static char *add_block(struct arena *arena, size_t size)
{
    bool large = size > BLOCK_ROOM;
    size_t heap_size = large ? sizeof(struct arena_block) + size : 0;
    struct arena_block *block = large ? memory_get(arena->memory, heap_size) : memory_block(arena->memory);
    if (block == NULL)
        return NULL;
    *block = (struct arena_block){ arena->blocks, heap_size };
    arena->blocks = block;
    char *first = (char *)(block + 1);
    if (!large) {
        arena->at = first;
        arena->end = first + BLOCK_ROOM;
        poison(first, BLOCK_ROOM);
    }
    return first;
}

static void *take_from_new_block(struct arena *arena, size_t size)
{
    char *bytes = add_block(arena, size);
    if (bytes == NULL)
        return NULL;
    if (size <= BLOCK_ROOM)
        arena->at = bytes + size;
    arena->used_bytes += size;
    ASAN_UNPOISON_MEMORY_REGION(bytes, size);
    return bytes;
}

/* Hands out `size` bytes behind `skip` bytes of alignment. */
static inline void *take(struct arena *arena, size_t size, size_t skip)
{
    ENSURE(arena->used_bytes <= arena->limit_bytes);
    if (size > arena->limit_bytes - arena->used_bytes)
        return NULL;
    if (size + skip > (size_t)(arena->end - arena->at))
        return take_from_new_block(arena, size);
    char *bytes = arena->at + skip;
    arena->at = bytes + size;
    arena->used_bytes += size;
    ASAN_UNPOISON_MEMORY_REGION(bytes, size);
    return bytes;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    return take(arena, size, -(uintptr_t)arena->at % ARENA_ALIGN);
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    void *bytes = arena_alloc(arena, size);
    return bytes ? memset(bytes, 0, size) : NULL;
}

struct slice arena_copy(struct arena *arena, struct slice bytes)
{
    char *copy = take(arena, bytes.len, 0);
    if (copy == NULL)
        return SLICE_EMPTY;
    (void)slice_put(bytes, copy);
    return slice_make(copy, bytes.len);
}

struct slice arena_printf(struct arena *arena, const char *format, ...)
{
    char small[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (len < 0)
        return SLICE_EMPTY;
    char *text = take(arena, (size_t)len + 1, 0);
    if (text == NULL)
        return SLICE_EMPTY;
    if ((size_t)len < sizeof(small)) {
        memcpy(text, small, (size_t)len + 1);
    } else {
        va_start(args, format);
        (void)vsnprintf(text, (size_t)len + 1, format, args);
        va_end(args);
    }
    return slice_make(text, (size_t)len);
}
