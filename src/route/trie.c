/*
 * The tree of path segments.  The table of children is open-addressed with linear probing, at most half full; a slot keeps the hash, so that a
 * foreign slot is passed without touching its node.  Only the configuration fills it, so its hash needs no secret.
 */
#include "route/trie.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"

_Static_assert(sizeof(struct trie_node) == 32, "two nodes a cache line");

static uint32_t edge_hash(uint32_t parent, struct slice text)
{
    return (uint32_t)hash_stable(text, parent);
}

static bool node_is(const struct trie *trie, uint32_t index, uint32_t parent, struct slice text)
{
    const struct trie_node *n = &trie->nodes[index];
    return n->len == text.len && n->parent == parent && memcmp(trie->text + n->text, text.at, text.len) == 0;
}

uint32_t trie_child(const struct trie *trie, uint32_t node, struct slice text)
{
    uint32_t child = trie->nodes[node].child;
    if (child == NODE_NONE)
        return NODE_NONE;
    if (child != NODE_MANY)
        return node_is(trie, child, node, text) ? child : NODE_NONE;
    uint32_t hash = edge_hash(node, text);
    for (uint32_t i = hash;; i++) {
        const struct trie_slot *slot = &trie->slots[i & trie->slot_mask];
        if (slot->node == NODE_NONE || (slot->hash == hash && node_is(trie, slot->node, node, text)))
            return slot->node;
    }
}

void trie_init(struct trie *trie)
{
    *trie = (struct trie){ .node_count = 1, .node_size = 64, .slot_mask = 63, .text_size = 1024 };
    trie->nodes = mem_must(trie->node_size * sizeof(*trie->nodes));
    trie->slots = mem_must((trie->slot_mask + 1) * sizeof(*trie->slots));
    trie->text = mem_must(trie->text_size);
}

void trie_done(struct trie *trie)
{
    mem_free(trie->nodes);
    mem_free(trie->slots);
    mem_free(trie->text);
}

/* `size` items of `each` bytes become at least `need`; the new ones are zeroed. */
static void *grow(void *items, uint32_t *size, size_t need, size_t each)
{
    if (need <= *size)
        return items;
    ENSURE(need < UINT32_MAX / 2);
    size_t larger = MAX((size_t)*size * 2, need);
    char *copy = mem_must(larger * each);
    memcpy(copy, items, *size * each);
    mem_free(items);
    *size = (uint32_t)larger;
    return copy;
}

static uint32_t add_node(struct trie *trie, uint32_t parent, struct slice text)
{
    trie->nodes = grow(trie->nodes, &trie->node_size, trie->node_count + 1, sizeof(*trie->nodes));
    trie->text = grow(trie->text, &trie->text_size, trie->text_len + text.len, 1);
    uint32_t index = trie->node_count++;
    trie->nodes[index] = (struct trie_node){ .text = trie->text_len, .len = (uint32_t)text.len, .parent = parent };
    if (text.len > 0)
        memcpy(trie->text + trie->text_len, text.at, text.len);
    trie->text_len += (uint32_t)text.len;
    return index;
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
    const struct trie_node *n = &trie->nodes[node];
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
    place(trie, edge_hash(n->parent, slice_make(trie->text + n->text, n->len)), node);
}

uint32_t trie_add_root(struct trie *trie)
{
    return add_node(trie, NODE_NONE, SLICE_EMPTY);
}

uint32_t trie_add_literal(struct trie *trie, uint32_t node, struct slice text)
{
    ENSURE(node > NODE_NONE && node < trie->node_count);
    uint32_t child = trie_child(trie, node, text);
    if (child != NODE_NONE)
        return child;
    child = add_node(trie, node, text);
    struct trie_node *parent = &trie->nodes[node];
    if (parent->child == NODE_NONE) {
        parent->child = child;
        return child;
    }
    if (parent->child != NODE_MANY)
        add_edge(trie, parent->child);
    parent->child = NODE_MANY;
    add_edge(trie, child);
    return child;
}

uint32_t trie_add_param(struct trie *trie, uint32_t node)
{
    ENSURE(node > NODE_NONE && node < trie->node_count);
    if (trie->nodes[node].param == NODE_NONE) {
        uint32_t param = add_node(trie, node, SLICE_EMPTY);
        trie->nodes[node].param = param;
    }
    return trie->nodes[node].param;
}
