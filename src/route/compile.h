/*
 * Between build.c and compile.c: one `match` becomes an entry, and a placement under each of its hosts.  Only these two
 * include this.
 */
#pragma once

#include "conf/conf.h"
#include "route/table.h"

struct route_entry;

enum place_kind {
    PLACE_EXACT = TRIE_EXACT,
    PLACE_REST = TRIE_REST,
    PLACE_PREFIX = TRIE_PREFIX,
    PLACE_REGEX,
    PLACE_ANY
};

/* A route and where it belongs. */
struct placement {
    struct route route;
    uint32_t host, node; /* for PLACE_REGEX and PLACE_ANY the host's root */
    enum place_kind kind;
};

enum { CAPTURE_LISTS_MAX = 32 };

struct compilation {
    struct conf *conf;
    struct router *router;
    struct placement *placements;
    uint32_t placement_count, placement_size;
    struct {
        const struct slice *names;
        unsigned count;
    } lists[CAPTURE_LISTS_MAX]; /* distinct lists of captures met so far */
    unsigned list_count;
    bool failed; /* something was reported */
};

/* Appends to router->entries; sets `failed` after conf_error. */
void compile_entry(struct compilation *c, const struct route_entry *from);
