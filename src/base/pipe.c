/*
 * The chunks of a pipe: appending, reading, moving between pipes, and the end.
 *
 * Invariants: `bytes` is what the chunks hold plus kernel_bytes; only the last chunk may be empty, and only between
 * pipe_reserve and pipe_commit, so a pipe without bytes holds no memory.  Chunks are never mostly air for long: what is
 * read goes behind what is there while PIPE_READ_MIN bytes fit, and pipe_move copies small pieces together, so that a
 * peer who sends byte by byte cannot make `room_max` bytes cost many times their size.
 */
#include "base/pipe.h"

#include "base/assert.h"
#include "base/memory.h"
#include "base/pipe_kernel.h"

enum { CHUNK_ROOM = CHUNK_BYTES - offsetof(struct chunk, data), MOVE_COPY_MAX = CHUNK_ROOM / 4 };

static uint32_t chunk_len(const struct chunk *chunk)
{
    return chunk->end - chunk->begin;
}

/* Room behind what the last chunk holds. */
static uint32_t tail_room(const struct pipe *pipe)
{
    return pipe->last ? pipe->last->size - pipe->last->end : 0;
}

static struct chunk *chunk_new(struct memory *memory)
{
    struct chunk *chunk = memory_chunk(memory);
    if (chunk != NULL) {
        chunk->next = NULL;
        chunk->begin = chunk->end = 0;
        chunk->size = CHUNK_ROOM;
    }
    return chunk;
}

static void push_chunk(struct pipe *pipe, struct chunk *chunk)
{
    if (pipe->last != NULL)
        pipe->last->next = chunk;
    else
        pipe->first = chunk;
    pipe->last = chunk;
}

static struct chunk *pop_chunk(struct pipe *pipe)
{
    struct chunk *chunk = pipe->first;
    pipe->first = chunk->next;
    if (pipe->first == NULL)
        pipe->last = NULL;
    chunk->next = NULL;
    return chunk;
}

void pipe_init(struct pipe *pipe, struct memory *memory, uint32_t room_max)
{
    ENSURE(memory != NULL && room_max > 0);
    *pipe = (struct pipe){ .memory = memory, .room_max = room_max };
}

void pipe_done(struct pipe *pipe)
{
    while (pipe->first != NULL)
        memory_chunk_free(pipe->memory, pop_chunk(pipe));
    if (pipe->kernel != NULL)
        kernel_pipe_put(pipe->memory, pipe->kernel, pipe->kernel_bytes > 0);
    pipe->kernel = NULL;
    pipe->bytes = pipe->kernel_bytes = 0;
}

static void chunk_fill(struct chunk *chunk, const char *data, size_t len)
{
    memcpy(chunk->data + chunk->end, data, len);
    chunk->end += (uint32_t)len;
}

/* Fresh chunks holding the bytes, linked from *ret_first to *ret_last; all of them or none. */
static int chunks_of(struct memory *memory, const char *data, size_t len, struct chunk **ret_first,
                     struct chunk **ret_last)
{
    struct chunk *first = NULL, *last = NULL;
    while (len > 0) {
        struct chunk *chunk = chunk_new(memory);
        if (chunk == NULL) {
            while (first != NULL) {
                struct chunk *next = first->next;
                memory_chunk_free(memory, first);
                first = next;
            }
            return -ERR_MEMORY;
        }
        size_t part = MIN(len, (size_t)CHUNK_ROOM);
        chunk_fill(chunk, data, part);
        data += part;
        len -= part;
        if (last != NULL)
            last->next = chunk;
        else
            first = chunk;
        last = chunk;
    }
    *ret_first = first;
    *ret_last = last;
    return 0;
}

/* pipe_append without regard to room and end. */
static int append(struct pipe *pipe, const char *data, size_t len)
{
    size_t behind = MIN(len, (size_t)tail_room(pipe));
    if (behind < len) {
        struct chunk *first, *last, *before = pipe->last;
        int err = chunks_of(pipe->memory, data + behind, len - behind, &first, &last);
        if (err)
            return err;
        if (behind > 0)
            chunk_fill(before, data, behind);
        push_chunk(pipe, first);
        pipe->last = last;
    } else {
        chunk_fill(pipe->last, data, len);
    }
    pipe->bytes += (uint32_t)len;
    pipe->total += len;
    return 0;
}

int pipe_append(struct pipe *pipe, const void *data, size_t len)
{
    ENSURE(pipe->end == PIPE_OPEN && pipe->kernel_bytes == 0);
    ENSURE(len <= pipe_room(pipe));
    return len == 0 ? 0 : append(pipe, data, len);
}

int pipe_reserve(struct pipe *pipe, char **ret_at, size_t *ret_len)
{
    uint32_t room = pipe_room(pipe);
    ENSURE(pipe->end == PIPE_OPEN && pipe->kernel_bytes == 0);
    ENSURE(room > 0);
    if (tail_room(pipe) < MIN(room, (uint32_t)PIPE_READ_MIN)) {
        struct chunk *chunk = chunk_new(pipe->memory);
        if (chunk == NULL)
            return -ERR_MEMORY;
        push_chunk(pipe, chunk);
    }
    *ret_at = pipe->last->data + pipe->last->end;
    *ret_len = MIN(room, tail_room(pipe));
    return 0;
}

/* Gives back a last chunk that was reserved and not used. */
static void drop_empty_tail(struct pipe *pipe)
{
    struct chunk *empty = pipe->last, *before = NULL;
    for (struct chunk *chunk = pipe->first; chunk != empty; chunk = chunk->next)
        before = chunk;
    pipe->last = before;
    if (before != NULL)
        before->next = NULL;
    else
        pipe->first = NULL;
    memory_chunk_free(pipe->memory, empty);
}

void pipe_commit(struct pipe *pipe, size_t len)
{
    ENSURE(pipe->last != NULL);
    ENSURE(len <= tail_room(pipe) && len <= pipe_room(pipe));
    pipe->last->end += (uint32_t)len;
    pipe->bytes += (uint32_t)len;
    pipe->total += len;
    if (chunk_len(pipe->last) == 0)
        drop_empty_tail(pipe);
}

int pipe_peek(const struct pipe *pipe, struct iovec *ret_iov, int max, size_t bytes_max)
{
    int filled = 0;
    for (struct chunk *chunk = pipe->first; chunk != NULL && filled < max && bytes_max > 0; chunk = chunk->next) {
        size_t len = MIN((size_t)chunk_len(chunk), bytes_max);
        ret_iov[filled++] = (struct iovec){ chunk->data + chunk->begin, len };
        bytes_max -= len;
    }
    return filled;
}

void pipe_consume(struct pipe *pipe, size_t len)
{
    ENSURE(len <= pipe->bytes - pipe->kernel_bytes);
    pipe->bytes -= (uint32_t)len;
    while (len > 0) {
        struct chunk *chunk = pipe->first;
        uint32_t part = (uint32_t)MIN(len, (size_t)chunk_len(chunk));
        chunk->begin += part;
        len -= part;
        if (chunk_len(chunk) == 0)
            memory_chunk_free(pipe->memory, pop_chunk(pipe));
    }
}

static bool is_copied(const struct chunk *chunk, size_t len)
{
    return len < chunk_len(chunk) || len <= MOVE_COPY_MAX;
}

size_t pipe_next_piece(const struct pipe *from, size_t max, size_t *ret_copied)
{
    size_t len = from->first ? MIN((size_t)chunk_len(from->first), max) : 0;

    *ret_copied = len > 0 && is_copied(from->first, len) ? len : 0;
    return len;
}

int pipe_prepare(struct pipe *pipe, size_t len)
{
    ENSURE(pipe->end == PIPE_OPEN && pipe->kernel_bytes == 0);
    ENSURE(len > 0 && len <= PIPE_PREPARE_MAX);
    if (tail_room(pipe) >= len)
        return 0;
    struct chunk *chunk = chunk_new(pipe->memory);
    if (chunk == NULL)
        return -ERR_MEMORY;
    push_chunk(pipe, chunk);
    return 0;
}

size_t pipe_move(struct pipe *from, struct pipe *to, size_t max)
{
    ENSURE(from != to && from->memory == to->memory);
    ENSURE(to->end == PIPE_OPEN && to->kernel_bytes == 0);
    size_t moved = 0;
    while (from->first != NULL && moved < max) {
        struct chunk *chunk = from->first;
        uint32_t len = (uint32_t)MIN((size_t)chunk_len(chunk), max - moved);
        if (is_copied(chunk, len)) {
            if (append(to, chunk->data + chunk->begin, len))
                break;
            pipe_consume(from, len);
        } else {
            push_chunk(to, pop_chunk(from));
            from->bytes -= len;
            to->bytes += len;
            to->total += len;
        }
        moved += len;
    }
    return moved;
}

void pipe_finish(struct pipe *pipe, struct fields *trailers)
{
    ENSURE(pipe->end == PIPE_OPEN);
    pipe->end = PIPE_ENDED;
    pipe->trailers = trailers;
}

void pipe_cut(struct pipe *pipe, enum err err)
{
    ENSURE(err > ERR_NONE && err < ERR_COUNT);
    if (pipe->end != PIPE_OPEN)
        return;
    pipe->end = PIPE_CUT;
    pipe->err = (uint8_t)err;
}
