/*
 * Credentials of HTTP's Basic scheme: whatever is read stays within its limits and has no control characters in it.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "exchange/consumers.h"
#include "http/fields.h"
#include "policies/basic/credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory memory;
    struct fields fields = { NULL, 0, 0 };
    enum credentials_found found;
    struct slice user, password, value = { (const char *)data, size };
    if (!field_value_valid(value) || memory_init(&memory, NULL, 0) < 0)
        return 0;
    struct arena *arena = arena_new(&memory, SIZE_MAX);
    if (arena && fields_add_id(&fields, arena, FIELD_AUTHORIZATION, value) == 0 &&
        credentials_read(&fields, arena, &found, &user, &password) == 0 && found == CREDENTIALS_THERE) {
        ENSURE(user.len <= PASSWORD_BYTES_MAX && password.len <= PASSWORD_BYTES_MAX);
        ENSURE(field_value_valid(user) && field_value_valid(password) && slice_find(user, ':') < 0);
    }
    if (arena)
        arena_free(arena);
    memory_done(&memory);
    return 0;
}
