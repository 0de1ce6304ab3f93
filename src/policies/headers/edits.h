/*
 * Edits of a message's fields, in the order they are done: removals, renamings, settings, additions.
 *
 * Compiled by the control thread from settings whose strings they point into; then immutable and shared by all workers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "conf/conf.h"
#include "exchange/policy.h"

struct arena;
struct message;

/* The settings of one direction. */
struct edits_conf {
    struct conf_list remove; /* const char * */
    struct conf_list rename; /* MAP of const char * */
    struct conf_list set;    /* MAP of const char * */
    struct conf_list add;    /* MAP of conf_list of const char * */
};

enum edit_kind { EDIT_REMOVE, EDIT_RENAME, EDIT_SET, EDIT_ADD, EDIT_SET_HOST };

struct edit {
    uint8_t kind;        /* enum edit_kind */
    uint16_t id, new_id; /* enum field_id of the name and of the new one */
    struct slice name;
    struct slice text; /* EDIT_RENAME: the new name; EDIT_SET, EDIT_ADD, EDIT_SET_HOST: the value */
};
struct edits {
    struct edit *v;
    unsigned count;
};

extern const struct conf_struct edits_schema;

/* 0, or -1 after every mistake has been reported below `node` (the settings' mapping; may be NULL). */
MUST_USE int edits_compile(struct conf *conf, const struct conf_node *node, enum direction direction,
                           const struct edits_conf *settings, struct edits *ret_edits);
void edits_done(struct edits *edits);

/* 0, -ERR_MEMORY, or -ERR_HEAD_TOO_LARGE when the message has as many fields as there may be. */
MUST_USE int edits_apply(const struct edits *edits, struct message *message, struct arena *arena);
