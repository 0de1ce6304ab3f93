/*
 * From the tree, by schema, into C structs.  Every mistake is reported and loading goes on behind it; a struct's
 * `validate` runs only when nothing within it went wrong, so it may rely on what it sees.
 *
 *      conf_load -> load_struct -> load_member -> load_value -> scalars, load_list, load_map, load_union, load_struct
 * ...
 *
 * Recursion follows the tree, whose depth is bounded, and a struct within itself is bounded again by its own depth_max.
 */
#include "base/assert.h"
#include "conf/conf_state.h"

/* The structs that are being loaded, from the inside out. */
struct nesting {
    const struct nesting *outer;
    const struct conf_struct *schema;
};

static void load_value(struct conf *conf, const struct conf_node *node, const struct conf_type *type, unsigned flags,
                       void *value, const struct nesting *outer);
/* The field that somebody who wrote `tls: true` has to know of: the first that is required, else the first. */
static const char *foremost(const struct conf_struct *schema)
{
    for (const struct conf_field *field = schema->fields; field->name != NULL; field++)
        if (field->flags & CONF_REQUIRED)
            return field->name;
    return schema->fields->name;
}

static void load_struct(struct conf *conf, const struct conf_node *node, const struct conf_struct *schema, void *value,
                        const struct nesting *outer);
static void default_struct(struct conf *conf, const struct conf_node *place, const struct conf_struct *schema,
                           void *value, const struct nesting *outer);

/* ---- sizes ---- */

size_t conf_size(const struct conf_type *type)
{
    switch (type->kind) {
    case CONF_BOOL:
        return sizeof(bool);
    case CONF_INT:
    case CONF_BYTES:
    case CONF_DURATION:
        return sizeof(int64_t);
    case CONF_NUMBER:
    case CONF_PERCENT:
        return sizeof(double);
    case CONF_STRING:
    case CONF_SECRET:
        return sizeof(const char *);
    case CONF_ENUM:
        return sizeof(int);
    case CONF_CUSTOM:
        return type->size;
    case CONF_LIST:
    case CONF_MAP:
        return sizeof(struct conf_list);
    case CONF_STRUCT:
        return type->flags & CONF_POINTER ? sizeof(void *) : type->structure->size;
    case CONF_UNION:
        return sizeof(struct conf_choice);
    case CONF_REF:
        return sizeof(struct conf_ref);
    }
    ENSURE(!"a kind of conf_type");
    return 0;
}

size_t conf_entry_size(const struct conf_type *item)
{
    size_t align = _Alignof(struct conf_entry);
    return (sizeof(struct conf_entry) + conf_size(item) + align - 1) / align * align;
}

/* ---- lists and maps ---- */

/* True when the count is within the bounds; else reports. */
static bool check_count(struct conf *conf, const struct conf_node *node, size_t count, const struct conf_type *type,
                        unsigned flags)
{
    int64_t min = type->min == 0 && (flags & CONF_NONEMPTY) ? 1 : type->min;
    if (count == 0 && min == 1)
        conf_error(conf, node, "must hold at least one entry");
    else if ((int64_t)count < min)
        conf_error(conf, node, "must hold at least %lld entries, got %zu", (long long)min, count);
    else if (type->max != 0 && (int64_t)count > type->max)
        conf_error(conf, node, "may hold at most %lld entries, got %zu", (long long)type->max, count);
    else
        return true;
    return false;
}

static void load_list(struct conf *conf, const struct conf_node *node, const struct conf_type *type, unsigned flags,
                      struct conf_list *list, const struct nesting *outer)
{
    bool lone = node->kind != NODE_LIST && (flags & CONF_LONE);
    if (node->kind != NODE_LIST && !lone) {
        conf_error(conf, node, "expected a list, got %s; write `[...]`, or each entry on a line of its own behind `- `",
                   conf_describe(conf, node));
        return;
    }
    size_t count = lone ? 1 : node->count;
    if (!check_count(conf, node, count, type, flags) || count == 0)
        return;
    list->items = conf_take(conf, count * conf_size(type->item));
    if (list->items == NULL)
        return;
    list->count = count;
    const struct conf_node *item = lone ? node : node->first;
    for (size_t i = 0; i < count; i++, item = item->next)
        load_value(conf, item, type->item, type->item->flags, conf_item(list, type->item, i), outer);
}

static void load_map(struct conf *conf, const struct conf_node *node, const struct conf_type *type, unsigned flags,
                     struct conf_list *list, const struct nesting *outer)
{
    if (node->kind != NODE_MAP) {
        conf_error(conf, node, "expected a mapping of names to values, got %s", conf_describe(conf, node));
    } else if (check_count(conf, node, node->count, type, flags) && node->count > 0) {
        list->items = conf_take(conf, node->count * conf_entry_size(type->item));
        list->count = list->items ? node->count : 0;
        size_t i = 0;
        for (const struct conf_node *member = node->first; member != NULL && i < list->count; member = member->next) {
            struct conf_entry *entry = conf_entry_at(list, type->item, i++);
            entry->key = member->key->text.at;
            entry->node = member;
            load_value(conf, member, type->item, type->item->flags, entry->value, outer);
        }
    }
    if (flags & CONF_DECLARES)
        conf_refs_declare(conf, list, type, node->kind != NODE_MAP || list->count != node->count);
}

/* ---- unions ---- */

static size_t variant_names(const struct conf_registry *registry, const char **words, size_t max)
{
    size_t count = 0;
    for (const struct conf_variant *v = registry->variants; v->name != NULL && count < max; v++)
        words[count++] = v->name;
    return count;
}

static const struct conf_variant *find_variant(const struct conf_registry *registry, struct slice name)
{
    for (const struct conf_variant *v = registry->variants; v->name != NULL; v++)
        if (slice_eq(slice_from(v->name), name))
            return v;
    return NULL;
}

/* `node` is the value under the variant's name. */
static void choose(struct conf *conf, const struct conf_node *node, const struct conf_variant *variant,
                   struct conf_choice *choice, const struct nesting *outer)
{
    *choice = (struct conf_choice){ .variant = variant, .node = node };
    if (node->broken)
        return;
    if (variant->structure == NULL) {
        if (node->kind != NODE_NULL && (node->kind != NODE_MAP || node->count > 0))
            conf_error(conf, node, "`%s` has no settings: write `%s: {}`", variant->name, variant->name);
        return;
    }
    choice->value = conf_take(conf, MAX(variant->structure->size, (size_t)1));
    if (choice->value != NULL)
        load_struct(conf, node, variant->structure, choice->value, outer);
}

static void load_union(struct conf *conf, const struct conf_node *node, const struct conf_registry *registry,
                       struct conf_choice *choice, const struct nesting *outer)
{
    const char *words[64];
    size_t count = variant_names(registry, words, ARRAY_LEN(words));
    if (node->kind != NODE_MAP || node->count == 0) {
        bool named = node->kind == NODE_SCALAR && find_variant(registry, node->text) != NULL;
        conf_error(conf, node, "expected %s %s, its name and settings, such as `%s: {}`, got %s",
                   conf_article(registry->what), registry->what,
                   named       ? node->text.at
                   : count > 0 ? words[0]
                               : "name",
                   conf_describe(conf, node));
        return;
    }
    const struct conf_node *member = node->first;
    const struct conf_variant *variant = find_variant(registry, member->key->text);
    if (variant == NULL)
        conf_error_at(conf, member->key->mark, member, "unknown %s `%s`%s", registry->what,
                      conf_shown(conf, member->key->text), conf_suggest(conf, member->key->text, words, count));
    else
        choose(conf, member, variant, choice, outer);
    if (member->next != NULL)
        conf_error_at(
            conf, member->next->key->mark, member->next,
            "expected one %s, but `%s` stands beside `%s`; give each an entry of its own, or check the indentation",
            registry->what, conf_shown(conf, member->next->key->text), conf_shown(conf, member->key->text));
}

/* ---- values ---- */

static void load_value(struct conf *conf, const struct conf_node *node, const struct conf_type *type, unsigned flags,
                       void *value, const struct nesting *outer)
{
    if (node->broken && (flags & CONF_DECLARES))
        conf_refs_declare(conf, value, type, true);
    if (node->broken)
        return;
    switch (type->kind) {
    case CONF_SECRET:
        conf_secret_load(conf, node, value);
        break;
    case CONF_CUSTOM:
        if (type->parse(conf, node, value) != 0)
            ENSURE(conf->failures > 0);
        break;
    case CONF_LIST:
        load_list(conf, node, type, flags, value, outer);
        break;
    case CONF_MAP:
        load_map(conf, node, type, flags, value, outer);
        break;
    case CONF_STRUCT:
        if (flags & CONF_POINTER)
            value = *(void **)value = conf_take(conf, type->structure->size);
        if (value != NULL)
            load_struct(conf, node, type->structure, value, outer);
        break;
    case CONF_UNION:
        load_union(conf, node, type->registry, value, outer);
        break;
    case CONF_REF:
        conf_refs_add(conf, node, type->names, value);
        break;
    default:
        conf_scalar_load(conf, node, type, flags, value);
    }
}

/* ---- defaults ---- */

/* A node that was not in the document: the default's text as a member of `place`. NULL when it cannot be made. */
static const struct conf_node *default_node(struct conf *conf, const struct conf_node *place,
                                            const struct conf_field *field)
{
    enum conf_kind kind = field->type.kind;
    bool composed = kind == CONF_LIST || kind == CONF_MAP || kind == CONF_STRUCT || kind == CONF_UNION;
    struct slice text = slice_from(field->default_text);
    struct conf_node *node = composed ? conf_read_tree(conf, "default", text) : conf_take(conf, sizeof(*node));
    struct conf_node *key = conf_take(conf, sizeof(*key));
    if (node == NULL || key == NULL)
        return NULL;
    key->kind = NODE_SCALAR;
    key->text = slice_from(field->name);
    key->parent = (struct conf_node *)place;
    if (!composed) {
        node->kind = NODE_SCALAR;
        node->text = text;
    }
    if (place != NULL)
        key->mark = node->mark = conf_node_place(place);
    node->key = key;
    node->parent = key->parent;
    return node;
}

/* `place` is the mapping that the field is missing from, or NULL. */
static void default_member(struct conf *conf, const struct conf_node *place, const struct conf_field *field,
                           void *value, const struct nesting *outer)
{
    unsigned flags = field->flags | field->type.flags;
    if (field->default_text != NULL) {
        const struct conf_node *node = default_node(conf, place, field);
        if (node != NULL)
            load_value(conf, node, &field->type, flags, value, outer);
    } else if (field->type.kind == CONF_STRUCT && !(flags & CONF_POINTER)) {
        default_struct(conf, place, field->type.structure, value, outer);
    }
}

static void default_struct(struct conf *conf, const struct conf_node *place, const struct conf_struct *schema,
                           void *value, const struct nesting *outer)
{
    struct nesting inner = { outer, schema };
    for (const struct conf_field *field = schema->fields; field->name != NULL; field++)
        default_member(conf, place, field, (char *)value + field->offset, &inner);
}

/* ---- structs ---- */

/* Collects the names that may stand in the struct's mapping. */
static size_t member_names(const struct conf_struct *schema, const char **words, size_t max)
{
    size_t count = 0;
    for (const struct conf_field *field = schema->fields; field->name != NULL && count < max; field++) {
        if (conf_is_inline(field))
            count += variant_names(field->type.registry, words + count, max - count);
        else
            words[count++] = field->name;
    }
    return count;
}

static bool is_known_member(const struct conf_struct *schema, struct slice name)
{
    for (const struct conf_field *field = schema->fields; field->name != NULL; field++)
        if (conf_is_inline(field) ? find_variant(field->type.registry, name) != NULL
                                  : slice_eq(slice_from(field->name), name))
            return true;
    return false;
}

static void report_unknown(struct conf *conf, const struct conf_node *map, const struct conf_struct *schema)
{
    const char *words[128];
    for (const struct conf_node *member = map->first; member != NULL; member = member->next) {
        struct slice name = member->key->text;
        if (is_known_member(schema, name) || (map->parent == NULL && slice_starts(name, SLICE("x-"))))
            continue;
        size_t count = member_names(schema, words, ARRAY_LEN(words));
        conf_error_at(conf, member->key->mark, member, "unknown field `%s`%s", conf_shown(conf, name),
                      conf_suggest(conf, name, words, count));
    }
}

/* Up to the first full stop: what the field is for, in a message. */
static struct slice first_sentence(const char *doc)
{
    struct slice text = slice_from(doc);
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] == '.' && (i + 1 == text.len || text.at[i + 1] == ' ' || text.at[i + 1] == '\n'))
            return slice_make(text.at, i);
    return text;
}

/* Whether a member that the struct does not know is a slip for one of the words: that has been said, so nothing is
 * missing. */
static bool stands_misspelt(const struct conf_node *map, const struct conf_struct *schema, const char *const *words,
                            size_t count)
{
    for (const struct conf_node *member = map->kind == NODE_MAP ? map->first : NULL; member != NULL;
         member = member->next)
        if (!is_known_member(schema, member->key->text) && conf_nearest(member->key->text, words, count) != NULL)
            return true;
    return false;
}

static void report_missing(struct conf *conf, const struct conf_node *map, struct conf_mark place,
                           const struct conf_struct *schema, const struct conf_field *field)
{
    struct slice what = first_sentence(field->doc);
    if (!stands_misspelt(map, schema, &field->name, 1))
        conf_error_at(conf, place, map, "required field `%s` is missing%s%.*s", field->name, what.len > 0 ? ": " : "",
                      SLICE_ARG(what));
}

/* An inline union's variants' names stand among the members of `map`. */
static void load_inline(struct conf *conf, const struct conf_node *map, const struct conf_field *field,
                        struct conf_choice *choice, const struct nesting *inner)
{
    const struct conf_registry *registry = field->type.registry;
    const char *words[64];
    size_t count = variant_names(registry, words, ARRAY_LEN(words));
    bool chosen = false;
    for (const struct conf_node *member = map->kind == NODE_MAP ? map->first : NULL; member != NULL;
         member = member->next) {
        const struct conf_variant *variant = find_variant(registry, member->key->text);
        if (variant != NULL && chosen)
            conf_error_at(conf, member->key->mark, member, "one %s is enough: `%s` stands beside `%s`", registry->what,
                          variant->name, choice->variant->name);
        else if (variant != NULL)
            choose(conf, member, variant, choice, inner);
        chosen = chosen || variant != NULL;
    }
    if (!chosen && (field->flags & CONF_REQUIRED) && !stands_misspelt(map, inner->schema, words, count))
        conf_error_at(conf, conf_node_place(map), map, "%s %s is missing%s", conf_article(registry->what),
                      registry->what, conf_suggest(conf, SLICE(""), words, count));
}

static void load_member(struct conf *conf, const struct conf_node *map, const struct conf_node *node,
                        const struct conf_field *field, void *value, const struct nesting *inner)
{
    if (conf_is_inline(field)) {
        load_inline(conf, map, field, value, inner);
    } else if (node != NULL && (node->kind != NODE_NULL || node->broken)) {
        load_value(conf, node, &field->type, field->flags | field->type.flags, value, inner);
    } else if (field->flags & CONF_REQUIRED) {
        report_missing(conf, map, node ? node->key->mark : conf_node_place(map), inner->schema, field);
    } else {
        default_member(conf, map, field, value, inner);
    }
}

/* The field that a value stands for which is no mapping; NULL when the struct has no such short form. */
static const struct conf_field *short_form(const struct conf_node *node, const struct conf_struct *schema)
{
    if (schema->shorthand == NULL || node->kind == NODE_MAP || node->kind == NODE_NULL)
        return NULL;
    const struct conf_field *field = schema->fields;
    while (field->name != NULL && strcmp(field->name, schema->shorthand) != 0)
        field++;
    ENSURE(field->name != NULL);
    return node->kind == NODE_SCALAR || field->type.kind == CONF_LIST ? field : NULL;
}

static bool too_deep(struct conf *conf, const struct conf_node *node, const struct conf_struct *schema,
                     const struct nesting *outer)
{
    unsigned depth = 0, max = schema->depth_max ? schema->depth_max : CONF_DEPTH_DEFAULT;
    for (; outer != NULL; outer = outer->outer)
        depth += outer->schema == schema;
    if (depth < max)
        return false;
    conf_error(conf, node, "%s %s may stand at most %u deep within another", conf_article(schema->name), schema->name,
               max);
    return true;
}

static void load_struct(struct conf *conf, const struct conf_node *node, const struct conf_struct *schema, void *value,
                        const struct nesting *outer)
{
    const struct conf_field *lone = short_form(node, schema);
    struct nesting inner = { outer, schema };
    unsigned failures = conf->failures;
    if (too_deep(conf, node, schema, outer))
        return;
    if (node->kind == NODE_MAP) {
        report_unknown(conf, node, schema);
    } else if (lone == NULL && node->kind != NODE_NULL) {
        conf_error(conf, node, "expected a mapping with the fields of %s %s, such as `%s`, got %s",
                   conf_article(schema->name), schema->name, foremost(schema), conf_describe(conf, node));
        return;
    }
    for (const struct conf_field *field = schema->fields; field->name != NULL; field++) {
        const struct conf_node *member = lone == field ? node : conf_get(node, field->name);
        load_member(conf, node, member, field, (char *)value + field->offset, &inner);
    }
    if (schema->validate != NULL && conf->failures == failures)
        schema->validate(conf, node, value);
}

int conf_load(struct conf *conf, const struct conf_node *node, const struct conf_struct *schema, void *ret_value)
{
    MAGIC_CHECK(conf, CONF_MAGIC);
    ENSURE(node != NULL);
    if (!node->broken)
        load_struct(conf, node, schema, ret_value, NULL);
    return conf->error_count == 0 ? 0 : -1;
}

int conf_defaults(struct conf *conf, const struct conf_struct *schema, void *ret_value)
{
    MAGIC_CHECK(conf, CONF_MAGIC);
    unsigned failures = conf->failures;
    default_struct(conf, NULL, schema, ret_value, NULL);
    return conf->failures == failures ? 0 : -1;
}
