/*
 * The tree of path segments.  The table of children is open-addressed with linear probing, at most half full; a slot
 * keeps the hash, so that a foreign slot is passed without touching its node.  Only the configuration fills it, so its
 * hash needs no secret, only speed: segments are short, and each is hashed with one or two multiplications.
 */
#include "route/trie.h"

#include "base/assert.h"
#include "base/sys.h"

enum {
    CACHE_LINE = 64,
    UNITS_FIRST = CACHE_LINE / NODE_UNIT
}; /* node 0 is no node, and the first real one begins a line */

static uint64_t load8(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

static uint64_t load4(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Reads overlap instead of looping over a rest. */
static uint32_t edge_hash(uint32_t parent, struct slice text)
{
    const uint64_t odd = 0x9e3779b97f4a7c15ull, other = 0xd1b54a32d192ed03ull;
    const char *at = text.at, *end = text.at + text.len;
    uint64_t a = 0, b = 0, h = (parent + text.len * 0x100000001ull) * odd;
    for (; end - at > 16; at += 16)
        h = fold(load8(at) ^ h, load8(at + 8) ^ other);
    if (text.len >= 8) {
        a = load8(end - at >= 8 ? at : end - 8);
        b = load8(end - 8);
    } else if (text.len >= 4) {
        a = load4(at);
        b = load4(end - 4);
    } else if (text.len > 0) {
        a = (unsigned char)at[0] | (uint64_t)(unsigned char)at[text.len / 2] << 8 |
            (uint64_t)(unsigned char)end[-1] << 16;
    }
    return (uint32_t)(fold(a ^ h, b ^ other) >> 16);
}

static bool node_is(const struct trie *trie, uint32_t node, uint32_t parent, struct slice text)
{
    const struct trie_node *n = trie_node(trie, node);
    return n->len == text.len && n->parent == parent && memcmp(n->text, text.at, text.len) == 0;
}

static uint32_t find_edge(const struct trie *trie, uint32_t parent, struct slice text)
{
    uint32_t hash = edge_hash(parent, text);
    for (uint32_t i = hash;; i++) {
        const struct trie_slot *slot = &trie->slots[i & trie->slot_mask];
        if (slot->node == NODE_NONE || (slot->hash == hash && node_is(trie, slot->node, parent, text)))
            return slot->node;
    }
}

uint32_t trie_step(const struct trie *trie, uint32_t node, const char *at, const char *end, size_t *ret_len)
{
    uint32_t child = trie_node(trie, node)->child;
    if (child == NODE_NONE)
        return NODE_NONE;
    if (child == NODE_MANY) {
        *ret_len = trie_segment_len(at, end);
        return find_edge(trie, node, slice_make(at, *ret_len));
    }
    const struct trie_node *n = trie_node(trie, child);
    *ret_len = n->len;
    if ((size_t)(end - at) < n->len || memcmp(n->text, at, n->len) != 0)
        return NODE_NONE;
    return at + n->len == end || at[n->len] == '/' ? child : NODE_NONE;
}

/* A buffer of at least that many units, with what the old one holds. */
static void grow(struct trie *trie, size_t units)
{
    size_t size = MAX((size_t)trie->size * 2, units);
    ENSURE(size < NODE_MANY);
    char *memory = mem_must(size * NODE_UNIT + CACHE_LINE);
    char *buffer = memory + (CACHE_LINE - (uintptr_t)memory % CACHE_LINE);
    if (trie->used > 0)
        memcpy(buffer, trie->buffer, (size_t)trie->used * NODE_UNIT);
    mem_free(trie->memory);
    trie->memory = memory;
    trie->buffer = buffer;
    trie->size = (uint32_t)size;
}

void trie_init(struct trie *trie)
{
    *trie = (struct trie){ .slot_mask = 63 };
    trie->slots = mem_must((trie->slot_mask + 1) * sizeof(*trie->slots));
    grow(trie, 512);
    trie->used = UNITS_FIRST;
}

void trie_done(struct trie *trie)
{
    mem_free(trie->memory);
    mem_free(trie->slots);
}

static uint32_t units_of(size_t len)
{
    return (uint32_t)((sizeof(struct trie_node) + len + NODE_UNIT - 1) / NODE_UNIT);
}

static uint32_t add_node(struct trie *trie, uint32_t parent, struct slice text)
{
    uint32_t units = units_of(text.len), node = trie->used;
    if ((size_t)node + units > trie->size)
        grow(trie, (size_t)node + units);
    trie->used += units;
    struct trie_node *n = trie_node(trie, node);
    *n = (struct trie_node){ .len = (uint32_t)text.len, .parent = parent };
    if (text.len > 0)
        memcpy(n->text, text.at, text.len);
    return node;
}

uint32_t trie_next(const struct trie *trie, uint32_t node)
{
    uint32_t next = node == NODE_NONE ? UNITS_FIRST : node + units_of(trie_node(trie, node)->len);
    return next < trie->used ? next : NODE_NONE;
}

static void place(struct trie *trie, uint32_t hash, uint32_t node)
{
    uint32_t i = hash;
    while (trie->slots[i & trie->slot_mask].node != NODE_NONE)
        i++;
    trie->slots[i & trie->slot_mask] = (struct trie_slot){ hash, node };
}

static void add_edge(struct trie *trie, uint32_t node)
{
    const struct trie_node *n = trie_node(trie, node);
    uint32_t size = trie->slot_mask + 1;
    if (++trie->slot_count > size / 2) {
        struct trie_slot *old = trie->slots;
        trie->slots = mem_must((size_t)size * 2 * sizeof(*trie->slots));
        trie->slot_mask = size * 2 - 1;
        for (uint32_t i = 0; i < size; i++)
            if (old[i].node != NODE_NONE)
                place(trie, old[i].hash, old[i].node);
        mem_free(old);
    }
    place(trie, edge_hash(n->parent, slice_make(n->text, n->len)), node);
}

uint32_t trie_add_root(struct trie *trie)
{
    return add_node(trie, NODE_NONE, SLICE_EMPTY);
}

uint32_t trie_add_literal(struct trie *trie, uint32_t node, struct slice text)
{
    ENSURE(node != NODE_NONE && node < trie->used);
    size_t len;
    uint32_t child = trie_step(trie, node, text.at, text.at + text.len, &len);
    if (child != NODE_NONE)
        return child;
    child = add_node(trie, node, text);
    uint32_t sibling = trie_node(trie, node)->child;
    trie_node(trie, node)->child = sibling == NODE_NONE ? child : NODE_MANY;
    if (sibling != NODE_NONE) {
        if (sibling != NODE_MANY)
            add_edge(trie, sibling);
        add_edge(trie, child);
    }
    return child;
}

uint32_t trie_add_param(struct trie *trie, uint32_t node)
{
    ENSURE(node != NODE_NONE && node < trie->used);
    if (trie_node(trie, node)->param == NODE_NONE) {
        uint32_t param = add_node(trie, node, SLICE_EMPTY);
        trie_node(trie, node)->param = param;
    }
    return trie_node(trie, node)->param;
}
