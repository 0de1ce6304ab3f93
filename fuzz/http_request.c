/* A request head: whatever is taken must, once written, be read as the same request. */
#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "base/pipe.h"
#include "http/h1/parse.h"
#include "http/h1/write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Read back with more: we add fields of our own. */
static const struct h1_rules rules = { "http", 4096, 100 }, longer = { "http", 4096, 104 };

static void read_back(struct arena *arena, const struct message *m)
{
    struct h1_framing framing = { .content_length = m->body_length, .chunked = m->body_length == BODY_UNKNOWN };
    struct h1_head again;
    struct pipe out;
    struct iovec iov = { 0 };
    pipe_init(&out, arena->memory, UINT32_MAX);
    if (m->authority.len > 0 && h1_write_request(&out, m, &framing) == 0 && pipe_peek(&out, &iov, 1, SIZE_MAX) == 1) {
        ENSURE(h1_parse_request(arena, slice_make(iov.iov_base, iov.iov_len), &longer, &again) == 0);
        ENSURE(again.message->method == m->method && again.message->body_length == m->body_length);
        ENSURE(slice_eq(again.message->path, m->path) && slice_eq(again.message->query, m->query));
        ENSURE(slice_eq(again.message->authority, m->authority));
    }
    pipe_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory memory;
    struct h1_head head;
    struct arena *arena = memory_init(&memory, NULL, 0) == 0 ? arena_new(&memory, ARENA_LIMIT_DEFAULT) : NULL;
    struct slice text = arena_copy(arena, slice_make((const char *)data, size));
    if (h1_parse_request(arena, text, &rules, &head) == 0)
        read_back(arena, head.message);
    arena_free(arena);
    memory_done(&memory);
    return 0;
}
