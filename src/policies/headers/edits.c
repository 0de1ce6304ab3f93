/*
 * Compiling and doing edits.
 *
 * What belongs to the connection or frames the body is not to be touched: the codec writes it from the message, and a
 * field that contradicts it could make one message read as two.  `Host` is the message's authority, so it can be set on
 * a request and nothing else.
 */
#include "policies/headers/edits.h"

#include "base/assert.h"
#include "base/sys.h"
#include "http/message.h"
#include "http/uri.h"

static const struct conf_type text_type = { .kind = CONF_STRING };
static const struct conf_type texts_type = { .kind = CONF_LIST, .item = &text_type, .flags = CONF_LONE };

static const struct conf_field edits_fields[] = {
    { "remove",
      { .kind = CONF_LIST, .item = &text_type, .flags = CONF_LONE },
      CONF_AT(edits_conf, remove),
      CONF_LONE,
      NULL,
      "Names of fields that are removed." },
    { "rename",
      { .kind = CONF_MAP, .item = &text_type },
      CONF_AT(edits_conf, rename),
      0,
      NULL,
      "Old names to new names. The values stay; what stood under the new name before is dropped when there is "
      "something to rename." },
    { "set",
      { .kind = CONF_MAP, .item = &text_type },
      CONF_AT(edits_conf, set),
      0,
      NULL,
      "Names to values: one field of that value takes the place of all of that name. `Host` can be set on a request." },
    { "add",
      { .kind = CONF_MAP, .item = &texts_type },
      CONF_AT(edits_conf, add),
      0,
      NULL,
      "Names to a value or a list of values, which are added to what is there." },
    CONF_END,
};
const struct conf_struct edits_schema = {
    .name = "header edits",
    .size = sizeof(struct edits_conf),
    .fields = edits_fields,
    .doc =
        "Edits of the header fields of a request or a response, done in this order: `remove`, `rename`, `set`, `add`.",
};

/* ---- compiling ---- */

struct compiling {
    struct conf *conf;
    enum direction direction;
    struct edits *edits;
    bool failed;
};

static const char *untouchable(enum field_id id)
{
    switch (id) {
    case FIELD_CONTENT_LENGTH:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_TRAILER:
        return "it says where the message ends, and is written by the gateway";
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TE:
    case FIELD_UPGRADE:
    case FIELD_HTTP2_SETTINGS:
    case FIELD_EXPECT:
        return "it belongs to the connection, and is written by the gateway";
    default:
        return NULL;
    }
}

static bool check_host(const struct compiling *c, const struct conf_node *node, enum edit_kind kind)
{
    if (kind == EDIT_SET && c->direction == DIR_REQUEST)
        return true;
    if (c->direction == DIR_REQUEST)
        conf_error(c->conf, node, "`Host` can only be set: every request has exactly one");
    else
        conf_error(c->conf, node, "`Host` is no field of a response");
    return false;
}

/* May the field of that name be edited so? */
static bool check_name(const struct compiling *c, const struct conf_node *node, enum edit_kind kind, struct slice name)
{
    if (!field_name_valid(name)) {
        conf_error(c->conf, node, "`%.*s` is no field name", SLICE_ARG(name));
        return false;
    }
    enum field_id id = field_id(name);
    const char *why = untouchable(id);
    if (why)
        conf_error(c->conf, node, "`%.*s` cannot be edited: %s", SLICE_ARG(name), why);
    return !why && (id != FIELD_HOST || check_host(c, node, kind));
}

static bool check_value(const struct compiling *c, const struct conf_node *node, enum field_id id, struct slice value)
{
    struct slice host;
    uint16_t port;
    if (!field_value_valid(value)) {
        conf_error(c->conf, node, "a field's value has no line breaks and no control characters");
        return false;
    }
    if (id == FIELD_HOST && uri_parse_authority(value, &host, &port) < 0) {
        conf_error(c->conf, node, "`%.*s` is no host", SLICE_ARG(value));
        return false;
    }
    return true;
}

static void add_edit(struct compiling *c, enum edit_kind kind, struct slice name, struct slice text)
{
    enum field_id id = field_id(name);
    c->edits->v[c->edits->count++] = (struct edit){
        .kind = kind == EDIT_SET && id == FIELD_HOST ? EDIT_SET_HOST : kind,
        .id = (uint16_t)id,
        .new_id = (uint16_t)(kind == EDIT_RENAME ? field_id(text) : FIELD_OTHER),
        .name = name,
        .text = text,
    };
}

static const char *text_at(const struct conf_list *list, size_t index)
{
    return *(const char **)conf_item(list, &text_type, index);
}

static void compile_removals(struct compiling *c, const struct conf_node *node, const struct conf_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct slice name = slice_from(text_at(list, i));
        if (check_name(c, node, EDIT_REMOVE, name))
            add_edit(c, EDIT_REMOVE, name, SLICE_EMPTY);
        else
            c->failed = true;
    }
}

static void compile_renaming(struct compiling *c, const struct conf_list *map, size_t index)
{
    const struct conf_entry *entry = conf_entry_at(map, &text_type, index);
    struct slice from = slice_from(entry->key), to = slice_from(*(const char *const *)entry->value);
    bool ok = check_name(c, entry->node, EDIT_RENAME, from) && check_name(c, entry->node, EDIT_RENAME, to);
    for (size_t i = 0; ok && i < map->count; i++) {
        if (slice_eq_nocase(to, slice_from(conf_entry_at(map, &text_type, i)->key))) {
            conf_error(c->conf, entry->node,
                       "`%.*s` is renamed itself: names that are swapped or passed on need two policies in a row",
                       SLICE_ARG(to));
            ok = false;
        }
    }
    if (ok)
        add_edit(c, EDIT_RENAME, from, to);
    else
        c->failed = true;
}

static void compile_value(struct compiling *c, const struct conf_entry *entry, enum edit_kind kind, const char *value)
{
    struct slice name = slice_from(entry->key), text = slice_from(value ? value : "");
    if (check_name(c, entry->node, kind, name) && check_value(c, entry->node, field_id(name), text))
        add_edit(c, kind, name, text);
    else
        c->failed = true;
}

static size_t count_edits(const struct edits_conf *s)
{
    size_t count = s->remove.count + s->rename.count + s->set.count;
    for (size_t i = 0; i < s->add.count; i++)
        count += ((const struct conf_list *)conf_entry_at(&s->add, &texts_type, i)->value)->count;
    return count;
}

int edits_compile(struct conf *conf, const struct conf_node *node, enum direction direction,
                  const struct edits_conf *settings, struct edits *ret_edits)
{
    struct compiling c = { conf, direction, ret_edits, false };
    size_t count = count_edits(settings);
    const struct conf_node *remove = node ? conf_get(node, "remove") : NULL;

    *ret_edits = (struct edits){ NULL, 0 };
    if (count == 0)
        return 0;
    ret_edits->v = mem_must(count * sizeof(*ret_edits->v));
    compile_removals(&c, remove ? remove : node, &settings->remove);
    for (size_t i = 0; i < settings->rename.count; i++)
        compile_renaming(&c, &settings->rename, i);
    for (size_t i = 0; i < settings->set.count; i++) {
        const struct conf_entry *entry = conf_entry_at(&settings->set, &text_type, i);
        compile_value(&c, entry, EDIT_SET, *(const char *const *)entry->value);
    }
    for (size_t i = 0; i < settings->add.count; i++) {
        const struct conf_entry *entry = conf_entry_at(&settings->add, &texts_type, i);
        const struct conf_list *values = (const struct conf_list *)entry->value;
        for (size_t v = 0; v < values->count; v++)
            compile_value(&c, entry, EDIT_ADD, text_at(values, v));
    }
    ENSURE(ret_edits->count <= count);
    if (c.failed)
        edits_done(ret_edits);
    return c.failed ? -1 : 0;
}

void edits_done(struct edits *edits)
{
    mem_free(edits->v);
    *edits = (struct edits){ NULL, 0 };
}

/* ---- doing ---- */

static void remove_fields(struct fields *fields, enum field_id id, struct slice name)
{
    if (id != FIELD_OTHER)
        fields_remove(fields, id);
    else
        fields_remove_name(fields, name);
}

static bool is_named(const struct field *field, enum field_id id, struct slice name)
{
    return field->id == id && (id != FIELD_OTHER || slice_eq_nocase(field->name, name));
}

/* The fields keep their values and places. */
static void rename_fields(struct fields *fields, const struct edit *edit)
{
    bool found =
        edit->id != FIELD_OTHER ? fields_find(fields, edit->id) != NULL : fields_find_name(fields, edit->name) != NULL;
    if (!found)
        return;
    remove_fields(fields, edit->new_id, edit->text);
    FIELDS_FOR_EACH (f, fields) {
        if (is_named(f, edit->id, edit->name)) {
            f->name = edit->text;
            f->id = edit->new_id;
        }
    }
}

int edits_apply(const struct edits *edits, struct message *message, struct arena *arena)
{
    struct fields *fields = &message->fields;
    int rc = 0;
    for (const struct edit *e = edits->v; rc == 0 && e < edits->v + edits->count; e++) {
        switch ((enum edit_kind)e->kind) {
        case EDIT_REMOVE:
            remove_fields(fields, e->id, e->name);
            break;
        case EDIT_RENAME:
            rename_fields(fields, e);
            break;
        case EDIT_SET:
            rc = fields_set(fields, arena, e->name, e->text);
            break;
        case EDIT_ADD:
            rc = fields_add(fields, arena, e->name, e->text);
            break;
        case EDIT_SET_HOST:
            message->authority = e->text;
            break;
        }
    }
    return rc;
}
