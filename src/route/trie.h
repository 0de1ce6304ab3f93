/*
 * The tree of path segments that all hosts' patterns live in.
 *
 *      root ("a.example") -- "users" -- {id} -- "orders"
 *                         \- "login"
 *
 * A node lies in one growing buffer with its text right behind it, and the nodes of one pattern lie beside each other
 * in the order they are walked: "/users/{id}/orders" is two cache lines.  A node with one literal child points to it.
 * One with more has its children in a hash table that all nodes share, keyed by parent and text, so that a step costs
 * the same with two children and with ten thousand.
 *
 * Built by the control thread, then immutable and shared by all workers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum trie_kind { TRIE_EXACT, TRIE_REST, TRIE_PREFIX, TRIE_KINDS };

/* A node is named by its place in the buffer, in units of 8 bytes. */
enum { NODE_NONE = 0, NODE_UNIT = 8 };
#define NODE_MANY UINT32_MAX

struct trie_node {
    uint32_t len;    /* of text; 0 for a root and a parameter, and for the empty segment behind a last slash */
    uint32_t parent; /* NODE_NONE: a root */
    uint32_t child;  /* literal: NODE_NONE, the only one, or NODE_MANY */
    uint32_t param;  /* NODE_NONE without */
    uint32_t routes[TRIE_KINDS]; /* the routes that end here, as the owner numbers them; 0 none */
    char text[];
};

struct trie_slot {
    uint32_t hash;
    uint32_t node; /* NODE_NONE: free */
};

struct trie {
    char *buffer;        /* of nodes; begins on a cache line */
    char *memory;        /* what it was allocated as */
    uint32_t used, size; /* in units */
    struct trie_slot *slots;
    uint32_t slot_count, slot_mask;
};

static inline struct trie_node *trie_node(const struct trie *trie, uint32_t node)
{
    return (struct trie_node *)(trie->buffer + (size_t)node * NODE_UNIT);
}

/* Control thread; without memory these abort. Adding moves the nodes: pointers to them do not last. */
void trie_init(struct trie *trie);
void trie_done(struct trie *trie);
uint32_t trie_add_root(struct trie *trie);
/* The child, made when it is missing. */
uint32_t trie_add_literal(struct trie *trie, uint32_t node, struct slice text);
uint32_t trie_add_param(struct trie *trie, uint32_t node);

/* The length of the segment that begins at `at`. */
static inline size_t trie_segment_len(const char *at, const char *end)
{
    const char *slash = at < end ? memchr(at, '/', (size_t)(end - at)) : NULL;
    return (size_t)((slash ? slash : end) - at);
}
/* The literal child whose text is the segment that begins at `at` (and its length), or NODE_NONE. */
uint32_t trie_step(const struct trie *trie, uint32_t node, const char *at, const char *end, size_t *ret_len);

/* All nodes one after the other, from NODE_NONE to NODE_NONE. */
uint32_t trie_next(const struct trie *trie, uint32_t node);
