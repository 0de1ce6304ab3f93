/*
 * What a mapping's members are in the end: its own, each name once, and behind them those that `<<` brings (YAML 1.1's
 * merge key). Own members win over merged ones, earlier merged mappings over later ones.
 *
 * Candidates are put in an array in the order of precedence and sorted by name, so the cost stays at n log n for maps
 * of any size.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "conf/conf_state.h"

struct candidate {
    struct conf_node *node;
    size_t order; /* lower wins */
    bool merged;
    bool dropped;
};

struct candidates {
    struct candidate *items;
    size_t count, size;
};

static int by_name(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    struct slice p = x->node->key->text, q = y->node->key->text;
    int order = memcmp(p.at, q.at, p.len < q.len ? p.len : q.len);
    if (order != 0)
        return order;
    if (p.len != q.len)
        return p.len < q.len ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

static int by_order(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->order < y->order ? -1 : 1;
}

static bool is_merge(const struct conf_node *member)
{
    return !member->key->quoted && slice_eq(member->key->text, SLICE("<<"));
}

static void add_members(struct candidates *all, const struct conf_node *map, bool merged)
{
    for (struct conf_node *member = map->first; member != NULL; member = member->next) {
        if (!merged && is_merge(member))
            continue;
        ENSURE(all->count < all->size);
        all->items[all->count] = (struct candidate){ member, all->count, merged, false };
        all->count++;
    }
}

/* The mappings that a `<<` names: itself, or the items of its list. */
static const struct conf_node *first_source(const struct conf_node *merge)
{
    return merge->kind == NODE_LIST ? merge->first : merge;
}
static const struct conf_node *next_source(const struct conf_node *merge, const struct conf_node *source)
{
    return merge->kind == NODE_LIST ? source->next : NULL;
}

/* How many members there may be, after refusing a `<<` that names no mapping. */
static size_t count_members(struct conf *conf, const struct conf_node *map, size_t *ret_merges)
{
    size_t count = map->count;
    *ret_merges = 0;
    for (const struct conf_node *member = map->first; member != NULL; member = member->next) {
        if (!is_merge(member))
            continue;
        ++*ret_merges;
        for (const struct conf_node *s = first_source(member); s != NULL; s = next_source(member, s)) {
            if (s->kind == NODE_MAP)
                count += s->count;
            else if (!s->broken)
                conf_error(conf, s, "`<<` takes in the members of a mapping, such as `<<: *name`, got %s",
                           conf_describe(conf, s));
        }
    }
    return count;
}

static void gather(struct candidates *all, const struct conf_node *map)
{
    add_members(all, map, false);
    for (const struct conf_node *member = map->first; member != NULL; member = member->next) {
        if (!is_merge(member))
            continue;
        for (const struct conf_node *s = first_source(member); s != NULL; s = next_source(member, s))
            if (s->kind == NODE_MAP)
                add_members(all, s, true);
    }
}

static void drop_repeated(struct conf *conf, struct candidates *all)
{
    const struct candidate *kept = NULL;
    for (size_t i = 0; i < all->count; i++) {
        struct candidate *it = &all->items[i];
        if (kept == NULL || !slice_eq(kept->node->key->text, it->node->key->text)) {
            kept = it;
            continue;
        }
        it->dropped = true;
        if (!it->merged)
            conf_error_at(conf, it->node->key->mark, it->node, "`%s` stands here twice; the first is on line %u",
                          conf_shown(conf, it->node->key->text), kept->node->key->mark.line);
    }
}

static void relink(struct candidates *all, struct conf_node *map)
{
    struct conf_node *last = NULL;
    map->first = NULL;
    map->count = 0;
    for (size_t i = 0; i < all->count; i++)
        if (!all->items[i].dropped) {
            all->items[i].node->next = NULL;
            conf_node_add(map, &last, all->items[i].node);
        }
}

void conf_merge(struct conf *conf, struct conf_node *map)
{
    size_t merges;
    struct candidates all = { .size = count_members(conf, map, &merges) };
    if (all.size < 2 && merges == 0)
        return;
    all.items = mem_alloc(all.size * sizeof(*all.items));
    if (all.items == NULL) {
        conf_out_of_memory(conf);
        return;
    }
    gather(&all, map);
    qsort(all.items, all.count, sizeof(*all.items), by_name);
    drop_repeated(conf, &all);
    qsort(all.items, all.count, sizeof(*all.items), by_order);
    relink(&all, map);
    mem_free(all.items);
}
