/* The worker's pool of kernel pipes, for pipe.c and pipe_splice.c alone. */
#pragma once

#include <stdbool.h>

struct memory;
struct kernel_pipe;

/* NULL at pipes_max, or when the system gives none. */
struct kernel_pipe *kernel_pipe_get(struct memory *memory);
/* Closes it when it still holds bytes: they must never reach the next user. */
void kernel_pipe_put(struct memory *memory, struct kernel_pipe *kernel, bool holds_bytes);
