/*
 * A slab hands out objects of one size and keeps a bounded number of freed ones for the next use (last in, first out,
 * so that the next user finds them in the cache).  It belongs to one worker; no lock.  Under AddressSanitizer nothing
 * is kept, so that a use after free is seen.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct slab {
    void *free_list;
    size_t object_size;
    uint32_t kept;     /* objects in free_list */
    uint32_t kept_max; /* more than this go back to the heap */
    uint32_t in_use;
};

void slab_init(struct slab *slab, size_t object_size, uint32_t kept_max);
void *slab_get(struct slab *slab); /* not zeroed; NULL when there is no memory */
void slab_put(struct slab *slab, void *object);
void slab_done(struct slab *slab); /* frees the kept ones; ENSUREs that none is in use */
