/*
 * JSON (RFC 8259): a reader to a tape and a writer.  Numbers keep their text, so a 64-bit integer or a long decimal is
 * never changed; strings are valid UTF-8, escapes decoded on demand; duplicate names are refused; depth and size are bounded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct arena;

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* One entry of the tape. A container is followed by its members; `next` jumps behind it.
 * An object's members are a JSON_STRING and a value in turn. */
struct json {
    uint8_t kind;
    bool escaped;     /* the string's text has escapes */
    uint32_t next;    /* index of the entry behind this one and all it holds */
    uint32_t count;   /* members of a container */
    struct slice text; /* number or string without quotes, within the input */
};

struct json_limits {
    uint32_t depth_max, entries_max;
};

struct json_error {
    size_t offset;
    const char *what; /* static text */
};

/* Parses the whole input into a tape in the arena (the slices point into `text`, which must stay).
 * Returns the root, or NULL with the error told. */
const struct json *json_parse(struct arena *arena, struct slice text, const struct json_limits *limits,
                              struct json_error *ret_error);
/* A member of an object by (unescaped) name; NULL when it is not there or `object` is no object. */
const struct json *json_get(const struct json *object, const char *name);
/* First and next member of a container; NULL at the end. For an object they alternate name, value. */
const struct json *json_first(const struct json *container);
const struct json *json_next(const struct json *container, const struct json *member);
/* The decoded string in the arena; at == NULL when it is no string or memory is out. */
struct slice json_string(struct arena *arena, const struct json *string);
bool json_to_i64(const struct json *number, int64_t *ret_value); /* exact integers only */

/* Writing: into a growing buffer. All calls are no-ops after a failed one; json_out_done tells. */
struct json_out {
    char *buf;
    size_t len, size;
    size_t max;    /* 0: grows on the heap without limit; else buf is the caller's and this its size */
    bool failed;
    bool comma;    /* a comma is due before the next member */
    uint16_t depth, indent; /* indent 0: one line */
};
void json_out_init(struct json_out *out, unsigned indent);                      /* heap */
void json_out_init_fixed(struct json_out *out, char *buf, size_t size);         /* caller's buffer */
void json_out_done(struct json_out *out);                                       /* frees the heap buffer */
void json_open(struct json_out *out, char bracket);                             /* '{' or '[' */
void json_close(struct json_out *out, char bracket);                            /* '}' or ']' */
void json_name(struct json_out *out, const char *name);
void json_put_string(struct json_out *out, struct slice s);                     /* invalid UTF-8 becomes U+FFFD */
void json_put_int(struct json_out *out, int64_t value);
void json_put_number(struct json_out *out, double value);                       /* "%.6g" like, finite */
void json_put_bool(struct json_out *out, bool value);
void json_put_null(struct json_out *out);
void json_put_raw(struct json_out *out, struct slice json);
