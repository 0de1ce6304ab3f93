/*
 * Secrets: given in the open, or as `file:PATH` with the path relative to the configuration's file.  Neither the text
 * nor a line that holds it is ever shown; messages speak of the path alone.
 */
#include <errno.h>

#include "conf/conf_state.h"

enum { SECRET_BYTES_MAX = 65536 };

/* Without the one line end that editors leave. */
static struct slice trimmed(struct slice text)
{
    if (slice_ends(text, SLICE("\r\n")))
        text.len -= 2;
    else if (slice_ends(text, SLICE("\n")))
        text.len--;
    return text;
}

static const char *read_secret(struct conf *conf, const struct conf_node *node, struct slice path)
{
    const char *resolved = conf_resolve_path(conf, node->mark, path);
    struct slice text;
    if (resolved == NULL)
        return NULL;
    int error = conf_read_file(conf, resolved, SECRET_BYTES_MAX, &text);
    if (error != 0) {
        conf_error(conf, node, "the secret's file `%s` cannot be read: %s", resolved,
                   error == EFBIG ? "it is larger than 64 KiB" : strerror(error));
        return NULL;
    }
    text = trimmed(text);
    if (text.len == 0)
        conf_error(conf, node, "the secret's file `%s` is empty", resolved);
    else if (memchr(text.at, '\0', text.len) != NULL)
        conf_error(conf, node, "the secret's file `%s` holds the byte zero", resolved);
    return conf_keep(conf, text);
}

void conf_secret_load(struct conf *conf, const struct conf_node *node, const char **value)
{
    if (node->kind != NODE_SCALAR) {
        conf_error(conf, node, "expected a secret: text, or `file:PATH` to read it from a file, got %s",
                   conf_describe(conf, node));
        return;
    }
    struct slice prefix = SLICE("file:");
    if (!slice_starts(node->text, prefix)) {
        conf_hide(conf, node);
        if (node->text.len == 0)
            conf_error(conf, node, "the secret is empty");
        *value = node->text.at;
        return;
    }
    struct slice path = slice_make(node->text.at + prefix.len, node->text.len - prefix.len);
    if (path.len == 0)
        conf_error(conf, node, "expected a path behind `file:`");
    else
        *value = read_secret(conf, node, path);
}
