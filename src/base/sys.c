/*
 * Which table of calls is in use, and the few helpers over its allocator.
 *
 * mem_must and mem_strdup abort: they are for start-up and control code, where there is no request to answer 503 to and
 * nothing sensible to go on with.  The request path uses mem_alloc, or what is built on it, and takes NULL for an
 * answer.
 */
#include "base/sys.h"

#include "base/assert.h"

const struct sys *sys = &sys_posix;

void *mem_alloc(size_t size)
{
    return sys->alloc(size);
}

void *mem_zalloc(size_t size)
{
    void *ptr = sys->alloc(size);
    return ptr ? memset(ptr, 0, size) : NULL;
}

void *mem_must(size_t size)
{
    void *ptr = mem_zalloc(size);
    if (ptr == NULL) {
        (void)fputs("maitred: out of memory\n", stderr);
        abort();
    }
    return ptr;
}

void mem_free(void *ptr)
{
    if (ptr != NULL)
        sys->free(ptr);
}

char *mem_strdup(const char *s)
{
    ENSURE(s != NULL);
    size_t size = strlen(s) + 1;
    return memcpy(mem_must(size), s, size);
}
