/* What a service is sent as a path: settling is idempotent, agrees with what the router looks at, and hides nothing. */
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "http/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct arena *arena, struct slice path, const struct uri_rules *rules)
{
    struct slice settled, again, segment;
    if (uri_settle(arena, path, rules, &settled) != 0 || settled.len == 0 || settled.at[0] != '/')
        return;
    ENSURE(uri_settle(arena, settled, rules, &again) == 0 && slice_eq(again, settled));
    ENSURE(uri_normalise(arena, settled, &again) == 0 && slice_eq(again, settled));
    ENSURE(rules->empty_segments || !memmem(settled.at, settled.len, "//", 2));
    ENSURE(rules->escaped_slashes || !memmem(settled.at, settled.len, "%2F", 3));
    while ((segment = slice_cut(&settled, '/')).at != NULL) {
        struct slice name = slice_cut(&segment, ';');
        ENSURE(!slice_eq(name, SLICE("..")) && !slice_eq(name, SLICE(".")));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory memory;
    struct uri_rules rules = { size & 1, size & 2 };
    ENSURE(memory_init(&memory, NULL, 0) == 0);
    struct arena *arena = arena_new(&memory, ARENA_LIMIT_DEFAULT);
    check(arena, arena_copy(arena, slice_make((const char *)data, size)), &rules);
    arena_free(arena);
    memory_done(&memory);
    return 0;
}
