/*
 * The worker's memory and its account.
 *
 *      budget_used (shared) = sum over workers of held_bytes + credit_bytes
 *
 * Charging first spends the credit; only when it does not suffice is the shared counter touched, for a grain more than
 * is needed. When the ceiling leaves no room for the grain the bare need is tried, so a full budget refuses nothing
 * that would still fit beside the other workers' credit.  Freed bytes become credit, and what exceeds two grains of it
 * goes back.
 */
#include "base/memory.h"

#include "base/assert.h"
#include "base/pipe.h"
#include "base/sys.h"

enum { GRAIN_MAX = 256 * 1024, GRAIN_SHARE = 1024 /* of the budget: 64 workers' credit stays below an eighth of it */ };

int memory_init(struct memory *memory, atomic_size_t *budget, size_t budget_max)
{
    *memory = (struct memory){
        .pipes_max = KERNEL_PIPES_MAX,
        .budget_used = budget,
        .budget_max = budget_max,
        .grain_bytes = budget_max == 0 ? GRAIN_MAX : MIN(budget_max / GRAIN_SHARE, (size_t)GRAIN_MAX),
    };
    slab_init(&memory->blocks, ARENA_BLOCK_BYTES, BLOCKS_KEPT_MAX);
    slab_init(&memory->chunks, CHUNK_BYTES, CHUNKS_KEPT_MAX);
    for (size_t i = 0; i < SMALL_SLABS; i++)
        slab_init(&memory->small[i], 16 * i + 8, SMALL_KEPT_MAX);
    memory->scratch = mem_alloc(SCRATCH_BYTES);
    return memory->scratch ? 0 : -ERR_MEMORY;
}

void memory_done(struct memory *memory)
{
    ENSURE(memory->held_bytes == 0);
    ENSURE(memory->pipes_in_use == 0);
    if (memory->budget_used != NULL)
        atomic_fetch_sub_explicit(memory->budget_used, memory->credit_bytes, memory_order_relaxed);
    memory->credit_bytes = 0;
    while (memory->pipes != NULL) {
        struct kernel_pipe *spare = memory->pipes;
        memory->pipes = spare->next;
        sys->close(spare->fd[0]);
        sys->close(spare->fd[1]);
        mem_free(spare);
    }
    memory->pipes_kept = 0;
    slab_done(&memory->blocks);
    slab_done(&memory->chunks);
    for (size_t i = 0; i < SMALL_SLABS; i++)
        slab_done(&memory->small[i]);
    mem_free(memory->scratch);
    memory->scratch = NULL;
}

unsigned memory_pressure(const struct memory *memory)
{
    if (memory->budget_max == 0)
        return 0;
    size_t used = memory->held_bytes;
    if (memory->budget_used != NULL)
        used = atomic_load_explicit(memory->budget_used, memory_order_relaxed);
    if (used >= memory->budget_max)
        return 100;
    return (unsigned)((double)used * 100.0 / (double)memory->budget_max);
}

/* Raises the shared counter by `size` unless that would pass the ceiling. */
static bool budget_take(struct memory *memory, size_t size)
{
    size_t used = atomic_load_explicit(memory->budget_used, memory_order_relaxed);
    do {
        if (memory->budget_max > 0 && (used > memory->budget_max || size > memory->budget_max - used))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(memory->budget_used, &used, used + size, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static bool charge_beyond_credit(struct memory *memory, size_t size)
{
    if (memory->budget_used == NULL)
        return memory->budget_max == 0 ||
               (memory->held_bytes <= memory->budget_max && size <= memory->budget_max - memory->held_bytes);
    size_t need = size - memory->credit_bytes;
    size_t ask = need + memory->grain_bytes;
    if (ask < need || !budget_take(memory, ask)) {
        ask = need;
        if (!budget_take(memory, ask))
            return false;
    }
    memory->credit_bytes = ask - need;
    return true;
}

bool memory_charge(struct memory *memory, size_t size)
{
    if (size <= memory->credit_bytes)
        memory->credit_bytes -= size;
    else if (!charge_beyond_credit(memory, size))
        return false;
    memory->held_bytes += size;
    return true;
}

void memory_discharge(struct memory *memory, size_t size)
{
    ENSURE(memory->held_bytes >= size);
    memory->held_bytes -= size;
    if (memory->budget_used == NULL)
        return;
    memory->credit_bytes += size;
    if (memory->credit_bytes > 2 * memory->grain_bytes) {
        size_t back = memory->credit_bytes - memory->grain_bytes;
        atomic_fetch_sub_explicit(memory->budget_used, back, memory_order_relaxed);
        memory->credit_bytes -= back;
    }
}

static void *charged_get(struct memory *memory, struct slab *slab)
{
    if (!memory_charge(memory, slab->object_size))
        return NULL;
    void *object = slab_get(slab);
    if (object == NULL)
        memory_discharge(memory, slab->object_size);
    return object;
}

void *memory_block(struct memory *memory)
{
    return charged_get(memory, &memory->blocks);
}

void memory_block_free(struct memory *memory, void *block)
{
    slab_put(&memory->blocks, block);
    memory_discharge(memory, ARENA_BLOCK_BYTES);
}

void *memory_chunk(struct memory *memory)
{
    return charged_get(memory, &memory->chunks);
}

void memory_chunk_free(struct memory *memory, void *chunk)
{
    slab_put(&memory->chunks, chunk);
    memory_discharge(memory, CHUNK_BYTES);
}

/* The slab for objects of that size, NULL for large ones.  A size of 16 n + 8 is what the heap hands out without
 * waste. */
static struct slab *small_slab(struct memory *memory, size_t size)
{
    return size <= SMALL_BYTES_MAX ? &memory->small[(size + 7) / 16] : NULL;
}

void *memory_get(struct memory *memory, size_t size)
{
    ENSURE(size > 0);
    if (!memory_charge(memory, size))
        return NULL;
    struct slab *slab = small_slab(memory, size);
    void *ptr = slab ? slab_get(slab) : mem_alloc(size);
    if (ptr == NULL)
        memory_discharge(memory, size);
    return ptr;
}

void memory_put(struct memory *memory, void *ptr, size_t size)
{
    if (ptr == NULL)
        return;
    struct slab *slab = small_slab(memory, size);
    if (slab)
        slab_put(slab, ptr);
    else
        mem_free(ptr);
    memory_discharge(memory, size);
}
