/*
 * Reading a set of keys.
 */
#include "jose/jwks.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/json.h"

static const struct json_limits limits = { .depth_max = 8, .entries_max = 8192 };

static int fail(struct jwks *jwks, const char *why)
{
    jwks->why = why;
    return -ERR_BAD_BODY;
}

static int add(struct arena *arena, const struct json *object, unsigned index, uint32_t allowed, struct jwks *jwks)
{
    struct jwk jwk;
    const char *why;
    enum jwk_outcome outcome = jwk_parse(arena, object, &jwk, &why);
    if (outcome == JWK_NO_MEMORY)
        return -ERR_MEMORY;
    jwk.algorithms &= allowed;
    if (outcome == JWK_USABLE && jwk.algorithms == 0)
        why = "it fits none of the algorithms that are allowed";
    if (!why) {
        jwks->has_private |= jwk.has_private;
        jwks->keys[jwks->count++] = jwk;
        return 0;
    }
    if (jwks->unusable++ == 0) {
        jwks->why = why;
        jwks->why_index = index;
    }
    return 0;
}

int jwks_parse(struct arena *arena, struct slice text, uint32_t allowed, struct jwks *ret_jwks)
{
    struct json_error error;
    *ret_jwks = (struct jwks){ 0 };
    if (text.len > JWKS_BYTES_MAX)
        return fail(ret_jwks, "it is larger than 256 KiB");
    const struct json *root = json_parse(arena, text, &limits, &error);
    if (!root)
        return error.out_of_memory ? -ERR_MEMORY : fail(ret_jwks, error.what);
    const struct json *list = json_get(root, "keys");
    bool lone = !list && json_get(root, "kty");
    if (!lone && (!list || list->kind != JSON_ARRAY))
        return fail(ret_jwks, "it has no list `keys`");
    unsigned count = lone ? 1 : list->count;
    if (count > JWKS_KEYS_MAX)
        return fail(ret_jwks, "it has more than 128 keys");
    ret_jwks->keys = arena_alloc(arena, (count + 1) * sizeof(*ret_jwks->keys));
    if (!ret_jwks->keys)
        return -ERR_MEMORY;
    if (lone)
        return add(arena, root, 0, allowed, ret_jwks);
    unsigned index = 0;
    for (const struct json *key = json_first(list); key; key = json_next(list, key)) {
        int rc = add(arena, key, index++, allowed, ret_jwks);
        if (rc < 0)
            return rc;
    }
    ENSURE(ret_jwks->count + ret_jwks->unusable == count);
    return 0;
}
