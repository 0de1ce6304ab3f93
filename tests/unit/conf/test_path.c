/* Names of files in a configuration: where relative ones begin, and what is no name of a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "conf/conf.h"

struct named {
    const char *file;
};
static const struct conf_field fields[] = {
    { "file",
      { .kind = CONF_CUSTOM, .parse = conf_parse_path, .size = sizeof(const char *), .pattern = "PATH" },
      CONF_AT(named, file),
      .doc = "A file." },
    CONF_END,
};
static const struct conf_struct schema = { "named", sizeof(struct named), fields, "A thing with a file." };

/* Loads it under a name; the path that came of it, or the mistake. */
static void expect(const char *name, const char *yaml, const char *path, const char *mistake)
{
    struct conf *conf = conf_new(NULL);
    struct named named = { 0 };
    int rc = conf_load(conf, conf_parse_text(conf, name, slice_from(yaml)), &schema, &named);
    if (path) {
        assert_int_equal(rc, 0);
        assert_string_equal(named.file, path);
    } else {
        assert_int_equal(rc, -1);
        if (!strstr(conf_diagnostics(conf)->message, mistake))
            fail_msg("%s: %s", yaml, conf_diagnostics(conf)->message);
        assert_null(named.file);
    }
    conf_free(conf);
}

static void a_relative_path_begins_where_the_configuration_is(void **state)
{
    expect("/etc/maitred/a.yaml", "file: certs/a.pem", "/etc/maitred/certs/a.pem", NULL);
    expect("conf/a.yaml", "file: a.pem", "conf/a.pem", NULL);
    expect("a.yaml", "file: a.pem", "a.pem", NULL);
    expect("/etc/maitred/a.yaml", "file: /srv/a.pem", "/srv/a.pem", NULL);
    expect("/etc/maitred/a.yaml", "file: file:a.pem", "/etc/maitred/a.pem", NULL);
    expect("/etc/maitred/a.yaml", "file: ${NO_SUCH_VARIABLE:-b}.pem", "/etc/maitred/b.pem", NULL);
}

static void what_is_no_path_is_a_mistake(void **state)
{
    expect("a.yaml", "file: [a.pem]", NULL, "expected the path of a file, got a list");
    expect("a.yaml", "file: ''", NULL, "expected the path of a file");
    expect("a.yaml", "file: 'file:'", NULL, "expected the path of a file");
    expect("a.yaml", "file: |\n  -----BEGIN PRIVATE KEY-----\n  MIIE\n", NULL, "got its contents");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_relative_path_begins_where_the_configuration_is),
        cmocka_unit_test(what_is_no_path_is_a_mistake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
