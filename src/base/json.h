/*
 * JSON (RFC 8259): a reader to a tape and a writer.  Numbers keep their text, so a 64-bit integer or a long decimal is
 * never changed; strings are valid UTF-8, escapes decoded on demand; duplicate names are refused; depth and size are
 * bounded.
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
    bool escaped;   /* the string's text has escapes; never in a name */
    uint32_t next;  /* how many entries this one and all it holds take: `json + json->next` is the one behind */
    uint32_t count; /* elements of an array, pairs of an object */
    /* number or string without quotes, within the input; a name that had escapes is decoded, in the arena */
    struct slice text;
};

enum { JSON_DEPTH_DEFAULT = 64, JSON_ENTRIES_DEFAULT = 1 << 20 };

struct json_limits {
    uint32_t depth_max;   /* containers within each other */
    uint32_t entries_max; /* values and names */
};

struct json_error {
    size_t offset;
    const char *what;   /* static text */
    bool out_of_memory; /* the text is not to blame */
};

/* Parses the whole input into a tape in the arena (the slices point into `text`, which must stay). Without limits
 * (NULL) the defaults hold. Returns the root, or NULL with the error told. */
const struct json *json_parse(struct arena *arena, struct slice text, const struct json_limits *limits,
                              struct json_error *ret_error);
/* A member of an object by (unescaped) name; NULL when it is not there or `object` is no object. */
const struct json *json_get(const struct json *object, const char *name);
/* First and next member of a container; NULL at the end. For an object they alternate name, value. */
const struct json *json_first(const struct json *container);
const struct json *json_next(const struct json *container, const struct json *member);
/* The decoded string in the arena; at == NULL when it is no string or memory is out. */
struct slice json_string(struct arena *arena, const struct json *string);
/* Exact integers only, however they are written (1e3 and 10.0 are); false when it is no number, not whole or does not
 * fit. */
bool json_to_i64(const struct json *number, int64_t *ret_value);

/* Writing: into a growing buffer. All calls are no-ops after a failed one; `failed` tells, and then what was written is
 * of no use. Owned by the caller; json_out_done frees; one thread. */
struct json_out {
    char *buf;
    size_t len, size;
    size_t max; /* 0: grows on the heap without limit; else buf is the caller's and this its size */
    bool failed;
    bool comma;             /* a comma is due before the next member */
    bool named;             /* a name was written and its value is due */
    uint16_t depth, indent; /* indent 0: one line */
};
void json_out_init(struct json_out *out, unsigned indent);              /* heap */
void json_out_init_fixed(struct json_out *out, char *buf, size_t size); /* caller's buffer */
void json_out_done(struct json_out *out);                               /* frees the heap buffer */
void json_open(struct json_out *out, char bracket);                     /* '{' or '[' */
void json_close(struct json_out *out, char bracket);                    /* '}' or ']' */
void json_name(struct json_out *out, const char *name);
void json_name_slice(struct json_out *out, struct slice name);
void json_put_string(struct json_out *out, struct slice s); /* invalid UTF-8 becomes U+FFFD */
void json_put_int(struct json_out *out, int64_t value);
void json_put_number(struct json_out *out, double value); /* integers whole, else "%.6g"; null when not finite */
void json_put_bool(struct json_out *out, bool value);
void json_put_null(struct json_out *out);
void json_put_raw(struct json_out *out, struct slice json);    /* a value that is JSON already */
void json_put(struct json_out *out, const struct json *value); /* as it was read, numbers to the digit */
