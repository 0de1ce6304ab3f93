/*
 * libyaml's events to our tree (YAML 1.1 and so JSON).  Syntax ends the reading; other mistakes (an unknown anchor, a
 * name twice, a variable that is not set) are reported, mark their node as broken, and reading goes on so that all are
 * told at once.
 *
 * Aliases are copied, so the tree is one: the copies count against nodes_max and depth_max, which is what refuses alias
 * bombs.  The marks of a copy are those of the original, where a mistake has to be mended.
 */
#include <yaml.h>

#include "base/assert.h"
#include "conf/conf_state.h"

enum { ANCHORS_MAX = 10000 };

struct anchor {
    struct anchor *next;
    const char *name;
    struct conf_node *node;
    bool complete; /* false while its own content is being read */
};

struct reader {
    struct conf *conf;
    const char *file;
    struct slice text;
    yaml_parser_t parser;
    struct anchor *anchors; /* newest first: a name used again hides the older */
    unsigned anchor_count;
    struct conf_node *key; /* of the node that is read next */
    bool stopped;          /* after a mistake that leaves no tree */
};

static struct conf_node *read_node(struct reader *r, yaml_event_t *event, struct conf_node *parent, unsigned depth);

static struct conf_mark mark_of(const struct reader *r, yaml_mark_t mark)
{
    return (struct conf_mark){ r->file, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1 };
}

/* ---- syntax ---- */

/* libyaml words what it missed; these say what usually is the matter. */
static const char *hint_for(const struct reader *r)
{
    static const struct {
        const char *problem, *hint;
    } hints[] = {
        { "mapping values are not allowed", "; a text with `: ` in it needs quotes, or the indentation is off" },
        { "did not find expected key", "; compare the indentation with the lines above" },
        { "did not find expected '-' indicator", "; compare the indentation with the lines above" },
        { "did not find expected ',' or", "; is a bracket or a comma missing?" },
        { "did not find expected node content", "; a text that begins with `:`, `%` or a bracket needs quotes here" },
        { "could not find expected ':'", "; is a `:` missing, or a space behind it?" },
        { "found undefined tag handle", "; a text that begins with `!` needs quotes" },
        { "found unexpected end of stream", "; is a closing quote missing?" },
    };
    size_t at = r->parser.problem_mark.index;
    if (at < r->text.len && strncmp(r->parser.problem, "found character that cannot start", 33) == 0)
        return r->text.at[at] == '\t' ? "; a tab does not indent: use spaces"
                                      : "; a text that begins with it needs quotes";
    if (at > 0 && at < r->text.len && r->text.at[at] == '{' && r->text.at[at - 1] == '$')
        return "; within brackets a text with `${...}` needs quotes";
    for (size_t i = 0; i < ARRAY_LEN(hints); i++)
        if (strncmp(r->parser.problem, hints[i].problem, strlen(hints[i].problem)) == 0)
            return hints[i].hint;
    return "";
}

/* The reader of characters tells a byte's offset only. */
static struct conf_mark mark_of_offset(const struct reader *r, size_t offset)
{
    struct conf_mark mark = { r->file, 1, 1 };
    for (size_t i = 0; i < offset && i < r->text.len; i++) {
        unsigned char c = (unsigned char)r->text.at[i];
        if (c == '\n') {
            mark.line++;
            mark.column = 1;
        } else if ((c & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

static void report_syntax(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    r->stopped = true;
    if (p->error == YAML_MEMORY_ERROR) {
        conf_out_of_memory(r->conf);
    } else if (p->error == YAML_READER_ERROR) {
        conf_error_at(r->conf, mark_of_offset(r, p->problem_offset), NULL, "not text in UTF-8: %s",
                      p->problem ? p->problem : "unreadable");
    } else if (p->context != NULL && p->context_mark.line != p->problem_mark.line) {
        conf_error_at(r->conf, mark_of(r, p->problem_mark), NULL, "not valid YAML: %s %s that began on line %zu%s",
                      p->problem, p->context, p->context_mark.line + 1, hint_for(r));
    } else {
        conf_error_at(r->conf, mark_of(r, p->problem_mark), NULL, "not valid YAML: %s%s",
                      p->problem ? p->problem : "unreadable", p->problem ? hint_for(r) : "");
    }
}

static bool next_event(struct reader *r, yaml_event_t *ret)
{
    if (r->stopped)
        return false;
    if (yaml_parser_parse(&r->parser, ret))
        return true;
    report_syntax(r);
    return false;
}

static struct conf_node *new_node(struct reader *r, struct conf_node *parent, enum conf_node_kind kind,
                                  const yaml_event_t *event)
{
    struct conf_node *node = conf_node_new(r->conf, parent, kind, mark_of(r, event->start_mark));
    if (node == NULL)
        r->stopped = true;
    else
        node->key = r->key;
    r->key = NULL;
    return node;
}

/* ---- anchors ---- */

static struct anchor *add_anchor(struct reader *r, const yaml_char_t *name, struct conf_node *node)
{
    if (name == NULL || r->stopped)
        return NULL;
    if (++r->anchor_count > ANCHORS_MAX) {
        conf_error(r->conf, node, "more than %d anchors", ANCHORS_MAX);
        r->stopped = true;
        return NULL;
    }
    struct anchor *anchor = conf_take(r->conf, sizeof(*anchor));
    char *kept = conf_keep(r->conf, slice_from((const char *)name));
    if (anchor == NULL || kept == NULL) {
        r->stopped = true;
        return NULL;
    }
    *anchor = (struct anchor){ r->anchors, kept, node, false };
    r->anchors = anchor;
    return anchor;
}

static void report_unknown_alias(struct reader *r, const struct conf_node *node, const char *name)
{
    const char *names[64];
    size_t count = 0;
    for (const struct anchor *a = r->anchors; a != NULL && count < ARRAY_LEN(names); a = a->next)
        names[count++] = a->name;
    struct slice word = slice_from(name);
    const char *nearest = conf_nearest(word, names, count);
    conf_error(r->conf, node, "no anchor `&%s` stands before this alias%s", conf_shown(r->conf, word),
               nearest ? conf_suggest(r->conf, word, &nearest, 1) : "");
}

static struct conf_node *read_alias(struct reader *r, const yaml_event_t *event, struct conf_node *parent,
                                    unsigned depth)
{
    const char *name = (const char *)event->data.alias.anchor;
    const struct anchor *anchor = r->anchors;
    while (anchor != NULL && strcmp(anchor->name, name) != 0)
        anchor = anchor->next;
    if (anchor != NULL && anchor->complete) {
        struct conf_node *copy = conf_node_copy(r->conf, anchor->node, parent, depth);
        if (copy == NULL)
            r->stopped = true;
        else
            copy->key = r->key;
        r->key = NULL;
        return copy;
    }
    struct conf_node *node = new_node(r, parent, NODE_SCALAR, event);
    if (node == NULL)
        return NULL;
    node->broken = true;
    if (anchor != NULL)
        conf_error(r->conf, node, "the alias `*%s` stands within what it repeats",
                   conf_shown(r->conf, slice_from(name)));
    else
        report_unknown_alias(r, node, name);
    return node;
}

/* ---- nodes ---- */

static bool is_null_word(struct slice text)
{
    return text.len == 0 || slice_eq(text, SLICE("~")) || slice_eq(text, SLICE("null")) ||
           slice_eq(text, SLICE("Null")) || slice_eq(text, SLICE("NULL"));
}

/* YAML's own tags say nothing that the schema does not know better, but for !!str; others would need code that we do
 * not run. */
static void check_tag(struct reader *r, struct conf_node *node, const yaml_char_t *tag)
{
    const char *text = (const char *)tag;
    if (text == NULL)
        return;
    if (strcmp(text, "!") == 0 || strcmp(text, YAML_STR_TAG) == 0) {
        node->quoted = true;
    } else if (strncmp(text, "tag:yaml.org,2002:", 18) != 0) {
        node->broken = true;
        conf_error(r->conf, node, "tags such as `%s` are not supported; a text that begins with `!` needs quotes",
                   conf_shown(r->conf, slice_from(text)));
    }
}

static struct conf_node *read_scalar(struct reader *r, const yaml_event_t *event, struct conf_node *parent, bool is_key)
{
    struct slice text = slice_make((const char *)event->data.scalar.value, event->data.scalar.length);
    struct conf_node *node = new_node(r, parent, NODE_SCALAR, event);
    if (node == NULL)
        return NULL;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    check_tag(r, node, event->data.scalar.tag);
    char *kept = conf_keep(r->conf, text);
    if (kept == NULL) {
        r->stopped = true;
        return NULL;
    }
    node->text = slice_make(kept, text.len);
    if (is_key)
        return node;
    if (memchr(text.at, '\0', text.len) != NULL) {
        node->broken = true;
        conf_error(r->conf, node, "a text may not hold the byte zero");
    } else if (!node->quoted && is_null_word(text)) {
        node->kind = NODE_NULL;
    } else {
        conf_substitute(r->conf, node);
    }
    return node;
}

/* Reads members until the end of the list. */
static void read_items(struct reader *r, struct conf_node *list, unsigned depth)
{
    struct conf_node *last = NULL;
    yaml_event_t event;
    bool more = true;
    while (more && next_event(r, &event)) {
        more = event.type != YAML_SEQUENCE_END_EVENT;
        struct conf_node *item = more ? read_node(r, &event, list, depth + 1) : NULL;
        if (item != NULL)
            conf_node_add(list, &last, item);
        yaml_event_delete(&event);
    }
}

/* The name of a member. A broken one still is a node, so that its value is read over. */
static struct conf_node *read_key(struct reader *r, yaml_event_t *event, struct conf_node *map, unsigned depth)
{
    struct conf_node *key =
        event->type == YAML_SCALAR_EVENT ? read_scalar(r, event, map, true) : read_node(r, event, map, depth + 1);
    if (key == NULL)
        return NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        struct anchor *anchor = add_anchor(r, event->data.scalar.anchor, key);
        if (anchor != NULL)
            anchor->complete = true;
    }
    if (key->broken)
        return key;
    if (key->kind != NODE_SCALAR)
        conf_error(r->conf, key, "a member's name is text, got %s; a value in braces, such as `{name}`, needs quotes",
                   conf_describe(r->conf, key));
    else if (key->text.len == 0)
        conf_error(r->conf, key, "a name is missing before the `:`");
    else if (memchr(key->text.at, '\0', key->text.len) != NULL)
        conf_error(r->conf, key, "a name may not hold the byte zero");
    else
        return key;
    key->broken = true;
    return key;
}

static void read_members(struct reader *r, struct conf_node *map, unsigned depth)
{
    struct conf_node *last = NULL;
    yaml_event_t event;
    while (next_event(r, &event)) {
        bool end = event.type == YAML_MAPPING_END_EVENT;
        struct conf_node *key = end ? NULL : read_key(r, &event, map, depth);
        yaml_event_delete(&event);
        if (end || key == NULL || !next_event(r, &event))
            return;
        r->key = key;
        struct conf_node *value = read_node(r, &event, map, depth + 1);
        yaml_event_delete(&event);
        if (value == NULL)
            return;
        if (!key->broken)
            conf_node_add(map, &last, value);
    }
}

static struct conf_node *read_container(struct reader *r, const yaml_event_t *event, struct conf_node *parent,
                                        unsigned depth)
{
    bool is_map = event->type == YAML_MAPPING_START_EVENT;
    struct conf_node *node = new_node(r, parent, is_map ? NODE_MAP : NODE_LIST, event);
    if (node == NULL)
        return NULL;
    if (depth >= r->conf->options.depth_max) {
        conf_error(r->conf, node, "nested more than %u deep", r->conf->options.depth_max);
        r->stopped = true;
        return NULL;
    }
    check_tag(r, node, is_map ? event->data.mapping_start.tag : event->data.sequence_start.tag);
    struct anchor *anchor =
        add_anchor(r, is_map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor, node);
    if (is_map) {
        read_members(r, node, depth);
        if (!r->stopped)
            conf_merge(r->conf, node);
    } else {
        read_items(r, node, depth);
    }
    if (anchor != NULL)
        anchor->complete = true;
    return node;
}

/* The node that begins with the event (which the caller deletes); NULL once reading has stopped. */
static struct conf_node *read_node(struct reader *r, yaml_event_t *event, struct conf_node *parent, unsigned depth)
{
    if (event->type == YAML_ALIAS_EVENT)
        return read_alias(r, event, parent, depth);
    if (event->type != YAML_SCALAR_EVENT)
        return read_container(r, event, parent, depth);
    struct conf_node *scalar = read_scalar(r, event, parent, false);
    struct anchor *anchor = scalar ? add_anchor(r, event->data.scalar.anchor, scalar) : NULL;
    if (anchor != NULL)
        anchor->complete = true;
    return scalar;
}

/* The one document of the stream; an empty stream is a null. */
static struct conf_node *read_stream(struct reader *r)
{
    struct conf_node *root = NULL;
    yaml_event_t event;
    bool more = true;
    while (more && next_event(r, &event)) {
        switch (event.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        case YAML_STREAM_END_EVENT:
            more = false;
            if (root == NULL)
                root = new_node(r, NULL, NODE_NULL, &event);
            break;
        case YAML_DOCUMENT_START_EVENT:
            if (root != NULL) {
                conf_error_at(r->conf, mark_of(r, event.start_mark), NULL,
                              "a second document begins here; a configuration is one");
                r->stopped = true;
            }
            break;
        default:
            root = read_node(r, &event, NULL, 0);
        }
        yaml_event_delete(&event);
    }
    return r->stopped ? NULL : root;
}

struct conf_node *conf_read_tree(struct conf *conf, const char *name, struct slice text)
{
    struct reader reader = { .conf = conf, .file = name, .text = text };
    if (!yaml_parser_initialize(&reader.parser)) {
        conf_out_of_memory(conf);
        return NULL;
    }
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text.at, text.len);
    struct conf_node *root = read_stream(&reader);
    yaml_parser_delete(&reader.parser);
    return root;
}
