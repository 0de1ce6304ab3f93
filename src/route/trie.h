/*
 * The tree of path segments that all hosts' patterns live in.
 *
 *      root ("a.example") -- "users" -- {id} -- "orders"        a node is 32 bytes: two to a cache line, and the nodes of one
 *                         \- "login"                            pattern lie beside each other in the order they are walked
 *
 * A node with one literal child points to it.  One with more has its children in a hash table that all nodes share, keyed by parent and
 * text, so that a step costs the same with two children and with ten thousand.
 *
 * Built by the control thread, then immutable and shared by all workers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum trie_kind { TRIE_EXACT, TRIE_REST, TRIE_PREFIX, TRIE_KINDS };

enum { NODE_NONE = 0 };
#define NODE_MANY UINT32_MAX

struct trie_node {
    uint32_t text;   /* of a literal, in trie->text */
    uint32_t len;
    uint32_t parent;
    uint32_t child;  /* literal: NODE_NONE, the only one, or NODE_MANY */
    uint32_t param;  /* NODE_NONE without */
    uint32_t routes[TRIE_KINDS]; /* the routes that end here, as the owner numbers them; 0 none */
};

struct trie_slot {
    uint32_t hash;
    uint32_t node; /* NODE_NONE: free */
};

struct trie {
    struct trie_node *nodes; /* [0] is no node */
    struct trie_slot *slots;
    char *text;
    uint32_t node_count, node_size;
    uint32_t slot_count, slot_mask;
    uint32_t text_len, text_size;
};

/* Control thread; without memory these abort. */
void trie_init(struct trie *trie);
void trie_done(struct trie *trie);
uint32_t trie_add_root(struct trie *trie);
/* The child, made when it is missing. */
uint32_t trie_add_literal(struct trie *trie, uint32_t node, struct slice text);
uint32_t trie_add_param(struct trie *trie, uint32_t node);

/* The literal child of that text, or NODE_NONE. */
uint32_t trie_child(const struct trie *trie, uint32_t node, struct slice text);
