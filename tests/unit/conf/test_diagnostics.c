/* Diagnostics as people see them, nearest words, secrets that are never shown, and what happens without memory. */
#include "loading.h"

#include <pthread.h>
#include <unistd.h>

#include "base/sys_torture.h"

/* What conf_print_diagnostics writes about a text; freed by the caller. */
static char *printed(const char *yaml, bool source)
{
    char *text = NULL;
    size_t len = 0;
    struct loading it;
    loading_begin(&it, yaml);
    FILE *out = open_memstream(&text, &len);
    conf_print_diagnostics(it.conf, out, source);
    (void)fclose(out);
    loading_end(&it);
    return text;
}

static void expect_printed(const char *yaml, bool source, const char *expected)
{
    char *text = printed(yaml, source);
    assert_string_equal(text, expected);
    free(text);
}

static void a_diagnostic_shows_its_line_with_a_caret(void **state)
{
    expect_printed("name: x\nworkers: many\n", false,
                   "test.yaml:2:10: error: workers: expected a whole number, got `many`\n");
    expect_printed("name: x\nworkers: many\n", true,
                   "test.yaml:2:10: error: workers: expected a whole number, got `many`\n"
                   "    2 | workers: many\n"
                   "      |          ^\n");
    expect_printed("labels: {\xc3\xa4\xc3\xb6: \xe2\x82\xac, x: []}\r\n", true,
                   "test.yaml:1:20: error: labels.x: expected text, got a list\n"
                   "    1 | labels: {\xc3\xa4\xc3\xb6: \xe2\x82\xac, x: []}\n"
                   "      |                    ^\n");
    expect_printed("tags: [a,\t[]]\n", true,
                   "test.yaml:1:11: error: tags[1]: expected text, got a list\n"
                   "    1 | tags: [a,\t[]]\n"
                   "      |          \t^\n");
}

static void a_long_line_is_cut_around_the_mistake(void **state)
{
    char yaml[512];
    (void)snprintf(yaml, sizeof(yaml), "labels: {a: %0200d, b: [], c: %0100d}", 1, 2);
    char *text = printed(yaml, true);
    char *line = strchr(text, '\n') + 1, *caret = strchr(line, '\n') + 1;
    size_t column = (size_t)(strchr(caret, '^') - caret);
    assert_int_equal(line[column], '[');
    assert_true((size_t)(caret - line) < 180);
    free(text);
}

static void bytes_that_cannot_be_printed_are_not(void **state)
{
    expect_printed("a: \xff\x1b[31m", true,
                   "test.yaml:1:4: error: not text in UTF-8: invalid leading UTF-8 octet\n"
                   "    1 | a: ??[31m\n"
                   "      |    ^\n");
}

static void warnings_are_no_errors(void **state)
{
    struct conf *conf = conf_new(NULL);
    const struct conf_node *root = conf_parse_text(conf, "w.yaml", SLICE("a: {b: 1}"));
    conf_warn(conf, conf_get(conf_get(root, "a"), "b"), "never used by %s", "anyone");
    conf_error(conf, NULL, "no place for this");
    assert_int_equal(conf_error_count(conf), 1);
    const struct conf_diagnostic *first = conf_diagnostics(conf);
    assert_int_equal(first->severity, CONF_WARNING);
    assert_string_equal(first->path, "a.b");
    assert_string_equal(first->message, "never used by anyone");
    assert_string_equal(first->next->message, "no place for this");
    assert_string_equal(first->next->path, "");
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    conf_print_diagnostics(conf, out, false);
    (void)fclose(out);
    assert_string_equal(text, "w.yaml:1:8: warning: a.b: never used by anyone\nerror: no place for this\n");
    free(text);
    conf_free(conf);
}

static void mistakes_beyond_a_thousand_are_counted(void **state)
{
    enum { COUNT = 1500 };
    char *yaml = malloc(COUNT * 16);
    size_t len = 0;
    for (int i = 0; i < COUNT; i++)
        len += (size_t)snprintf(yaml + len, COUNT * 16 - len, "unknown%d: 1\n", i);
    struct conf *conf = conf_new(NULL);
    struct sample value = { 0 };
    const struct conf_node *root = conf_parse_text(conf, "many", slice_make(yaml, len));
    assert_int_equal(conf_load(conf, root, &sample_schema, &value), -1);
    assert_int_equal(conf_error_count(conf), COUNT);
    unsigned kept = 0;
    for (const struct conf_diagnostic *d = conf_diagnostics(conf); d != NULL; d = d->next)
        kept++;
    assert_int_equal(kept, 1000);
    conf_free(conf);
    free(yaml);
}

static void the_nearest_word_is_one_slip_away(void **state)
{
    static const char *const words[] = { "targets", "health_check", "interval", "on", "x", "http1" };
    static const struct {
        const char *word, *nearest;
    } cases[] = {
        { "targtes", "targets" },
        { "target", "targets" },
        { "TARGETS", "targets" },
        { "health-check", "health_check" },
        { "healthCheck", "health_check" },
        { "intervall", "interval" },
        { "ingerval", "interval" },
        { "of", "on" },
        { "htpt1", "http1" },
        { "http2", NULL },
        { "colour", NULL },
        { "", NULL },
        { "t", NULL },
        { "xyzzy", NULL },
        { "tgt", NULL },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *nearest = conf_nearest(slice_from(cases[i].word), words, 6);
        if (cases[i].nearest == NULL)
            assert_null(nearest);
        else
            assert_string_equal(nearest, cases[i].nearest);
    }
    char huge[500];
    memset(huge, 'a', sizeof(huge));
    assert_null(conf_nearest(slice_make(huge, sizeof(huge)), words, 6));
}

/* ---- secrets ---- */

struct folder {
    char path[64], config[128], secret[128];
};

static void write_file(const char *path, struct slice text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text.at, 1, text.len, file), text.len);
    assert_int_equal(fclose(file), 0);
}

static void make_folder(struct folder *folder)
{
    (void)snprintf(folder->path, sizeof(folder->path), "/tmp/maitred-conf-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    (void)snprintf(folder->config, sizeof(folder->config), "%s/c.yaml", folder->path);
    (void)snprintf(folder->secret, sizeof(folder->secret), "%s/key", folder->path);
}

static void remove_folder(const struct folder *folder)
{
    (void)unlink(folder->config);
    (void)unlink(folder->secret);
    assert_int_equal(rmdir(folder->path), 0);
}

/* Loads the folder's file; what it says, without the folder's name, is `said`, and the secret is `secret`. */
static void expect_secret(const struct folder *folder, const char *secret, const char *said)
{
    struct conf *conf = conf_new(NULL);
    struct sample value = { 0 };
    const struct conf_node *root = conf_parse_file(conf, folder->config);
    assert_non_null(root);
    assert_int_equal(conf_load(conf, root, &sample_schema, &value), *said ? -1 : 0);
    if (*said != '\0')
        assert_non_null(strstr(conf_diagnostics(conf)->message, said));
    else
        assert_string_equal(value.secret, secret);
    conf_free(conf);
}

static void a_secret_is_read_from_its_file_beside_the_configuration(void **state)
{
    struct folder folder;
    make_folder(&folder);
    write_file(folder.config, SLICE("secret: file:key\n"));
    write_file(folder.secret, SLICE("hunter2\n"));
    expect_secret(&folder, "hunter2", "");
    write_file(folder.secret, SLICE("two\nlines\n\n"));
    expect_secret(&folder, "two\nlines\n", "");
    write_file(folder.secret, SLICE("dos\r\n"));
    expect_secret(&folder, "dos", "");
    write_file(folder.secret, SLICE("\n"));
    expect_secret(&folder, NULL, "/key` is empty");
    write_file(folder.secret, SLICE("a\0b"));
    expect_secret(&folder, NULL, "/key` holds the byte zero");
    (void)unlink(folder.secret);
    expect_secret(&folder, NULL, "/key` cannot be read: No such file or directory");
    write_file(folder.config, SLICE("secret: 'file:'\n"));
    expect_secret(&folder, NULL, "expected a path behind `file:`");
    write_file(folder.config, SLICE("secret: in the open\n"));
    expect_secret(&folder, "in the open", "");
    write_file(folder.config, SLICE("secret: []\n"));
    expect_secret(&folder, NULL, "expected a secret: text, or `file:PATH` to read it from a file, got a list");
    remove_folder(&folder);
}

static void a_line_with_a_secret_is_never_shown(void **state)
{
    static const char *const texts[] = {
        "{workers: many, secret: hunter2}",
        "{secret: 'hunter2', workers: []}",
        "secret: |\n  first\n  hunter2\n",
        "{secret: a\n  hunter2, workers: many}",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *text = printed(texts[i], true);
        assert_null(strstr(text, "hunter2"));
        free(text);
    }
    char *shown = printed("workers: many\nsecret: hunter2", true);
    assert_non_null(strstr(shown, "    1 | workers: many\n"));
    free(shown);
}

/* ---- life ---- */

static void *drop(void *conf)
{
    conf_free(conf);
    return NULL;
}

static void the_last_holder_frees_on_any_thread(void **state)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct loading it;
    loading_begin_well(&it, "name: shared");
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, drop, conf_hold(it.conf)), 0);
    assert_string_equal(it.value.name, "shared");
    loading_end(&it);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    conf_free(NULL);
}

/* Parses, loads, resolves and prints, or fails with a diagnostic; never anything else. */
static void load_once(const char *yaml)
{
    struct conf *conf = conf_new(NULL);
    if (conf == NULL)
        return;
    struct sample value = { 0 };
    const struct conf_node *root = conf_parse_text(conf, "torture", slice_from(yaml));
    bool well = root != NULL && conf_load(conf, root, &sample_schema, &value) == 0 && conf_resolve(conf) == 0;
    assert_true(well == (conf_error_count(conf) == 0));
    FILE *out = fopen("/dev/null", "w");
    assert_non_null(out);
    conf_print_diagnostics(conf, out, true);
    (void)fclose(out);
    conf_free(conf);
}

static void every_failing_allocation_ends_in_a_diagnostic(void **state)
{
    char yaml[24000] = "upstreams: {u: {targets: [1.1.1.1:1]}}\nroutes: [{path: /, proxy: u}, {path: '${NOPE}', proxy: "
                       "v}]\nlabels: {<<: {a: b}}\n";
    size_t len = strlen(yaml);
    while (len < sizeof(yaml) - 40)
        len += (size_t)snprintf(yaml + len, sizeof(yaml) - len, "unknown%zu: %s\n", len, "a text of some length");
    for (uint64_t n = 1;; n++) {
        sys_torture_arm(n);
        load_once(yaml);
        if (sys_torture_calls() < n)
            break;
    }
    sys_torture_disarm();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_diagnostic_shows_its_line_with_a_caret),
        cmocka_unit_test(a_long_line_is_cut_around_the_mistake),
        cmocka_unit_test(bytes_that_cannot_be_printed_are_not),
        cmocka_unit_test(warnings_are_no_errors),
        cmocka_unit_test(mistakes_beyond_a_thousand_are_counted),
        cmocka_unit_test(the_nearest_word_is_one_slip_away),
        cmocka_unit_test(a_secret_is_read_from_its_file_beside_the_configuration),
        cmocka_unit_test(a_line_with_a_secret_is_never_shown),
        cmocka_unit_test(the_last_holder_frees_on_any_thread),
        cmocka_unit_test(every_failing_allocation_ends_in_a_diagnostic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
