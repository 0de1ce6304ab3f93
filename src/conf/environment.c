/*
 * `${NAME}` and `${NAME:-default}` in scalars, after YAML has been parsed: what a variable holds can never add
 * structure to the document.
 * `$${` stands for `${`.  A variable that is set but empty counts as set for the first form and not for the second, as
 * in a shell.
 *
 * Names are not substituted, and what comes out of a variable is not looked at again.
 */
#include "conf/conf_state.h"

enum { NAME_BYTES_MAX = 128 };

struct reference {
    struct slice name;
    struct slice fallback; /* at == NULL without one */
    size_t len;            /* of all, braces included */
};

static bool is_name_byte(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

/* Reads the reference at the start of `text` ("${"); false when it is malformed. */
static bool read_reference(struct slice text, struct reference *ret)
{
    size_t i = 2;
    while (i < text.len && is_name_byte(text.at[i], i == 2))
        i++;
    ret->name = slice_make(text.at + 2, i - 2);
    ret->fallback = SLICE_EMPTY;
    if (ret->name.len == 0 || ret->name.len > NAME_BYTES_MAX || i >= text.len)
        return false;
    if (text.at[i] == ':' && i + 1 < text.len && text.at[i + 1] == '-') {
        size_t from = i + 2;
        ptrdiff_t end = slice_find(slice_make(text.at + from, text.len - from), '}');
        if (end < 0)
            return false;
        ret->fallback = slice_make(text.at + from, (size_t)end);
        i = from + (size_t)end;
    }
    ret->len = i + 1;
    return text.at[i] == '}';
}

/* What the reference stands for; at == NULL after reporting that it stands for nothing. */
static struct slice look_up(struct conf *conf, const struct conf_node *scalar, const struct reference *reference)
{
    char name[NAME_BYTES_MAX + 1];
    memcpy(name, reference->name.at, reference->name.len);
    name[reference->name.len] = '\0';
    const char *value = conf->options.getenv(name);
    if (reference->fallback.at != NULL && (value == NULL || *value == '\0'))
        return reference->fallback;
    if (value == NULL)
        conf_error(conf, scalar,
                   "the environment variable `%s` is not set; set it, or give a default: `${%s:-default}`", name, name);
    return slice_from(value);
}

/* Grows in the arena by doubling. */
struct growing {
    char *at;
    size_t len, size;
};

static bool append(struct conf *conf, struct growing *out, struct slice piece)
{
    if (piece.len > out->size - out->len) {
        size_t size = 2 * (out->len + piece.len) + 64;
        char *larger = conf_take(conf, size);
        if (larger == NULL)
            return false;
        if (out->len > 0)
            memcpy(larger, out->at, out->len);
        out->at = larger;
        out->size = size;
    }
    if (piece.len > 0)
        memcpy(out->at + out->len, piece.at, piece.len);
    out->len += piece.len;
    return true;
}

/* What stands at the start of `rest`, a byte or a reference's value, and how much of the text that is; at == NULL after
 * a mistake. */
static struct slice next_piece(struct conf *conf, const struct conf_node *scalar, struct slice rest, size_t *ret_skip)
{
    *ret_skip = 1;
    if (slice_starts(rest, SLICE("$${"))) {
        *ret_skip = 3;
        return SLICE("${");
    }
    if (!slice_starts(rest, SLICE("${")))
        return slice_make(rest.at, 1);
    struct reference reference;
    if (!read_reference(rest, &reference)) {
        conf_error(conf, scalar,
                   "`${` begins a variable: write `${NAME}` or `${NAME:-default}`, or `$${` for the text itself");
        return SLICE_EMPTY;
    }
    *ret_skip = reference.len;
    return look_up(conf, scalar, &reference);
}

static bool expand(struct conf *conf, const struct conf_node *scalar, struct growing *out)
{
    struct slice rest = scalar->text;
    while (rest.len > 0) {
        size_t skip;
        struct slice piece = next_piece(conf, scalar, rest, &skip);
        if (piece.at == NULL || !append(conf, out, piece))
            return false;
        rest = slice_make(rest.at + skip, rest.len - skip);
    }
    return append(conf, out, slice_make("", 1));
}

void conf_substitute(struct conf *conf, struct conf_node *scalar)
{
    struct growing out = { NULL, 0, 0 };
    if (memmem(scalar->text.at, scalar->text.len, "${", 2) == NULL)
        return;
    if (!expand(conf, scalar, &out)) {
        scalar->broken = true;
        return;
    }
    scalar->text = slice_make(out.at, out.len - 1);
    scalar->quoted = false; /* "${PORT}" is the number that the variable holds */
}
