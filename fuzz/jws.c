/* A token in any form: it is refused, or what was taken apart stands within its bounds; claims of any text likewise. */
#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "jose/claims.h"
#include "jose/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct claim_rules rules = { .skew_s = 60, .lifetime_max_s = 3600 };
    struct memory memory;
    struct jws jws;
    struct claims claims;
    int err = memory_init(&memory, NULL, 0);
    ENSURE(err == 0);
    struct arena *arena = arena_new(&memory, 1 << 24);
    struct slice text = { (const char *)data, size };
    enum jose_fault fault = jws_parse(arena, text, JWS_BYTES_MAX, UINT32_MAX, &jws);
    if (fault == JOSE_OK) {
        ENSURE(jws.signed_text.len < size && jws.payload.len < size && jws.key_id.len <= JWS_KID_MAX);
        ENSURE((unsigned)jws.algorithm < JOSE_ALGORITHM_COUNT);
        text = jws.payload;
    }
    fault = claims_parse(arena, text, &claims);
    if (fault == JOSE_OK)
        ENSURE((unsigned)claims_check(&claims, &rules) < JOSE_FAULT_COUNT && claims.expires_s >= -1);
    arena_free(arena);
    memory_done(&memory);
    return 0;
}
