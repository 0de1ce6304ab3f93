/*
 * Reading cookies. Nothing is refused: a request with a broken cookie is a request without it.
 */
#include "http/cookie.h"

#include "base/arena.h"
#include "http/fields.h"

/* Leaves the pair as it was sent in *ret_pair, which may hold no "=". False at the end. */
static bool next_pair(struct slice *rest, struct slice *ret_pair)
{
    do {
        *ret_pair = slice_cut(rest, ';');
        if (ret_pair->at == NULL)
            return false;
        *ret_pair = slice_trim(*ret_pair);
    } while (ret_pair->len == 0);
    return true;
}

static bool split(struct slice pair, struct slice *ret_name, struct slice *ret_value)
{
    struct slice value = pair;
    *ret_name = slice_trim(slice_cut(&value, '='));
    if (value.at == NULL || ret_name->len == 0)
        return false;
    value = slice_trim(value);
    if (value.len >= 2 && value.at[0] == '"' && value.at[value.len - 1] == '"')
        value = slice_make(value.at + 1, value.len - 2);
    *ret_value = value;
    return true;
}

bool cookie_next(struct slice *rest, struct slice *ret_name, struct slice *ret_value)
{
    struct slice pair;
    while (next_pair(rest, &pair))
        if (split(pair, ret_name, ret_value))
            return true;
    return false;
}

struct slice cookie_find(const struct fields *fields, struct slice name)
{
    FIELDS_FOR_EACH (field, fields) {
        if (field->id != FIELD_COOKIE)
            continue;
        struct slice rest = field->value, found, value;
        while (cookie_next(&rest, &found, &value))
            if (slice_eq(found, name))
                return value;
    }
    return SLICE_EMPTY;
}

unsigned cookie_count(const struct fields *fields, struct slice name, struct slice *ret_value)
{
    unsigned count = 0;
    FIELDS_FOR_EACH (field, fields) {
        struct slice rest = field->value, found, value;
        while (field->id == FIELD_COOKIE && cookie_next(&rest, &found, &value)) {
            if (!slice_eq(found, name))
                continue;
            *ret_value = value;
            count++;
        }
    }
    return count;
}

static bool is_named(struct slice pair, struct slice name)
{
    struct slice found, value;
    return split(pair, &found, &value) && slice_eq(found, name);
}

static int remove_from(struct field *field, struct arena *arena, struct slice name)
{
    struct slice rest = field->value, pair;
    bool has = false;
    while (next_pair(&rest, &pair))
        has |= is_named(pair, name);
    if (!has)
        return 0;
    char *begin = arena_alloc(arena, 2 * field->value.len + 1); /* ";" was enough, we write "; " */
    char *at = begin;
    if (!begin)
        return -ERR_MEMORY;
    for (rest = field->value; next_pair(&rest, &pair);) {
        if (is_named(pair, name))
            continue;
        if (at > begin)
            at = slice_put(SLICE("; "), at);
        at = slice_put(pair, at);
    }
    field->value = slice_make(begin, (size_t)(at - begin));
    if (at == begin)
        field_remove(field);
    return 0;
}

int cookie_remove(struct fields *fields, struct arena *arena, struct slice name)
{
    FIELDS_FOR_EACH (field, fields) {
        int rc = field->id == FIELD_COOKIE ? remove_from(field, arena, name) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

bool cookie_value_valid(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == ';' || c == '\\')
            return false;
    }
    return true;
}
