/*
 * Where texts come from: configuration files and the files that secrets name, read whole through `sys` and bounded.
 * Each text that is parsed is kept, for the lines that diagnostics show.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/assert.h"
#include "base/sys.h"
#include "conf/conf_state.h"

/* Appends what the descriptor gives to a heap buffer that grows to at most max + 1 bytes. 0, or an errno. */
static int read_all(int fd, size_t max, char **ret_bytes, size_t *ret_len)
{
    size_t len = 0, size = 0;
    char *bytes = NULL;
    for (;;) {
        if (len == size) {
            size = size == 0 ? 4096 : size * 2;
            if (size > max + 1)
                size = max + 1;
            char *larger = len < size ? sys->realloc(bytes, size) : NULL;
            if (larger == NULL) {
                mem_free(bytes);
                return len > max ? EFBIG : ENOMEM;
            }
            bytes = larger;
        }
        ssize_t n = sys->read(fd, bytes + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int error = errno;
            mem_free(bytes);
            return error;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_bytes = bytes;
    *ret_len = len;
    return 0;
}

int conf_read_file(struct conf *conf, const char *path, size_t max, struct slice *ret_text)
{
    char *bytes = NULL;
    size_t len = 0;
    int fd = sys->open(path, O_RDONLY, 0);
    if (fd < 0)
        return errno;
    int error = read_all(fd, max, &bytes, &len);
    sys->close(fd);
    if (error == 0 && len > max)
        error = EFBIG;
    if (error == 0) {
        char *kept = conf_keep(conf, slice_make(bytes, len));
        *ret_text = slice_make(kept, len);
        error = kept == NULL ? ENOMEM : 0;
    }
    mem_free(bytes);
    return error;
}

/* Keeps the text (in the arena already) under its name, and parses it. */
static const struct conf_node *parse_source(struct conf *conf, const char *name, struct slice text)
{
    struct conf_source *source = conf_take(conf, sizeof(*source));
    if (source == NULL)
        return NULL;
    *source = (struct conf_source){ .name = name, .text = text };
    struct conf_source **last = &conf->sources;
    while (*last != NULL)
        last = &(*last)->next;
    *last = source;
    return conf_read_tree(conf, name, text);
}

const struct conf_node *conf_parse_file(struct conf *conf, const char *path)
{
    MAGIC_CHECK(conf, CONF_MAGIC);
    const char *name = conf_keep(conf, slice_from(path));
    if (name == NULL)
        return NULL;
    struct slice text;
    int error = conf_read_file(conf, name, conf->options.file_bytes_max, &text);
    if (error == 0)
        return parse_source(conf, name, text);
    struct conf_mark mark = { name, 0, 0 };
    if (error == EFBIG)
        conf_error_at(conf, mark, NULL, "larger than %zu bytes", conf->options.file_bytes_max);
    else
        conf_error_at(conf, mark, NULL, "cannot be read: %s", strerror(error));
    return NULL;
}

const struct conf_node *conf_parse_text(struct conf *conf, const char *name, struct slice text)
{
    MAGIC_CHECK(conf, CONF_MAGIC);
    const char *name_kept = conf_keep(conf, slice_from(name));
    const char *kept = conf_keep(conf, text);
    if (name_kept == NULL || kept == NULL)
        return NULL;
    if (text.len > conf->options.file_bytes_max) {
        conf_error_at(conf, (struct conf_mark){ name_kept, 0, 0 }, NULL, "larger than %zu bytes",
                      conf->options.file_bytes_max);
        return NULL;
    }
    return parse_source(conf, name_kept, slice_make(kept, text.len));
}
