/*
 * Finding a capture's name in its route's match.
 */
#include "exchange/captures.h"

#include "conf/conf.h"

/* In a template `{name}` or `{name...}`, in a regex `<name>` or `'name'`. */
static bool names_capture(const struct conf_node *pattern, struct slice name)
{
    if (!pattern || pattern->kind != NODE_SCALAR)
        return false;
    struct slice text = pattern->text;
    for (size_t i = 1; i + name.len < text.len; i++) {
        char before = text.at[i - 1], behind = text.at[i + name.len];
        if (memcmp(text.at + i, name.at, name.len) != 0)
            continue;
        if ((before == '{' && (behind == '}' || behind == '.')) || (before == '<' && behind == '>') ||
            (before == '\'' && behind == '\''))
            return true;
    }
    return false;
}

/* The route around the node: what a list of routes holds, or else the nearest mapping with a `match`. A policy or a
 * limit in a list of its own is none. */
static bool is_route(const struct conf_node *node)
{
    if (node->kind != NODE_MAP || node->key)
        return false;
    const struct conf_node *list = node->parent;
    bool listed = list && list->kind == NODE_LIST && list->key && slice_eq(list->key->text, SLICE("routes"));
    return listed || conf_get(node, "match");
}

/* A route without a match has no captures either. */
static const struct conf_node *match_of(const struct conf_node *node, bool *ret_has_route)
{
    while (node && !is_route(node))
        node = node->parent;
    *ret_has_route = node != NULL;
    return node ? conf_get(node, "match") : NULL;
}

bool capture_known(const struct conf_node *node, struct slice name)
{
    bool has_route;
    const struct conf_node *match = match_of(node, &has_route);
    if (!has_route)
        return true;
    if (!match)
        return false;
    return names_capture(conf_get(match, "path"), name) || names_capture(conf_get(match, "regex"), name);
}
