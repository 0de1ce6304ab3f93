/*
 * Nodes of the tree: making, linking, copying (an alias is a copy of what it names, so every node has one parent and
 * one path), and their paths in the document.
 */
#include "base/assert.h"
#include "conf/conf_state.h"

struct conf_node *conf_node_new(struct conf *conf, struct conf_node *parent, enum conf_node_kind kind,
                                struct conf_mark mark)
{
    if (conf->node_count >= conf->options.nodes_max) {
        conf_error_at(conf, mark, NULL,
                      "more than %u values, with what aliases repeat; the limit guards against aliases of aliases",
                      conf->options.nodes_max);
        return NULL;
    }
    struct conf_node *node = conf_take(conf, sizeof(*node));
    if (node == NULL)
        return NULL;
    conf->node_count++;
    node->kind = (uint8_t)kind;
    node->mark = mark;
    node->parent = parent;
    node->text = SLICE("");
    return node;
}

void conf_node_add(struct conf_node *parent, struct conf_node **last, struct conf_node *child)
{
    ENSURE(child->next == NULL);
    if (*last != NULL)
        (*last)->next = child;
    else
        parent->first = child;
    *last = child;
    child->parent = parent;
    parent->count++;
}

struct conf_node *conf_node_copy(struct conf *conf, const struct conf_node *from, struct conf_node *parent,
                                 unsigned depth)
{
    if (depth > conf->options.depth_max) {
        conf_error_at(conf, from->mark, NULL, "nested more than %u deep", conf->options.depth_max);
        return NULL;
    }
    struct conf_node *copy = conf_node_new(conf, parent, from->kind, from->mark);
    if (copy == NULL)
        return NULL;
    copy->quoted = from->quoted;
    copy->broken = from->broken;
    copy->key = from->key;
    copy->text = from->text;
    struct conf_node *last = NULL;
    for (const struct conf_node *member = from->first; member != NULL; member = member->next) {
        struct conf_node *twin = conf_node_copy(conf, member, copy, depth + 1);
        if (twin == NULL)
            return NULL;
        conf_node_add(copy, &last, twin);
    }
    return copy;
}

static bool keep_texts(struct conf *conf, struct conf_node *node)
{
    node->text.at = conf_keep(conf, node->text);
    node->mark.file = node->mark.file ? conf_keep(conf, slice_from(node->mark.file)) : NULL;
    if (node->text.at == NULL)
        return false;
    if (node->key != NULL) {
        node->key = conf_node_copy(conf, node->key, NULL, 0);
        if (node->key == NULL || !keep_texts(conf, node->key))
            return false;
    }
    for (struct conf_node *member = node->first; member != NULL; member = member->next)
        if (!keep_texts(conf, member))
            return false;
    return true;
}

struct conf *conf_branch(const struct conf_node *node, const struct conf_node **ret_copy)
{
    struct conf *conf = conf_new(NULL);
    struct conf_node *copy = conf != NULL ? conf_node_copy(conf, node, NULL, 0) : NULL;
    if (copy == NULL || !keep_texts(conf, copy)) {
        conf_free(conf);
        return NULL;
    }
    *ret_copy = copy;
    return conf;
}

struct conf_mark conf_node_place(const struct conf_node *node)
{
    if (node->key == NULL || node->kind == NODE_SCALAR)
        return node->mark;
    bool below = node->key->mark.line != node->mark.line;
    return below || node->kind == NODE_NULL ? node->key->mark : node->mark;
}

const struct conf_node *conf_get(const struct conf_node *map, const char *name)
{
    if (map == NULL || map->kind != NODE_MAP)
        return NULL;
    struct slice wanted = slice_from(name);
    for (const struct conf_node *member = map->first; member != NULL; member = member->next)
        if (slice_eq(member->key->text, wanted))
            return member;
    return NULL;
}

/* ---- paths ---- */

static bool is_plain_name(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        if (!plain)
            return false;
    }
    return name.len > 0;
}

static unsigned index_in_parent(const struct conf_node *node)
{
    unsigned index = 0;
    for (const struct conf_node *other = node->parent->first; other != NULL && other != node; other = other->next)
        index++;
    return index;
}

/* `node` as a step from its parent, which has the path `before`. */
static struct slice path_step(struct conf *conf, const char *before, const struct conf_node *node)
{
    if (node->key == NULL && node->parent->kind == NODE_MAP) /* a name itself */
        return slice_from(before);
    if (node->key == NULL)
        return arena_printf(conf->arena, "%s[%u]", before, index_in_parent(node));
    struct slice name = node->key->text;
    if (is_plain_name(name))
        return arena_printf(conf->arena, "%s%s%.*s", before, *before ? "." : "", SLICE_ARG(name));
    return arena_printf(conf->arena, "%s[\"%s\"]", before, conf_shown(conf, name));
}

const char *conf_path(struct conf *conf, const struct conf_node *node)
{
    if (node == NULL || node->parent == NULL)
        return "";
    const char *before = conf_path(conf, node->parent);
    struct slice path = path_step(conf, before, node);
    if (path.at == NULL) {
        conf_out_of_memory(conf);
        return "";
    }
    return path.at;
}
