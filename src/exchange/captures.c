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

/* The nearest mapping around the node that has a `match`; a route without one has no captures either. */
static const struct conf_node *match_of(const struct conf_node *node, bool *ret_has_route)
{
    *ret_has_route = false;
    for (; node; node = node->parent) {
        bool is_item = node->kind == NODE_MAP && !node->key;
        if (!is_item)
            continue;
        *ret_has_route = true;
        return conf_get(node, "match");
    }
    return NULL;
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
