/* A response head: what is taken must, once written, be read as the same response. The first byte chooses the method.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "base/pipe.h"
#include "http/h1/parse.h"
#include "http/h1/write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Read back with more: we add fields of our own. */
static const struct h1_rules rules = { "http", 4096, 100 }, longer = { "http", 4096, 104 };

static void read_back(struct arena *arena, const struct h1_head *head, enum method method)
{
    const struct message *m = head->message;
    struct h1_framing framing = { .content_length = m->body_length,
                                  .chunked = head->chunked,
                                  .upgrade = m->upgrade,
                                  .length_is_metadata = m->body_length == BODY_NONE };
    struct h1_head again;
    struct pipe out;
    struct iovec iov = { 0 };
    pipe_init(&out, arena->memory, UINT32_MAX);
    if (h1_write_response(&out, m, &framing, SLICE("today")) == 0 && pipe_peek(&out, &iov, 1, SIZE_MAX) == 1) {
        ENSURE(h1_parse_response(arena, slice_make(iov.iov_base, iov.iov_len), &longer, method, &again) == 0);
        ENSURE(again.message->status == m->status && again.message->body_length == m->body_length);
    }
    pipe_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory memory;
    struct h1_head head;
    struct arena *arena = memory_init(&memory, NULL, 0) == 0 ? arena_new(&memory, ARENA_LIMIT_DEFAULT) : NULL;
    struct slice text = size > 0 ? arena_copy(arena, slice_make((const char *)data + 1, size - 1)) : SLICE_EMPTY;
    if (h1_parse_response(arena, text, &rules, size ? data[0] % METHOD_COUNT : 0, &head) == 0)
        read_back(arena, &head, data[0] % METHOD_COUNT);
    arena_free(arena);
    memory_done(&memory);
    return 0;
}
