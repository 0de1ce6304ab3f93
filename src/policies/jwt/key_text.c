/*
 * Texts of keys: reading, counting what they give, building keys from them.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <openssl/crypto.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/sys.h"
#include "jose/jwks.h"
#include "jose/library.h"
#include "jose/verify.h"
#include "policies/jwt/key_source_state.h"

enum { PARSE_BYTES_MAX = 8 << 20 }; /* the tape of the largest set, and its keys */

struct key_text *key_text_new(struct slice bytes, bool secret, uint32_t algorithms)
{
    static _Atomic(uint64_t) versions;
    struct key_text *text = mem_zalloc(sizeof(*text) + bytes.len + 1);
    if (!text)
        return NULL;
    atomic_init(&text->refs, 1);
    text->version = atomic_fetch_add_explicit(&versions, 1, memory_order_relaxed) + 1;
    text->secret = secret;
    text->algorithms = algorithms;
    text->len = bytes.len;
    memcpy(text->bytes, bytes.at, bytes.len);
    return text;
}

void key_text_drop(struct key_text *text)
{
    if (atomic_fetch_sub_explicit(&text->refs, 1, memory_order_acq_rel) > 1)
        return;
    OPENSSL_cleanse(text->bytes, text->len);
    mem_free(text);
}

bool key_text_same(const struct key_text *text, struct slice bytes)
{
    return text && slice_eq(slice_make(text->bytes, text->len), bytes);
}

static int parse(const struct key_text *text, struct arena *arena, struct jwks *ret_jwks)
{
    struct slice bytes = { text->bytes, text->len };
    if (!text->secret)
        return jwks_parse(arena, bytes, text->algorithms, ret_jwks);
    *ret_jwks = (struct jwks){ .keys = arena_zalloc(arena, sizeof(*ret_jwks->keys)), .count = 1 };
    if (!ret_jwks->keys)
        return -ERR_MEMORY;
    ret_jwks->keys[0].kind = JWK_SECRET;
    ret_jwks->keys[0].secret = bytes;
    ret_jwks->keys[0].algorithms = jwk_secret_algorithms(bytes) & text->algorithms;
    return 0;
}

int key_text_build(const struct key_text *text, struct jose_library *library, struct memory *memory,
                   struct jose_keys **ret_keys)
{
    struct jwks jwks;
    struct arena *arena = arena_new(memory, PARSE_BYTES_MAX);
    if (!arena)
        return -ERR_MEMORY;
    int rc = parse(text, arena, &jwks);
    if (rc == -ERR_BAD_BODY) /* control has looked at it */
        jwks = (struct jwks){ 0 };
    if (rc != -ERR_MEMORY)
        rc = jose_keys_new(library, &jwks, ret_keys);
    arena_free(arena);
    return rc;
}

static int count(const struct key_text *text, struct arena *arena, struct jose_library *library,
                 struct key_count *ret_count)
{
    struct jwks jwks;
    struct jose_keys *keys;
    int rc = parse(text, arena, &jwks);
    *ret_count = (struct key_count){ 0, jwks.unusable, jwks.why_index, jwks.why, jwks.has_private };
    if (rc == 0)
        rc = jose_keys_new(library, &jwks, &keys);
    if (rc < 0)
        return rc;
    ret_count->usable = jose_keys_count(keys);
    jose_keys_free(keys);
    if (ret_count->usable < jwks.count && !ret_count->why)
        ret_count->why = "its point is not on its curve";
    ret_count->unusable += jwks.count - ret_count->usable;
    if (ret_count->usable > 0)
        return 0;
    if (!ret_count->why)
        ret_count->why = "it has no keys";
    return -ERR_BAD_BODY;
}

int key_text_count(const struct key_text *text, struct key_count *ret_count)
{
    struct memory memory;
    *ret_count = (struct key_count){ 0 };
    if (memory_init(&memory, NULL, 0) < 0)
        return -ERR_MEMORY;
    struct arena *arena = arena_new(&memory, PARSE_BYTES_MAX);
    struct jose_library *library = jose_library_get();
    int rc = arena && library ? count(text, arena, library, ret_count) : -ERR_MEMORY;
    if (library)
        jose_library_put(library);
    if (arena)
        arena_free(arena);
    memory_done(&memory);
    return rc;
}

/* ---- files ---- */

static const char *read_whole(int fd, char *buf, size_t size, size_t *ret_len)
{
    *ret_len = 0;
    while (*ret_len < size) {
        ssize_t n = sys->read(fd, buf + *ret_len, size - *ret_len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return strerror(errno);
        if (n == 0)
            return NULL;
        *ret_len += (size_t)n;
    }
    return "it is larger than 256 KiB";
}

const char *key_file_read(const char *path, uint32_t algorithms, struct key_text **ret_text)
{
    size_t len;
    int fd = sys->open(path, O_RDONLY | O_NOCTTY, 0);
    if (fd < 0)
        return strerror(errno);
    char *buf = mem_alloc(JWKS_BYTES_MAX + 1);
    const char *why = buf ? read_whole(fd, buf, JWKS_BYTES_MAX + 1, &len) : "out of memory";
    (void)sys->close(fd);
    if (!why) {
        *ret_text = key_text_new(slice_make(buf, len), false, algorithms);
        why = *ret_text ? NULL : "out of memory";
    }
    mem_free(buf);
    return why;
}

/* A file that is replaced, by whatever means, is another inode, or has another size or time. */
uint64_t key_file_sign(const char *path)
{
    struct stat info = { 0 };
    int error = sys->stat(path, &info) < 0 ? errno : 0;
    const uint64_t facts[] = { (uint64_t)error,
                               info.st_dev,
                               info.st_ino,
                               (uint64_t)info.st_size,
                               (uint64_t)info.st_mtim.tv_sec,
                               (uint64_t)info.st_mtim.tv_nsec };
    return hash_bytes(slice_make((const char *)facts, sizeof(facts)));
}
