/* A set of keys in any form: it is refused, or keys are made of it that nothing signs with; no byte is read beyond it.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "jose/library.h"
#include "jose/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jose_library *library; /* as a worker has one */
    struct memory memory;
    struct jwks jwks;
    struct jose_keys *keys;
    int err = memory_init(&memory, NULL, 0);
    library = library ? library : jose_library_get();
    ENSURE(err == 0 && library);
    struct arena *arena = arena_new(&memory, 1 << 24);
    if (jwks_parse(arena, slice_make((const char *)data, size), UINT32_MAX, &jwks) == 0) {
        ENSURE(jwks.count + jwks.unusable <= JWKS_KEYS_MAX);
        err = jose_keys_new(library, &jwks, &keys);
        ENSURE(err == 0 && jose_keys_count(keys) <= jwks.count);
        for (unsigned a = 0; a < JOSE_ALGORITHM_COUNT; a++) {
            const struct jws jws = { .algorithm = (enum jose_algorithm)a, .signed_text = SLICE("a.b") };
            ENSURE(jws_verify(keys, &jws) != JOSE_OK);
        }
        jose_keys_free(keys);
    }
    arena_free(arena);
    memory_done(&memory);
    return 0;
}
