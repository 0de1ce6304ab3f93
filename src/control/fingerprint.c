/*
 * Fingerprints of parts of a configuration: equal exactly when loading them gives equal things (up to a chance of
 * 2^-64, with a key nobody outside knows).
 */
#include "base/hash.h"
#include "control/snapshot.h"

static uint64_t mix(uint64_t print, uint64_t value)
{
    return hash_mix(print * 0x9e3779b97f4a7c15ull + value + 1);
}

uint64_t fingerprint_node(const struct conf_node *node)
{
    if (!node)
        return 0;
    uint64_t print = mix(node->kind + 1u, node->quoted);
    if (node->kind == NODE_SCALAR)
        return mix(print, hash_bytes(node->text));
    for (const struct conf_node *child = node->first; child; child = child->next) {
        if (child->key)
            print = mix(print, hash_bytes(child->key->text));
        print = mix(print, fingerprint_node(child));
    }
    return print;
}
