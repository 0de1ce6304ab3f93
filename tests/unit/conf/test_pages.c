/* What else the tables are: the JSON Schema and the reference page. */
#include "loading.h"

#include "base/json.h"
#include "base/memory.h"

static char *write_with(void (*write)(const struct conf_struct *, FILE *), const struct conf_struct *root)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    write(root, out);
    (void)fclose(out);
    char *copy = strdup(text); /* gcc takes the stream's buffer for one of this frame */
    free(text);
    assert_non_null(copy);
    return copy;
}

/* ---- JSON Schema ---- */

struct schema {
    struct memory memory;
    struct arena *arena;
    char *text;
    const struct json *root, *defs;
};

static void schema_begin(struct schema *schema)
{
    struct json_error error;
    struct json_limits limits = { .depth_max = 64, .entries_max = 100000 };
    assert_int_equal(memory_init(&schema->memory, NULL, 0), 0);
    schema->arena = arena_new(&schema->memory, 1 << 24);
    schema->text = write_with(conf_write_json_schema, &sample_schema);
    schema->root = json_parse(schema->arena, slice_from(schema->text), &limits, &error);
    assert_non_null(schema->root);
    schema->defs = json_get(schema->root, "$defs");
    assert_non_null(schema->defs);
}

static void schema_end(struct schema *schema)
{
    arena_free(schema->arena);
    memory_done(&schema->memory);
    free(schema->text);
}

/* Follows names from `$defs`: "route", "properties", "path". */
static const struct json *at(const struct schema *schema, const char *const *names, size_t count)
{
    const struct json *value = schema->defs;
    for (size_t i = 0; i < count; i++) {
        value = json_get(value, names[i]);
        assert_non_null(value);
    }
    return value;
}
#define AT(schema, ...)                                                                                                \
    at(schema, (const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static void expect_text(const struct json *value, const char *text)
{
    assert_non_null(value);
    assert_int_equal(value->kind, JSON_STRING);
    assert_true(slice_eq(value->text, slice_from(text)));
}

static void expect_number(const struct json *value, int64_t number)
{
    int64_t got;
    assert_non_null(value);
    assert_true(json_to_i64(value, &got));
    assert_int_equal(got, number);
}

static unsigned check_references(const struct schema *schema, const struct json *value)
{
    unsigned found = 0;
    if (value->kind == JSON_OBJECT && json_get(value, "$ref") != NULL) {
        char name[64];
        struct slice target = json_get(value, "$ref")->text;
        assert_true(slice_starts(target, SLICE("#/$defs/")));
        (void)snprintf(name, sizeof(name), "%.*s", (int)target.len - 8, target.at + 8);
        assert_non_null(json_get(schema->defs, name));
        found++;
    }
    if (value->kind == JSON_OBJECT || value->kind == JSON_ARRAY)
        for (const struct json *member = json_first(value); member != NULL; member = json_next(value, member))
            found += check_references(schema, member);
    return found;
}

static void every_reference_of_the_schema_is_defined(void **state)
{
    struct schema schema;
    schema_begin(&schema);
    expect_text(json_get(schema.root, "$schema"), "https://json-schema.org/draft/2020-12/schema");
    expect_text(json_get(schema.root, "$ref"), "#/$defs/configuration");
    assert_true(check_references(&schema, schema.root) > 20);
    schema_end(&schema);
}

static void the_schema_has_types_bounds_words_and_descriptions(void **state)
{
    struct schema schema;
    schema_begin(&schema);
    const struct json *workers = AT(&schema, "configuration", "properties", "workers");
    const struct json *integer = json_first(json_get(workers, "anyOf"));
    expect_text(json_get(integer, "type"), "integer");
    expect_number(json_get(integer, "minimum"), 1);
    expect_number(json_get(integer, "maximum"), 64);
    expect_number(json_get(workers, "default"), 2);
    expect_text(json_get(workers, "description"), "Threads.");
    const struct json *mode = AT(&schema, "configuration", "properties", "mode", "anyOf");
    const struct json *words = json_get(json_first(mode), "enum");
    assert_int_equal(words->count, 4); /* fast, safe, off, and off as YAML 1.1 reads it */
    expect_text(json_first(words), "fast");
    expect_number(json_get(AT(&schema, "configuration", "properties", "labels"), "maxProperties"), 4);
    expect_text(json_get(AT(&schema, "route", "properties", "children", "items"), "$ref"), "#/$defs/route");
    assert_int_equal(json_get(AT(&schema, "route"), "additionalProperties")->kind, JSON_FALSE);
    schema_end(&schema);
}

static void the_schema_has_unions_short_forms_and_required_fields(void **state)
{
    struct schema schema;
    schema_begin(&schema);
    expect_number(AT(&schema, "policy", "maxProperties"), 1);
    expect_text(AT(&schema, "policy", "properties", "limit", "$ref"), "#/$defs/limit");
    expect_text(json_first(AT(&schema, "limit", "required")), "rate");
    const struct json *target = AT(&schema, "target", "anyOf"); /* the mapping, or its address alone */
    assert_int_equal(target->count, 2);
    expect_text(json_get(json_first(target), "type"), "object");
    assert_non_null(AT(&schema, "route", "properties", "proxy")); /* inline */
    assert_int_equal(json_get(json_first(AT(&schema, "route", "allOf")), "oneOf")->count, 2);
    expect_text(json_first(AT(&schema, "route", "required")), "path");
    schema_end(&schema);
}

/* ---- the reference ---- */

static void expect_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("the page lacks:\n%s", part);
}

static void the_reference_has_a_section_a_struct(void **state)
{
    char *page = write_with(conf_write_reference, &sample_schema);
    assert_true(strncmp(page, "# Configuration reference\n\n", 27) == 0);
    expect_contains(
        page,
        "\n## upstream\n"
        "\n"
        "A service: servers that answer the same.\n"
        "\n"
        "| Field | Type | Default | Meaning |\n"
        "|---|---|---|---|\n"
        "| `targets` | list of [target](#target), 1 to 3 | **required** | The servers that requests go to. At least "
        "one. |\n"
        "| `health_check` | [health_check](#health_check) |  | None when left out. |\n"
        "| `probe` | [health_check](#health_check) |  | Always on. |\n"
        "\n"
        "Example:\n"
        "\n"
        "```yaml\n"
        "targets: [10.0.0.1:9001, { address: 10.0.0.2:9001, weight: 3 }]\n"
        "health_check: { interval: 2s }\n"
        "```\n");
    expect_contains(page, "\n## target\n\nOne server.\n\nShort form: a value alone stands for `address`.\n");
    free(page);
}

static void the_reference_words_every_kind(void **state)
{
    static const char *const rows[] = {
        "| `enabled` | boolean | `true` | Whether it runs. |",
        "| `workers` | whole number, `1` to `64` | `2` | Threads. |",
        "| `factor` | number, `-10` to `10` | `1.5` | A number. |",
        "| `size` | size, up to `1GiB` | `64KiB` | A size. |",
        "| `timeout` | duration, up to `1d` | `30s` | A time. |",
        "| `interval` | duration, `100ms` to `1h` | `2s` | From one check to the next. |",
        "| `share` | percentage | `100%` | Of the requests \\| all. |",
        "| `name` | text |  | A text. |",
        "| `secret` | secret |  | A secret. |",
        "| `mode` | one of `fast`, `safe`, `off` | `safe` | How it works.<br>`fast`: Less checking.<br>`safe`: More "
        "checking."
        "<br>`off`: None at all. |",
        "| `tags` | text, or a list of them | `[a, b]` | Some words. |",
        "| `labels` | mapping of a name to text, at most 4 |  | Names with texts. |",
        "| `upstreams` | mapping of a name to [upstream](#upstream) |  | Services by name. |",
        "| `address` | `IP:PORT` | **required** | Where it listens. |",
        "| `proxy` or `respond` | [handler](#handler) | **required** | What answers. |",
        "| `policies` | list of [policy](#policy) |  | In order. |",
        "| `upstream` | name of an [upstream](#upstream) | **required** | Who answers. |",
        "| `not` | [filter](#filter) |  | The opposite. |",
        "| `limit` | [limit](#limit) | Refuses what is too much. |",
        "| `trace` | none |  |",
    };
    char *page = write_with(conf_write_reference, &sample_schema);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_contains(page, rows[i]);
    free(page);
}

static void every_link_of_the_reference_leads_to_a_heading(void **state)
{
    char *page = write_with(conf_write_reference, &sample_schema);
    unsigned links = 0;
    for (const char *link = strstr(page, "](#"); link != NULL; link = strstr(link + 1, "](#")) {
        char heading[80];
        int len = (int)strcspn(link + 3, ")");
        (void)snprintf(heading, sizeof(heading), "\n## %.*s\n", len, link + 3);
        expect_contains(page, heading);
        links++;
    }
    assert_true(links > 10);
    free(page);
}

static void two_things_of_one_name_have_sections_of_their_own(void **state)
{
    static const struct conf_field none[] = { CONF_END };
    static const struct conf_struct one = { "thing", 1, none, "First." }, two = { "thing", 1, none, "Second." };
    static const struct conf_field fields[] = {
        { "one", { CONF_STRUCT, .structure = &one }, 0, CONF_POINTER, .doc = "1" },
        { "two", { CONF_STRUCT, .structure = &two }, 0, CONF_POINTER, .doc = "2" },
        CONF_END,
    };
    static const struct conf_struct root = { "root", 8, fields };
    char *page = write_with(conf_write_reference, &root);
    expect_contains(page, "\n## thing\n\nFirst.\n\nIt has no fields.\n");
    expect_contains(page, "\n## thing-2\n\nSecond.\n");
    expect_contains(page, "| `two` | [thing-2](#thing-2) |");
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reference_of_the_schema_is_defined),
        cmocka_unit_test(the_schema_has_types_bounds_words_and_descriptions),
        cmocka_unit_test(the_schema_has_unions_short_forms_and_required_fields),
        cmocka_unit_test(the_reference_has_a_section_a_struct),
        cmocka_unit_test(the_reference_words_every_kind),
        cmocka_unit_test(every_link_of_the_reference_leads_to_a_heading),
        cmocka_unit_test(two_things_of_one_name_have_sections_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
