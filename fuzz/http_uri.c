/* URI pieces: normalising is idempotent and never leaves a dot segment; nothing reads behind its input. */
#include <stdlib.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "http/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_normal(struct arena *arena, struct slice normal)
{
    struct slice again, rest = normal, segment;
    ENSURE(uri_normalise(arena, normal, &again) == 0 && slice_eq(again, normal));
    while ((segment = slice_cut(&rest, '/')).at != NULL)
        ENSURE(!slice_eq(segment, SLICE("..")) && !slice_eq(segment, SLICE(".")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory memory;
    struct slice ret, name, value, rest;
    uint16_t port;
    ENSURE(memory_init(&memory, NULL, 0) == 0);
    struct arena *arena = arena_new(&memory, ARENA_LIMIT_DEFAULT);
    struct slice text = arena_copy(arena, slice_make((const char *)data, size));
    if (text.at && size > 0 && uri_normalise(arena, text, &ret) == 0 && ret.at[0] == '/')
        check_normal(arena, ret);
    if (text.at && uri_decode(arena, text, &ret) == 0)
        ENSURE(ret.len <= size);
    if (text.at && uri_parse_authority(text, &ret, &port) == 0)
        ENSURE(ret.len <= size && ret.len > 0);
    for (rest = text; uri_next_param(&rest, &name, &value);)
        ENSURE(name.len + value.len <= size);
    (void)uri_target_valid(text);
    arena_free(arena);
    memory_done(&memory);
    return 0;
}
