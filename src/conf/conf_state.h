/*
 * What the files of this room share: the state of one loading and the calls between them.  No other room includes this.
 *
 * Memory comes from the conf's own arena.  When that runs out, conf_take returns NULL and leaves one diagnostic that
 * was set aside beforehand, so nobody else has to report it.
 */
#pragma once

#include <stdarg.h>
#include <stdatomic.h>

#include "base/memory.h"
#include "conf/conf.h"

enum {
    CONF_MAGIC = 0x636f6e66,
    CONF_DIAGNOSTICS_MAX = 1000, /* more are counted and not kept: nobody reads the 1,001st */
    CONF_DEPTH_DEFAULT = 16,     /* of a struct within itself */
};

/* A text that was parsed, kept to show its lines. */
struct conf_source {
    struct conf_source *next;
    const char *name;
    struct slice text;
};

/* Lines that hold a secret in the open, and so are never shown. */
struct conf_hidden {
    struct conf_hidden *next;
    const char *file;
    uint32_t first_line, last_line;
};

/* A REF that conf_load met. */
struct conf_pending {
    struct conf_pending *next;
    struct conf_ref *ref;
    const char *names;
};

/* A MAP with CONF_DECLARES. `broken`: it could not be read, so a name not found is no news. */
struct conf_declaration {
    struct conf_declaration *next;
    const char *names;
    struct conf_list map;
    const struct conf_type *item;
    bool broken;
};

struct conf {
    uint32_t magic;
    atomic_uint holders;
    struct conf_options options;
    struct memory memory;
    struct arena *arena;
    uint32_t node_count;
    struct conf_source *sources; /* in the order parsed */
    struct conf_hidden *hidden;
    struct conf_diagnostic *diagnostics; /* in order; memory_diagnostic, when set, is the last */
    unsigned diagnostic_count;
    unsigned error_count; /* distinct ones */
    unsigned failures;    /* every report, repeated or not: tells whether something went wrong since */
    bool out_of_memory;
    struct conf_diagnostic memory_diagnostic;
    struct conf_pending *pending, *pending_last;
    struct conf_declaration *declarations;
};

static inline bool conf_is_inline(const struct conf_field *field)
{
    return field->type.kind == CONF_UNION && ((field->flags | field->type.flags) & CONF_INLINE);
}

/* conf.c: zeroed memory of the arena, and a terminated copy; NULL (reported) at the limit. */
void *conf_take(struct conf *conf, size_t size);
char *conf_keep(struct conf *conf, struct slice text);

/* file.c: a whole file into the arena; 0 or an errno, EFBIG above `max`. */
MUST_USE int conf_read_file(struct conf *conf, const char *path, size_t max, struct slice *ret_text);

/* yaml.c: a tree whose text is not kept for showing (defaults). */
struct conf_node *conf_read_tree(struct conf *conf, const char *name, struct slice text);

/* node.c */
struct conf_node *conf_node_new(struct conf *conf, struct conf_node *parent, enum conf_node_kind kind,
                                struct conf_mark mark);
void conf_node_add(struct conf_node *parent, struct conf_node **last, struct conf_node *child);
/* A copy of all below `from`, as a member of `parent`; NULL at a limit (reported). */
struct conf_node *conf_node_copy(struct conf *conf, const struct conf_node *from, struct conf_node *parent,
                                 unsigned depth);
/* Where to point for a whole node: at its name when it is nothing or begins on a line below. */
struct conf_mark conf_node_place(const struct conf_node *node);

/* merge.c: folds `<<` into the map and refuses names that stand twice. */
void conf_merge(struct conf *conf, struct conf_node *map);

/* environment.c: `${NAME}` and `${NAME:-default}` in a scalar. */
void conf_substitute(struct conf *conf, struct conf_node *scalar);

/* diagnostics.c: an error about `node` (for its path; may be NULL) that points elsewhere than at its beginning. */
void conf_error_at(struct conf *conf, struct conf_mark mark, const struct conf_node *node, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void conf_out_of_memory(struct conf *conf);
void conf_hide(struct conf *conf, const struct conf_node *node);
/* "`text`", cut and made printable, or "a list", "a mapping", "nothing". */
const char *conf_shown(struct conf *conf, struct slice text);
const char *conf_describe(struct conf *conf, const struct conf_node *node);

/* scalar.c: BOOL to ENUM. Reports and leaves the value at zero when the text is not one. */
void conf_scalar_load(struct conf *conf, const struct conf_node *node, const struct conf_type *type, unsigned flags,
                      void *value);
enum { CONF_FORMATTED_MAX = 32 };
/* "1m30s", "64KiB", "10"; by the kind. */
void conf_scalar_format(enum conf_kind kind, int64_t value, char ret_text[CONF_FORMATTED_MAX]);

/* path.c: in the arena; NULL without memory (reported). */
const char *conf_resolve_path(struct conf *conf, struct conf_mark mark, struct slice path);

/* secret.c */
void conf_secret_load(struct conf *conf, const struct conf_node *node, const char **value);

/* suggest.c: ", did you mean `x`?", or the words to choose from, or "". In the arena, never NULL. */
const char *conf_suggest(struct conf *conf, struct slice word, const char *const *words, size_t count);

const char *conf_article(const char *noun); /* "a" or "an" */

/* refs.c */
void conf_refs_add(struct conf *conf, const struct conf_node *node, const char *names, struct conf_ref *ref);
void conf_refs_declare(struct conf *conf, const struct conf_list *map, const struct conf_type *type, bool broken);
