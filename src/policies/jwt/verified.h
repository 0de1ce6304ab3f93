/*
 * Tokens that were found good, with all that follows from them: in one block each, and a worker's cache of them.
 *
 * Only good tokens are remembered.  An entry is found by a keyed hash of the token's end and then compared with all of
 * it, byte for byte, in a time that does not depend on where they differ.  It dies when it expires, when the keys
 * change, or when others need its place.
 *
 * Owner: counted; the cache and exchanges hold entries.  One worker.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "exchange/identity.h"

struct cache;
struct memory;

enum rights { RIGHTS_OK, RIGHTS_SCOPE, RIGHTS_CLAIM };

struct verified {
    uint32_t refs;
    uint8_t rights;                            /* enum rights: what `require` says of it */
    uint64_t hash, version;                    /* version: of the keys */
    int64_t expires_s, not_before_s, issued_s; /* -1: none */
    struct slice token;
    struct identity identity;
    const struct slice *values; /* for claims_to_headers, in their order; at == NULL: no such claim */
    unsigned value_count;
    struct memory *memory;
    size_t size;
};

/* A copy in a block of its own, of all that `like` points to. With one reference. NULL without memory. */
struct verified *verified_new(struct memory *memory, const struct verified *like);
void verified_drop(struct verified *verified);

/* NULL without memory. */
struct cache *cache_new(struct memory *memory, size_t entries);
void cache_free(struct cache *cache);
/* A good token of these keys, with a reference; or NULL. */
struct verified *cache_find(struct cache *cache, struct slice token, uint64_t hash, uint64_t version);
/* Takes a reference of its own. `now_s`: what has expired by then goes first. */
void cache_put(struct cache *cache, struct verified *verified, int64_t now_s);
/* One that has expired is taken out. */
void cache_forget(struct cache *cache, struct verified *verified);

/* Are they the same? The time says nothing of where they differ. */
bool secret_equal(struct slice a, struct slice b);
