/*
 * A worker's memory: slabs of arena blocks and of body chunks, one scratch buffer for reading, one spare pair of kernel pipes
 * list, and the budget that all of it is charged to.  The budget is process-wide (an atomic) and has a ceiling; when it is
 * reached, memory_* and everything above return NULL and the request path answers 503.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slab.h"

enum {
    ARENA_BLOCK_BYTES = 8192,  /* one block serves a usual exchange: its state, its head, its policies' state */
    CHUNK_BYTES = 16384,       /* with its header; a body's unit of buffering */
    SCRATCH_BYTES = 65536,     /* a worker's read buffer: no connection owns one while it is idle */
    KERNEL_PIPE_BYTES = 65536, /* the default; an unprivileged user gets 1,024 pipes of this size */
};

struct kernel_pipe; /* base/pipe.h */

struct memory {
    struct slab blocks; /* ARENA_BLOCK_BYTES each */
    struct slab chunks; /* CHUNK_BYTES each */
    char *scratch;      /* SCRATCH_BYTES; valid until control returns to the loop */
    struct kernel_pipe *pipes;
    uint32_t pipes_kept, pipes_in_use, pipes_max;
    atomic_size_t *budget_used; /* shared by all workers; may be NULL */
    size_t budget_max;          /* bytes; 0 is no limit */
};

/* `budget` may be NULL. Returns 0 or -ERR_MEMORY. */
int memory_init(struct memory *memory, atomic_size_t *budget, size_t budget_max);
void memory_done(struct memory *memory);
/* How full the budget is, 0 to 100; 0 without a limit. For the shedding ladder. */
unsigned memory_pressure(const struct memory *memory);

/* A block or chunk charged to the budget; NULL when the budget or the machine has none left. */
void *memory_block(struct memory *memory);
void memory_block_free(struct memory *memory, void *block);
void *memory_chunk(struct memory *memory);
void memory_chunk_free(struct memory *memory, void *chunk);
/* Anything else that a peer can make us hold (buffers kept between reads, large heads). `size` is given back on free. */
void *memory_get(struct memory *memory, size_t size);
void memory_put(struct memory *memory, void *ptr, size_t size);
