/*
 * Configuration: YAML (JSON is a subset) to a tree with marks, and from the tree, by schema, into C structs.
 *
 *      file --libyaml--> conf_node tree --conf_load(schema)--> struct settings   + every mistake, each with its place
 *
 * One table of `conf_field`s for each thing is the parser, the validator, the JSON Schema (`maitred schema`) and the
 * reference page (`maitred reference`).  This room names no policy and no handler: unions are looked up in a registry
 * given by the schema.
 *
 * C representation by kind, at `offset` of the struct that holds it:
 *      BOOL      bool
 *      INT       int64_t       (min, max)
 *      NUMBER    double        (min, max; without both any)
 *      BYTES     int64_t       bytes: "64KiB", "10MB", "1GiB", 4096, min, max
 *      DURATION  int64_t       milliseconds: "250ms", "30s", "5m", "1h", "1d"; "0" or "off" is 0 where min is 0
 *      PERCENT   double        0 to 100: "20%", 20
 *      STRING    const char *  terminated, in the configuration's arena; NULL when absent and without default
 *      SECRET    const char *  as STRING; "file:PATH" is read from the file (one trailing newline dropped), relative
 *                              to the configuration's folder. Never printed.
 *      ENUM      int           value from `words`
 *      CUSTOM    what `parse` stores (an address, a network, a compiled template, a regex), `size` bytes
 *      LIST      struct conf_list, items of `item`; with CONF_LONE a single item without a list is a list of one
 *      MAP       struct conf_list of conf_entry: the key, and behind it the value of `item`; see conf_entry_at
 *      STRUCT    the struct itself, embedded; or with CONF_POINTER a pointer to it, NULL when absent
 *      UNION     struct conf_choice: a mapping with exactly one known name ({ jwt: {...} }); with CONF_INLINE that
 *                name stands among the fields of the struct that holds the union ({ match: ..., proxy: {...} })
 *      REF       struct conf_ref: a name of something declared elsewhere (kind of thing in `names`), resolved by
 *                conf_resolve; what holds it stays where conf_load stored it until then
 *
 * A field that is null counts as left out.  Members of the root struct whose names begin with `x-` are passed by: a
 * place for anchors.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

struct conf; /* one loading: files, arena, diagnostics, declared names */

struct conf_mark {
    const char *file;
    uint32_t line, column; /* from 1 */
};

/* ---- the tree ---- */

enum conf_node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct conf_node {
    uint8_t kind;
    bool quoted; /* a scalar in quotes is a string, never a number, boolean or null */
    bool broken; /* its mistake has been reported: loading passes it by */
    struct conf_mark mark;
    struct conf_node *key; /* NODE_SCALAR: this node's name in its map; NULL in a list */
    struct conf_node *parent;
    struct conf_node *next;  /* sibling */
    struct conf_node *first; /* of a list or map */
    uint32_t count;
    struct slice text; /* scalar, after ${ENV} substitution, terminated */
};

/* ---- diagnostics ---- */

enum conf_severity { CONF_ERROR, CONF_WARNING };

struct conf_diagnostic {
    struct conf_diagnostic *next;
    enum conf_severity severity;
    struct conf_mark mark;
    const char *path;    /* "routes[2].match.path" */
    const char *message; /* "unknown field `targtes`, did you mean `targets`?" */
};

/* `node` may be NULL (then no place). printf-like. */
void conf_error(struct conf *conf, const struct conf_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void conf_warn(struct conf *conf, const struct conf_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- schema ---- */

enum conf_kind {
    CONF_BOOL,
    CONF_INT,
    CONF_NUMBER,
    CONF_BYTES,
    CONF_DURATION,
    CONF_PERCENT,
    CONF_STRING,
    CONF_SECRET,
    CONF_ENUM,
    CONF_CUSTOM,
    CONF_LIST,
    CONF_MAP,
    CONF_STRUCT,
    CONF_UNION,
    CONF_REF,
};

/* Of a field or of its type, whichever is handier. REQUIRED counts on a field. */
enum conf_flags {
    CONF_REQUIRED = 1,
    CONF_LONE = 2,      /* LIST: a lone item counts as a list of one */
    CONF_POINTER = 4,   /* STRUCT: stored as a pointer, allocated when present; needed for recursion */
    CONF_NONEMPTY = 8,  /* STRING, LIST, MAP */
    CONF_DECLARES = 16, /* MAP: its keys are names that REFs with the same `names` refer to */
    CONF_INLINE = 32,   /* UNION as a field: its names stand among the fields of the struct */
};

struct conf_word {
    const char *word;
    int value;
    const char *doc;
};

struct conf_list {
    void *items; /* conf_size(item) apart */
    size_t count;
};
struct conf_choice {
    const struct conf_variant *variant; /* NULL when absent */
    void *value;                        /* its struct */
    const struct conf_node *node;
};
struct conf_ref {
    const char *name;   /* NULL when absent */
    const void *target; /* the map entry (conf_entry) it names, set by conf_resolve */
    const struct conf_node *node;
};

/* What a value looks like: used for fields, list items and map values. */
struct conf_type {
    enum conf_kind kind;
    int64_t min, max;                     /* INT, BYTES, DURATION (ms); max 0 is none. LIST and MAP: number of items */
    const struct conf_word *words;        /* ENUM, ended by { NULL } */
    const struct conf_type *item;         /* LIST, MAP */
    const struct conf_struct *structure;  /* STRUCT */
    const struct conf_registry *registry; /* UNION */
    const char *names;                    /* REF, MAP with CONF_DECLARES: "upstream" */
    /* CUSTOM: stores the value at `ret_value`; returns 0, or -1 after conf_error. `pattern` is shown in the reference:
     * a word ("IP:PORT"), or a phrase in Markdown ("`auto` or 1 to 256"). */
    int (*parse)(struct conf *conf, const struct conf_node *node, void *ret_value);
    size_t size;
    const char *pattern;
    unsigned flags; /* enum conf_flags */
};

struct conf_field {
    const char *name;
    struct conf_type type;
    size_t offset;
    unsigned flags;           /* enum conf_flags */
    const char *default_text; /* parsed like input; NULL: zero, or none */
    const char *doc;          /* one or two sentences, Markdown */
};

struct conf_struct {
    const char *name; /* "upstream": heading in the reference, definition name in the JSON Schema */
    size_t size;
    const struct conf_field *fields; /* ended by { NULL } */
    const char *doc;
    const char *shorthand; /* field that a bare scalar (or list, when the field is one) stands for, or NULL */
    /* Checks over several fields, after all of them are stored without error. Reports with conf_error; `node` is the
     * mapping. */
    void (*validate)(struct conf *conf, const struct conf_node *node, void *value);
    unsigned depth_max;  /* recursion through CONF_POINTER, 0: 16 */
    const char *example; /* YAML for the reference, or NULL */
};

struct conf_variant {
    const char *name; /* the union's key */
    const struct conf_struct *structure;
    const void *type; /* the owner's own descriptor: struct policy_type, handler_type ... */
};
struct conf_registry {
    const char *what;                    /* "policy": for messages */
    const struct conf_variant *variants; /* ended by { NULL } */
};

#define CONF_END                                                                                                       \
    {                                                                                                                  \
        NULL                                                                                                           \
    }
#define CONF_AT(type, member) offsetof(struct type, member)

/* Size of a value of the type in a list. */
size_t conf_size(const struct conf_type *type);
static inline void *conf_item(const struct conf_list *list, const struct conf_type *item, size_t index)
{
    return (char *)list->items + index * conf_size(item);
}
/* A map's entry: the key, and behind it the value. */
struct conf_entry {
    const char *key;
    const struct conf_node *node;
    _Alignas(16) char value[];
};
/* Size of a map's entry with a value of the type, and the entry at an index. */
size_t conf_entry_size(const struct conf_type *item);
static inline struct conf_entry *conf_entry_at(const struct conf_list *map, const struct conf_type *item, size_t index)
{
    return (struct conf_entry *)((char *)map->items + index * conf_entry_size(item));
}

/* ---- loading ---- */

struct conf_options {
    size_t file_bytes_max;                   /* 0: 16 MiB */
    uint32_t nodes_max;                      /* after expansion of anchors; 0: 1,000,000 */
    uint32_t depth_max;                      /* 0: 64 */
    const char *(*getenv)(const char *name); /* NULL: the process's environment */
};

/* NULL without memory. All strings and structs loaded stay valid until the last holder let go with conf_free, on any
 * thread; until it is loaded and resolved, one thread works on it. */
struct conf *conf_new(const struct conf_options *options);
/* A conf of its own with a copy of one branch, for an object that lives longer than the tree it stands in; to be loaded
 * again, without a mistake as the branch has none. NULL without memory. */
struct conf *conf_branch(const struct conf_node *node, const struct conf_node **ret_copy);
struct conf *conf_hold(struct conf *conf); /* atomic; returns it */
void conf_free(struct conf *conf);         /* drops one */
struct arena *conf_arena(struct conf *conf);

/* Parses a file (or text under a name). NULL after errors that leave no tree; the diagnostics tell. `include` is not
 * supported. */
const struct conf_node *conf_parse_file(struct conf *conf, const char *path);
const struct conf_node *conf_parse_text(struct conf *conf, const char *name, struct slice text);
/* Stores the tree into a zeroed struct, defaults first; reports every mistake and goes on. Returns 0, or -1 when the
 * conf has errors, those of parsing included. */
MUST_USE int conf_load(struct conf *conf, const struct conf_node *node, const struct conf_struct *schema,
                       void *ret_value);
/* Resolves every REF met by conf_load; unknown names are errors with a suggestion. Returns as conf_load. */
MUST_USE int conf_resolve(struct conf *conf);
/* The whole of a struct at its defaults (a section left out). */
MUST_USE int conf_defaults(struct conf *conf, const struct conf_struct *schema, void *ret_value);

const struct conf_diagnostic *conf_diagnostics(const struct conf *conf); /* in the order of file and line */
unsigned conf_error_count(const struct conf *conf);
/* "maitred.yaml:12:5: error: routes[2].match.path: ..." a line each, with the source line and a caret below when
 * `source`. */
void conf_print_diagnostics(const struct conf *conf, FILE *out, bool source);
/* Nearest of the words by edit distance, or NULL when none is near. */
const char *conf_nearest(struct slice word, const char *const *words, size_t count);
/* For CUSTOM fields that name a file: a const char * in the configuration's arena, relative paths from its folder on;
 * `file:` may stand in front. It is not opened. */
int conf_parse_path(struct conf *conf, const struct conf_node *node, void *ret_value);
/* A node's path in the document, in the conf's arena. */
const char *conf_path(struct conf *conf, const struct conf_node *node);
/* Member of a map by name; NULL. */
const struct conf_node *conf_get(const struct conf_node *map, const char *name);

/* ---- what else the tables are ---- */

/* JSON Schema 2020-12 of a root struct. */
void conf_write_json_schema(const struct conf_struct *root, FILE *out);
/* Markdown reference: a section a struct, tables of fields (name, type, default, meaning), unions and examples. */
void conf_write_reference(const struct conf_struct *root, FILE *out);
