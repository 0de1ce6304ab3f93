/* Whatever text: it is refused, or what was read is written to a text that is read and written as the same again. */
#include "base/json.h"
#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct json_out rewrite(struct arena *arena, struct slice text, unsigned indent, bool must)
{
    struct json_error error;
    struct json_out out;
    json_out_init(&out, indent);
    const struct json *root = json_parse(arena, text, NULL, &error);
    ENSURE(root != NULL || (!must && error.what != NULL && error.offset <= text.len));
    if (root != NULL)
        json_put(&out, root);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory memory;
    int err = memory_init(&memory, NULL, 0);
    ENSURE(err == 0);
    struct arena *arena = arena_new(&memory, SIZE_MAX);
    struct json_out first = rewrite(arena, slice_make((const char *)data, size), 2, false);
    if (first.len > 0) {
        struct json_out second = rewrite(arena, slice_make(first.buf, first.len), 2, true);
        ENSURE(slice_eq(slice_make(first.buf, first.len), slice_make(second.buf, second.len)));
        json_out_done(&second);
    }
    json_out_done(&first);
    arena_free(arena);
    memory_done(&memory);
    return 0;
}
