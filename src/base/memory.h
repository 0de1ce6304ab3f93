/*
 * A worker's memory: slabs of arena blocks, of body chunks and of small objects, one scratch buffer for reading, a list
 * of spare kernel pipes, and the budget that all of it is charged to.  The budget is process-wide (an atomic) and has a
 * ceiling; when it is reached, memory_* and everything above return NULL and the request path answers 503.
 *
 * So that workers do not fight over the atomic, each takes credit from the budget in grains (256 KiB, less for a small
 * budget) and charges against that: `budget_used` reads up to two grains a worker high, and is exact again after
 * memory_done.  `held_bytes` is exact always.  Owned by the worker, which alone touches it, `budget_used` excepted.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slab.h"

enum {
    ARENA_BLOCK_BYTES = 8192,  /* one block serves a usual exchange: its state, its head, its policies' state */
    CHUNK_BYTES = 16384,       /* with its header; a body's unit of buffering */
    SCRATCH_BYTES = 65536,     /* a worker's read buffer: no connection owns one while it is idle */
    KERNEL_PIPE_BYTES = 65536, /* the default; an unprivileged user gets 1,024 pipes of this size */
    KERNEL_PIPES_MAX = 192,    /* a worker, unless told: five workers fit in those 1,024; past them pipes shrink */
    BLOCKS_KEPT_MAX = 1024,    /* 8 MiB a worker: what is freed after a burst goes back to the heap */
    CHUNKS_KEPT_MAX = 256,     /* 4 MiB a worker */
    SMALL_BYTES_MAX = 520,     /* what memory_get takes from slabs of its own, 16 bytes apart: the heap's steps */
    SMALL_SLABS = SMALL_BYTES_MAX / 16 + 1,
    SMALL_KEPT_MAX = 512, /* of each: 4 MiB a worker if all were full */
};

struct kernel_pipe; /* base/pipe.h */

struct memory {
    struct slab blocks; /* ARENA_BLOCK_BYTES each */
    struct slab chunks; /* CHUNK_BYTES each */
    struct slab small[SMALL_SLABS];
    char *scratch; /* SCRATCH_BYTES; valid until control returns to the loop */
    struct kernel_pipe *pipes;
    uint32_t pipes_kept, pipes_in_use, pipes_max;
    atomic_size_t *budget_used; /* shared by all workers; may be NULL */
    size_t budget_max;          /* bytes; 0 is no limit */
    size_t held_bytes;          /* what this worker's users hold now */
    size_t credit_bytes;        /* taken from budget_used and not charged yet */
    size_t grain_bytes;
};

/* `budget` may be NULL. Returns 0 or -ERR_MEMORY. */
MUST_USE int memory_init(struct memory *memory, atomic_size_t *budget, size_t budget_max);
/* Gives everything back; ENSUREs that nobody holds a byte or a kernel pipe. */
void memory_done(struct memory *memory);
/* How full the budget is, 0 to 100; 0 without a limit. For the shedding ladder. */
unsigned memory_pressure(const struct memory *memory);

/* A block or chunk charged to the budget; NULL when the budget or the machine has none left. */
void *memory_block(struct memory *memory);
void memory_block_free(struct memory *memory, void *block);
void *memory_chunk(struct memory *memory);
void memory_chunk_free(struct memory *memory, void *chunk);
/* Anything else that a peer can make us hold (buffers kept between reads, large heads). `size` is given back by
 * memory_put. */
void *memory_get(struct memory *memory, size_t size);
void memory_put(struct memory *memory, void *ptr, size_t size);
/* The account alone, for what a library allocates on behalf of a peer: false when the budget has none left. */
bool memory_charge(struct memory *memory, size_t size);
void memory_discharge(struct memory *memory, size_t size);
