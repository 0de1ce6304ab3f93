/* Loading for tests; see loading.h. */
#include "loading.h"

/* Variables as the tests have them, whatever the machine's are. */
static const char *test_environment(const char *name)
{
    static const char *const variables[][2] = {
        { "PORT", "8080" }, { "EMPTY", "" }, { "HOST", "example.com" }, { "TRICK", "a: ${PORT}" }, { "YES", "yes" },
    };
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        if (strcmp(variables[i][0], name) == 0)
            return variables[i][1];
    return NULL;
}

static void collect(struct loading *loading)
{
    size_t len = 0;
    loading->said[0] = '\0';
    for (const struct conf_diagnostic *d = conf_diagnostics(loading->conf); d != NULL; d = d->next) {
        len += (size_t)snprintf(loading->said + len, sizeof(loading->said) - len, "%s%u:%u %s%s%s", len > 0 ? "\n" : "",
                                d->mark.line, d->mark.column, d->severity == CONF_WARNING ? "warning: " : "", d->path,
                                *d->path ? ": " : "");
        assert_true(len < sizeof(loading->said));
        len += (size_t)snprintf(loading->said + len, sizeof(loading->said) - len, "%s", d->message);
        assert_true(len < sizeof(loading->said));
    }
}

void loading_begin_with(struct loading *loading, const char *yaml, const struct conf_options *options)
{
    memset(loading, 0, sizeof(*loading));
    loading->conf = conf_new(options);
    assert_non_null(loading->conf);
    loading->loaded = loading->resolved = -1;
    loading->root = conf_parse_text(loading->conf, "test.yaml", slice_from(yaml));
    if (loading->root != NULL) {
        loading->loaded = conf_load(loading->conf, loading->root, &sample_schema, &loading->value);
        loading->resolved = conf_resolve(loading->conf);
    }
    collect(loading);
}

void loading_begin(struct loading *loading, const char *yaml)
{
    struct conf_options options = { .getenv = test_environment };
    loading_begin_with(loading, yaml, &options);
}

void loading_end(struct loading *loading)
{
    conf_free(loading->conf);
    loading->conf = NULL;
}

void loading_begin_well(struct loading *loading, const char *yaml)
{
    loading_begin(loading, yaml);
    assert_string_equal(loading->said, "");
    assert_int_equal(loading->loaded, 0);
    assert_int_equal(loading->resolved, 0);
    assert_int_equal(conf_error_count(loading->conf), 0);
}

void expect_said(const char *yaml, const char *said)
{
    struct loading loading;
    loading_begin(&loading, yaml);
    assert_string_equal(loading.said, said);
    if (*said != '\0')
        assert_true(loading.loaded != 0 || loading.resolved != 0 || loading.root == NULL ||
                    conf_error_count(loading.conf) > 0);
    loading_end(&loading);
}
