/*
 * Names of files: `certs/a.pem`, or with `file:` in front as secrets have it.  A relative one begins at the folder of
 * the file that names it, so that a configuration means the same wherever the gateway is started.
 */
#include "conf/conf_state.h"

const char *conf_resolve_path(struct conf *conf, struct conf_mark mark, struct slice path)
{
    const char *slash = mark.file ? strrchr(mark.file, '/') : NULL;
    if (path.at[0] == '/' || slash == NULL)
        return conf_keep(conf, path);
    struct slice joined = arena_printf(conf->arena, "%.*s/%.*s", (int)(slash - mark.file), mark.file, SLICE_ARG(path));
    if (joined.at == NULL)
        conf_out_of_memory(conf);
    return joined.at;
}

int conf_parse_path(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    struct slice prefix = SLICE("file:"), path = node->text;
    if (node->kind != NODE_SCALAR) {
        conf_error(conf, node, "expected the path of a file, got %s", conf_describe(conf, node));
        return -1;
    }
    if (slice_starts(path, SLICE("-----BEGIN"))) {
        conf_hide(conf, node);
        conf_error(conf, node, "expected the path of a file, got its contents: put them into a file");
        return -1;
    }
    if (slice_starts(path, prefix))
        path = slice_make(path.at + prefix.len, path.len - prefix.len);
    if (path.len == 0) {
        conf_error(conf, node, "expected the path of a file");
        return -1;
    }
    const char *resolved = conf_resolve_path(conf, node->mark, path);
    *(const char **)ret_value = resolved;
    return resolved ? 0 : -1;
}
