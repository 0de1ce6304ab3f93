/* YAML to configuration by a schema with every kind: what is refused says why, what is taken has no mistakes, and all
 * can be printed.  No file is read: a secret's path is the input's. */
#include <errno.h>

#include "../tests/unit/conf/sample.h"
#include "base/assert.h"
#include "base/sys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *environment(const char *name)
{
    return strcmp(name, "A") == 0 ? "value" : NULL;
}
static int no_file(const char *path, int flags, mode_t mode)
{
    return errno = EACCES, -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static FILE *nowhere;
    static struct sys closed;
    struct conf_options options = { .nodes_max = 5000, .file_bytes_max = 65536, .getenv = environment };
    struct sample value = { 0 };
    nowhere = nowhere ? nowhere : fopen("/dev/null", "w");
    closed = sys_posix;
    closed.open = no_file;
    sys = &closed;
    struct conf *conf = conf_new(&options);
    ENSURE(conf != NULL && nowhere != NULL);
    const struct conf_node *root = conf_parse_text(conf, "fuzz", slice_make((const char *)data, size));
    bool loaded = root != NULL && conf_load(conf, root, &sample_schema, &value) == 0;
    ENSURE((conf_resolve(conf) == 0 && loaded) == (conf_error_count(conf) == 0));
    conf_print_diagnostics(conf, nowhere, true);
    conf_free(conf);
    return 0;
}
