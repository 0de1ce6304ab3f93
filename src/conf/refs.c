/*
 * Names that refer to things declared elsewhere in the document.  Loading only notes both; resolving comes after all is
 * loaded, so the order of the document does not matter.
 *
 * Each kind of thing is sorted once by name and then searched, so that ten thousand routes to ten thousand upstreams
 * are no matter.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "conf/conf_state.h"

struct name_index {
    const struct conf_entry **entries; /* sorted by key */
    const char **words;                /* the same names, for suggestions */
    size_t count;
};

void conf_refs_add(struct conf *conf, const struct conf_node *node, const char *names, struct conf_ref *ref)
{
    if (node->kind != NODE_SCALAR || node->text.len == 0) {
        conf_error(conf, node, "expected the name of %s %s, got %s", conf_article(names), names,
                   conf_describe(conf, node));
        return;
    }
    struct conf_pending *pending = conf_take(conf, sizeof(*pending));
    if (pending == NULL)
        return;
    *ref = (struct conf_ref){ .name = node->text.at, .node = node };
    *pending = (struct conf_pending){ NULL, ref, names };
    if (conf->pending_last != NULL)
        conf->pending_last->next = pending;
    else
        conf->pending = pending;
    conf->pending_last = pending;
}

void conf_refs_declare(struct conf *conf, const struct conf_list *map, const struct conf_type *type, bool broken)
{
    struct conf_declaration *declaration = conf_take(conf, sizeof(*declaration));
    if (declaration == NULL)
        return;
    *declaration = (struct conf_declaration){ conf->declarations, type->names, *map, type->item, broken };
    conf->declarations = declaration;
}

/* ---- resolving ---- */

static int by_key(const void *a, const void *b)
{
    const struct conf_entry *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

/* All that is declared under `names`; false without memory. */
static bool build_index(const struct conf *conf, const char *names, struct name_index *ret)
{
    size_t count = 0;
    for (const struct conf_declaration *d = conf->declarations; d != NULL; d = d->next)
        if (strcmp(d->names, names) == 0)
            count += d->map.count;
    *ret = (struct name_index){ 0 };
    ret->entries = mem_alloc((count + 1) * sizeof(*ret->entries));
    ret->words = mem_alloc((count + 1) * sizeof(*ret->words));
    if (ret->entries == NULL || ret->words == NULL)
        return false;
    for (const struct conf_declaration *d = conf->declarations; d != NULL; d = d->next)
        for (size_t i = 0; strcmp(d->names, names) == 0 && i < d->map.count; i++)
            ret->entries[ret->count++] = conf_entry_at(&d->map, d->item, i);
    ENSURE(ret->count == count);
    qsort(ret->entries, count, sizeof(*ret->entries), by_key);
    for (size_t i = 0; i < count; i++)
        ret->words[i] = ret->entries[i]->key;
    return true;
}

static void free_index(struct name_index *index)
{
    mem_free(index->entries);
    mem_free(index->words);
}

static const struct conf_entry *find_entry(const struct name_index *index, const char *name)
{
    size_t low = 0, high = index->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(index->words[middle], name);
        if (order == 0)
            return index->entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool declared_broken(const struct conf *conf, const char *names)
{
    for (const struct conf_declaration *d = conf->declarations; d != NULL; d = d->next)
        if (d->broken && strcmp(d->names, names) == 0)
            return true;
    return false;
}

/* Two maps may declare things of one kind; a name may stand in one of them only. */
static void report_repeated(struct conf *conf, const struct name_index *index, const char *names)
{
    for (size_t i = 1; i < index->count; i++)
        if (strcmp(index->words[i - 1], index->words[i]) == 0)
            conf_error(conf, index->entries[i]->node, "the %s `%s` is declared twice, also at %s", names,
                       index->words[i], conf_path(conf, index->entries[i - 1]->node));
}

static void resolve_kind(struct conf *conf, const char *names)
{
    struct name_index index;
    if (!build_index(conf, names, &index)) {
        free_index(&index);
        conf_out_of_memory(conf);
        return;
    }
    report_repeated(conf, &index, names);
    bool broken = declared_broken(conf, names);
    for (const struct conf_pending *p = conf->pending; p != NULL; p = p->next) {
        if (strcmp(p->names, names) != 0)
            continue;
        p->ref->target = find_entry(&index, p->ref->name);
        struct slice name = slice_from(p->ref->name);
        if (p->ref->target == NULL && !broken)
            conf_error(conf, p->ref->node, "%s `%s` is not declared%s", names, conf_shown(conf, name),
                       index.count == 0 ? "; none is" : conf_suggest(conf, name, index.words, index.count));
    }
    free_index(&index);
}

static bool seen_before(const struct conf_pending *first, const struct conf_pending *until)
{
    for (const struct conf_pending *p = first; p != until; p = p->next)
        if (strcmp(p->names, until->names) == 0)
            return true;
    return false;
}

int conf_resolve(struct conf *conf)
{
    MAGIC_CHECK(conf, CONF_MAGIC);
    for (const struct conf_pending *p = conf->pending; p != NULL; p = p->next)
        if (!seen_before(conf->pending, p))
            resolve_kind(conf, p->names);
    conf->pending = conf->pending_last = NULL;
    return conf->error_count == 0 ? 0 : -1;
}
