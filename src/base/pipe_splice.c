/*
 * The kernel part of a pipe: bytes that go from socket to socket without entering the process (splice(2)).
 *
 * Kernel pipes are pooled per worker because making one costs three system calls, and capped because a user may only
 * have a limited number of pages in them; past that limit the kernel hands out pipes of one page, slower than copying.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/pipe.h"
#include "base/pipe_kernel.h"
#include "base/sys.h"

struct kernel_pipe *kernel_pipe_get(struct memory *memory)
{
    struct kernel_pipe *kernel = memory->pipes;
    if (kernel != NULL) {
        memory->pipes = kernel->next;
        memory->pipes_kept--;
    } else {
        if (memory->pipes_in_use >= memory->pipes_max)
            return NULL;
        kernel = mem_alloc(sizeof(*kernel));
        if (kernel == NULL)
            return NULL;
        if (sys->pipe(kernel->fd) < 0) {
            mem_free(kernel);
            return NULL;
        }
    }
    kernel->next = NULL;
    memory->pipes_in_use++;
    return kernel;
}

void kernel_pipe_put(struct memory *memory, struct kernel_pipe *kernel, bool holds_bytes)
{
    ENSURE(memory->pipes_in_use > 0);
    memory->pipes_in_use--;
    if (holds_bytes || memory->pipes_kept + memory->pipes_in_use >= memory->pipes_max) {
        sys->close(kernel->fd[0]);
        sys->close(kernel->fd[1]);
        mem_free(kernel);
        return;
    }
    kernel->next = memory->pipes;
    memory->pipes = kernel;
    memory->pipes_kept++;
}

bool pipe_splice_begin(struct pipe *pipe)
{
    if (pipe->kernel == NULL)
        pipe->kernel = kernel_pipe_get(pipe->memory);
    return pipe->kernel != NULL;
}

ssize_t pipe_splice_in(struct pipe *pipe, int fd, size_t max)
{
    size_t len = MIN(max, (size_t)pipe_room(pipe));
    ENSURE(pipe->kernel != NULL && pipe->end == PIPE_OPEN);
    ENSURE(len > 0);
    ssize_t n = sys->splice(fd, pipe->kernel->fd[1], len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
        ENSURE((size_t)n <= len);
        pipe->bytes += (uint32_t)n;
        pipe->kernel_bytes += (uint32_t)n;
        pipe->total += (uint64_t)n;
    }
    return n;
}

ssize_t pipe_splice_out(struct pipe *pipe, int fd, size_t max, bool more)
{
    size_t len = MIN(max, (size_t)pipe->kernel_bytes);
    ENSURE(pipe->kernel != NULL && pipe->first == NULL);
    ENSURE(len > 0);
    unsigned flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0);
    ssize_t n = sys->splice(pipe->kernel->fd[0], fd, len, flags);
    if (n > 0) {
        ENSURE((size_t)n <= len);
        pipe->bytes -= (uint32_t)n;
        pipe->kernel_bytes -= (uint32_t)n;
    }
    return n;
}
