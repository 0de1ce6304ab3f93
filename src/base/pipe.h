/*
 * A pipe carries a body: a bounded queue of bytes with an explicit end.
 *
 *      producer --append--> [ chunk | chunk | chunk | kernel pipe ] --peek, consume--> consumer
 *
 * room = room_max - bytes is the whole back-pressure design: who produces never appends beyond it.
 * A pipe ends as ENDED (with trailers or none) or CUT (with the error); nothing else counts as complete.  Bytes that
 * came before a cut may still be read.
 * When a body is spliced, what is behind the last chunk sits in a kernel pipe and never enters the process; after the
 * first spliced byte, nothing may be appended to that pipe by copying until the kernel part is drained.
 *
 * Owned by the struct it is embedded in; pipe_done gives everything back; one worker.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"

struct memory;
struct fields; /* http/fields.h: trailers are only carried here */

struct chunk {
    struct chunk *next;
    uint32_t begin, end, size; /* offsets in data */
    char data[];
};

struct kernel_pipe {
    struct kernel_pipe *next;
    int fd[2]; /* read, write */
};

enum pipe_end { PIPE_OPEN, PIPE_ENDED, PIPE_CUT };

struct pipe {
    struct memory *memory;
    struct chunk *first, *last;
    struct kernel_pipe *kernel; /* NULL when not spliced */
    struct fields *trailers;    /* with PIPE_ENDED; NULL when there are none */
    uint32_t bytes;             /* in chunks and kernel pipe together */
    uint32_t kernel_bytes;
    uint32_t room_max;
    uint8_t end;    /* enum pipe_end */
    uint8_t err;    /* enum err, with PIPE_CUT */
    uint64_t total; /* bytes that ever entered */
};

enum {
    PIPE_ROOM_DEFAULT = 65536,
    PIPE_READ_MIN = 1024, /* a chunk with less room at its end than this is not read into any more */
    PIPE_PREPARE_MAX = 16000,
};

void pipe_init(struct pipe *pipe, struct memory *memory, uint32_t room_max);
void pipe_done(struct pipe *pipe);

static inline uint32_t pipe_room(const struct pipe *pipe)
{
    return pipe->bytes >= pipe->room_max ? 0 : pipe->room_max - pipe->bytes;
}
/* Nothing more will ever come out. */
static inline bool pipe_drained(const struct pipe *pipe)
{
    return pipe->bytes == 0 && pipe->end != PIPE_OPEN;
}

/* Copies len bytes in; the caller has seen that there is room (ENSUREd). -ERR_MEMORY: nothing was appended. */
MUST_USE int pipe_append(struct pipe *pipe, const void *data, size_t len);
/* Room to read straight into: at least one byte, at most pipe_room, which must not be 0. -ERR_MEMORY without memory.
 * Follow with pipe_commit at once, of 0 bytes when none came. */
MUST_USE int pipe_reserve(struct pipe *pipe, char **ret_at, size_t *ret_len);
void pipe_commit(struct pipe *pipe, size_t len);
/* Fills at most max iovecs with what is in chunks, at most `bytes_max` bytes; returns how many were filled. */
int pipe_peek(const struct pipe *pipe, struct iovec *ret_iov, int max, size_t bytes_max);
void pipe_consume(struct pipe *pipe, size_t len);
/* Moves up to max bytes of chunks from one pipe to the other, well-filled chunks by pointer; returns how many, fewer
 * when memory is out. Ignores room. Kernel bytes and ends stay. Both have the same memory. */
size_t pipe_move(struct pipe *from, struct pipe *to, size_t max);
/* For a consumer that has to say a length before it moves the bytes: how many, at most max, one pipe_move takes from
 * the first chunk, and in *ret_copied how many of them it copies rather than moves by pointer. 0 for an empty pipe. */
size_t pipe_next_piece(const struct pipe *from, size_t max, size_t *ret_copied);
/* The next bytes to be appended, by copying, up to `len` of them, cannot fail: there is room for them in the last
 * chunk, which may be a fresh one. They have to follow at once. At most PIPE_PREPARE_MAX. -ERR_MEMORY. */
MUST_USE int pipe_prepare(struct pipe *pipe, size_t len);
/* The body is complete. The pipe was open (ENSUREd). */
void pipe_finish(struct pipe *pipe, struct fields *trailers);
/* The body stops short. Nothing happens when the pipe has its end already. */
void pipe_cut(struct pipe *pipe, enum err err);

/* Splicing. Begin: takes a kernel pipe from the worker's pool, false when none is to be had (then copy). It goes back
 * in pipe_done. */
bool pipe_splice_begin(struct pipe *pipe);
/* Moves up to max bytes from the socket into the kernel part, at most the room (which must not be 0): bytes moved, 0 at
 * the peer's end, or -1 and errno. The kernel pipe counts in pages, so it may be full before the room is: EAGAIN says
 * that the socket has nothing only when kernel_bytes is 0; otherwise try again once some have gone out. */
ssize_t pipe_splice_in(struct pipe *pipe, int fd, size_t max);
/* Moves up to max kernel bytes to the socket; chunks must be drained before: bytes moved or -1 and errno. */
ssize_t pipe_splice_out(struct pipe *pipe, int fd, size_t max, bool more);
