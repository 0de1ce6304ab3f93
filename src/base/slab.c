/*
 * Objects of one size, with a bounded stack of freed ones.  A kept object's first word links to the next.
 */
#include "base/slab.h"

#include <stdbool.h>

#include "base/assert.h"
#include "base/sys.h"

#if defined(__SANITIZE_ADDRESS__)
#define SLAB_KEEPS false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_KEEPS false
#endif
#endif
#ifndef SLAB_KEEPS
#define SLAB_KEEPS true
#endif

void slab_init(struct slab *slab, size_t object_size, uint32_t kept_max)
{
    ENSURE(object_size >= sizeof(void *));
    *slab = (struct slab){ .object_size = object_size, .kept_max = SLAB_KEEPS ? kept_max : 0 };
}

void *slab_get(struct slab *slab)
{
    void *object = slab->free_list;
    if (object != NULL) {
        memcpy(&slab->free_list, object, sizeof(void *));
        slab->kept--;
    } else {
        object = mem_alloc(slab->object_size);
        if (object == NULL)
            return NULL;
    }
    slab->in_use++;
    return object;
}

void slab_put(struct slab *slab, void *object)
{
    ENSURE(object != NULL && slab->in_use > 0);
    slab->in_use--;
    if (slab->kept >= slab->kept_max) {
        mem_free(object);
        return;
    }
    memcpy(object, &slab->free_list, sizeof(void *));
    slab->free_list = object;
    slab->kept++;
}

void slab_done(struct slab *slab)
{
    ENSURE(slab->in_use == 0);
    while (slab->free_list != NULL) {
        void *object = slab->free_list;
        memcpy(&slab->free_list, object, sizeof(void *));
        mem_free(object);
    }
    slab->kept = 0;
}
