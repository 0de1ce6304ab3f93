/* From text to tree: kinds of nodes, marks, anchors, merging, variables, and every mistake of a document. */
#include "loading.h"

static const struct conf_node *parse(struct conf *conf, const char *yaml)
{
    const struct conf_node *root = conf_parse_text(conf, "test.yaml", slice_from(yaml));
    assert_non_null(root);
    return root;
}

static void a_tree_has_kinds_texts_marks_and_parents(void **state)
{
    struct conf *conf = conf_new(NULL);
    const struct conf_node *root = parse(conf, "a: 1\nb:\n  - x\n  - 'y z'\nc: {d: ~}\n");
    assert_int_equal(root->kind, NODE_MAP);
    assert_int_equal(root->count, 3);
    const struct conf_node *b = conf_get(root, "b");
    assert_int_equal(b->kind, NODE_LIST);
    assert_int_equal(b->count, 2);
    const struct conf_node *second = b->first->next;
    assert_string_equal(second->text.at, "y z");
    assert_true(second->quoted);
    assert_int_equal(second->mark.line, 4);
    assert_int_equal(second->mark.column, 5);
    assert_string_equal(second->mark.file, "test.yaml");
    assert_string_equal(conf_path(conf, second), "b[1]");
    assert_ptr_equal(second->parent, b);
    const struct conf_node *d = conf_get(conf_get(root, "c"), "d");
    assert_int_equal(d->kind, NODE_NULL);
    assert_string_equal(conf_path(conf, d), "c.d");
    assert_null(conf_get(root, "nothing"));
    assert_null(conf_get(d, "nothing"));
    conf_free(conf);
}

static void json_is_yaml(void **state)
{
    struct loading it;
    loading_begin_well(&it, "{\"workers\": 3, \"name\": \"a\\u00e9\", \"labels\": {\"x\": \"y\"}, \"enabled\": false}");
    assert_int_equal(it.value.workers, 3);
    assert_string_equal(it.value.name, "a\xc3\xa9");
    assert_int_equal(it.value.labels.count, 1);
    assert_false(it.value.enabled);
    loading_end(&it);
}

static void an_empty_document_is_all_defaults(void **state)
{
    static const char *const texts[] = { "", "# only a comment\n", "---\n", "---\n...\n", "~", "\xef\xbb\xbf" };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct loading it;
        loading_begin_well(&it, texts[i]);
        assert_int_equal(it.value.workers, 2);
        loading_end(&it);
    }
}

static void an_alias_repeats_its_anchor(void **state)
{
    struct loading it;
    loading_begin_well(&it,
                       "x-d: &d {targets: [10.0.0.1:80]}\nupstreams: {a: *d, b: *d}\nname: &n text\ntags: [*n, *n]");
    assert_int_equal(it.value.upstreams.count, 2);
    const struct sample_upstream *b = (void *)conf_entry_at(&it.value.upstreams, &sample_upstream_type, 1)->value;
    assert_int_equal(b->targets.count, 1);
    assert_int_equal(it.value.tags.count, 2);
    assert_string_equal(((const char **)it.value.tags.items)[1], "text");
    assert_string_equal(conf_path(it.conf, conf_get(conf_get(conf_get(it.root, "upstreams"), "b"), "targets")),
                        "upstreams.b.targets");
    loading_end(&it);
}

static void an_anchor_named_again_hides_the_older(void **state)
{
    struct loading it;
    loading_begin_well(&it, "tags: [&a one, &a two, *a]");
    assert_string_equal(((const char **)it.value.tags.items)[2], "two");
    loading_end(&it);
}

static void merging_adds_what_is_not_there(void **state)
{
    struct conf *conf = conf_new(NULL);
    const struct conf_node *root = parse(
        conf, "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {<<: [*x, *y], a: 0}\nw: {c: 9, <<: *y, '<<': plain}\n");
    const struct conf_node *z = conf_get(root, "z"), *w = conf_get(root, "w");
    assert_int_equal(z->count, 3);
    assert_string_equal(conf_get(z, "a")->text.at, "0");
    assert_string_equal(conf_get(z, "b")->text.at, "2");
    assert_string_equal(conf_get(z, "c")->text.at, "4");
    assert_null(conf_get(z, "<<"));
    assert_string_equal(conf_path(conf, conf_get(z, "c")), "z.c");
    assert_string_equal(conf_get(w, "c")->text.at, "9");
    assert_string_equal(conf_get(w, "b")->text.at, "3");
    assert_string_equal(conf_get(w, "<<")->text.at, "plain");
    assert_int_equal(conf_error_count(conf), 0);
    conf_free(conf);
}

static void variables_are_put_in_after_parsing(void **state)
{
    struct loading it;
    loading_begin_well(&it,
                       "size: ${PORT}\nname: http://${HOST}:${PORT}/$x$${PORT}\nworkers: \"${W:-4}\"\nenabled: ${YES}\n"
                       "labels: {a: '${TRICK}', b: '${EMPTY}', c: '${EMPTY:-full}', d: '${NONE:-}'}\n");
    assert_int_equal(it.value.size_bytes, 8080);
    assert_string_equal(it.value.name, "http://example.com:8080/$x${PORT}");
    assert_int_equal(it.value.workers, 4);
    assert_true(it.value.enabled);
    static const char *const texts[] = { "a: ${PORT}", "", "full", "" };
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(*(const char **)conf_entry_at(&it.value.labels, &sample_label_type, i)->value, texts[i]);
    loading_end(&it);
}

static void variables_that_cannot_be_put_in_are_mistakes(void **state)
{
    expect_said(
        "workers: ${NOPE}",
        "1:10 workers: the environment variable `NOPE` is not set; set it, or give a default: `${NOPE:-default}`");
    expect_said(
        "tags: [a, \"b${NOPE}\"]",
        "1:11 tags[1]: the environment variable `NOPE` is not set; set it, or give a default: `${NOPE:-default}`");
    static const char *const malformed[] = { "name: '${'",  "name: '${}'",    "name: '${1A}'",
                                             "name: '${A'", "name: '${A:-b'", "name: '${A b}'" };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        expect_said(
            malformed[i],
            "1:7 name: `${` begins a variable: write `${NAME}` or `${NAME:-default}`, or `$${` for the text itself");
}

static void a_name_that_stands_twice_is_a_mistake(void **state)
{
    expect_said("workers: 1\nname: x\nworkers: 2\n",
                "3:1 workers: `workers` stands here twice; the first is on line 1");
    expect_said("labels: {b: 1, a: 1, b: 2, b: 3}", "1:22 labels.b: `b` stands here twice; the first is on line 1\n"
                                                    "1:28 labels.b: `b` stands here twice; the first is on line 1");
}

static void broken_aliases_are_mistakes(void **state)
{
    expect_said("x-a: &users 1\nname: *user",
                "2:7 name: no anchor `&user` stands before this alias, did you mean `users`?");
    expect_said("name: *user", "1:7 name: no anchor `&user` stands before this alias");
    expect_said("tags: &t [a, *t]", "1:14 tags[1]: the alias `*t` stands within what it repeats");
    expect_said("labels: {<<: [*n, 5]}",
                "1:15 labels[\"<<\"][0]: no anchor `&n` stands before this alias\n"
                "1:19 labels[\"<<\"][1]: `<<` takes in the members of a mapping, such as `<<: *name`, got `5`");
}

static void merging_something_else_is_a_mistake(void **state)
{
    expect_said("labels: {<<: 5}",
                "1:14 labels[\"<<\"]: `<<` takes in the members of a mapping, such as `<<: *name`, got `5`");
}

static void names_are_texts(void **state)
{
    expect_said(
        "labels: {[a]: b, {c}: d, '': e}",
        "1:10 labels: a member's name is text, got a list; a value in braces, such as `{name}`, needs quotes\n"
        "1:18 labels: a member's name is text, got a mapping; a value in braces, such as `{name}`, needs quotes\n"
        "1:26 labels: a name is missing before the `:`");
    expect_said("labels: {\"a\\0b\": c}", "1:10 labels: a name may not hold the byte zero");
    expect_said("name: \"a\\0b\"", "1:7 name: a text may not hold the byte zero");
}

static void tags_say_text_or_nothing(void **state)
{
    struct loading it;
    loading_begin_well(&it, "name: !!str 5\nworkers: !!int 7\ntags: [!!str null, ! ~]");
    assert_int_equal(it.value.workers, 7);
    assert_string_equal(((const char **)it.value.tags.items)[0], "null");
    assert_string_equal(((const char **)it.value.tags.items)[1], "~");
    loading_end(&it);
    expect_said("workers: !!str 7", "1:10 workers: expected a whole number, got `7` in quotes; leave the quotes out");
    expect_said("name: !include x.yaml",
                "1:7 name: tags such as `!include` are not supported; a text that begins with `!` needs quotes");
}

static void syntax_is_told_with_a_hint(void **state)
{
    static const char *const cases[][2] = {
        { "a: b: c", "1:5 not valid YAML: mapping values are not allowed in this context; a text with `: ` in it needs "
                     "quotes, or the "
                     "indentation is off" },
        { "a:\n\tb: c", "2:1 not valid YAML: found character that cannot start any token; a tab does "
                        "not indent: use spaces" },
        { "a: @b", "1:4 not valid YAML: found character that cannot start any token; a text that "
                   "begins with it needs quotes" },
        { "a:\n  b: 1\n c: 2",
          "3:2 not valid YAML: did not find expected key while parsing a block mapping that began on line 1; "
          "compare the indentation with the lines above" },
        { "a: [1, 2\nb: 3",
          "2:2 not valid YAML: did not find expected ',' or ']' while parsing a flow sequence that began on line 1; is "
          "a bracket or a comma missing?" },
        { "a: 'b", "1:6 not valid YAML: found unexpected end of stream; is a closing quote missing?" },
        { "a: \xff", "1:4 not text in UTF-8: invalid leading UTF-8 octet" },
        { "a: 1\nb: \x01", "2:4 not text in UTF-8: control characters are not allowed" },
        { "a: 1\n---\nb: 2", "2:1 a second document begins here; a configuration is one" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_said(cases[i][0], cases[i][1]);
}

static void alias_bombs_are_refused(void **state)
{
    struct loading it;
    char yaml[2048] = "x-a: &a [b,b,b,b,b,b,b,b,b,b]\n";
    for (char c = 'b'; c < 'k'; c++) {
        size_t len = strlen(yaml);
        (void)snprintf(yaml + len, sizeof(yaml) - len, "x-%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c - 1,
                       c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1);
    }
    struct conf_options options = { .nodes_max = 10000 };
    loading_begin_with(&it, yaml, &options);
    assert_null(it.root);
    assert_non_null(strstr(
        it.said, "more than 10000 values, with what aliases repeat; the limit guards against aliases of aliases"));
    loading_end(&it);
}

static void depth_is_bounded_with_aliases_too(void **state)
{
    struct loading it;
    struct conf_options options = { .depth_max = 5 };
    loading_begin_with(&it, "[[[[[x]]]]]", &options);
    assert_non_null(it.root);
    loading_end(&it);
    loading_begin_with(&it, "[[[[[[x]]]]]]", &options);
    assert_null(it.root);
    assert_string_equal(it.said, "1:6 [0][0][0][0][0]: nested more than 5 deep");
    loading_end(&it);
    loading_begin_with(&it, "x-a: &a [[[x]]]\nx-b: [[*a]]", &options);
    assert_null(it.root);
    assert_string_equal(it.said, "1:12 nested more than 5 deep");
    loading_end(&it);
}

static void a_file_that_is_too_large_or_not_there_is_told(void **state)
{
    struct conf *conf = conf_new(&(struct conf_options){ .file_bytes_max = 4 });
    assert_null(conf_parse_text(conf, "long", SLICE("a: 12")));
    assert_non_null(conf_parse_text(conf, "short", SLICE("a: 1")));
    assert_null(conf_parse_file(conf, "/nonexistent/file.yaml"));
    assert_null(conf_parse_file(conf, "/"));
    assert_null(conf_parse_file(conf, "/proc/self/maps"));
    const char *expected[][2] = {
        { "long", "larger than 4 bytes" },
        { "/nonexistent/file.yaml", "cannot be read: No such file or directory" },
        { "/", "cannot be read: Is a directory" },
        { "/proc/self/maps", "larger than 4 bytes" },
    };
    for (const struct conf_diagnostic *d = conf_diagnostics(conf); d != NULL; d = d->next) {
        bool found = false;
        for (size_t i = 0; i < 4; i++)
            found = found || (strcmp(d->mark.file, expected[i][0]) == 0 && strcmp(d->message, expected[i][1]) == 0);
        assert_true(found);
    }
    assert_int_equal(conf_error_count(conf), 4);
    conf_free(conf);
}

static void a_large_map_takes_no_quadratic_time(void **state)
{
    enum { MEMBERS = 60000 };
    size_t size = MEMBERS * 24, len = 0;
    char *yaml = malloc(size);
    for (int i = 0; i < MEMBERS; i++)
        len += (size_t)snprintf(yaml + len, size - len, "k%d: &k%d v\n", i, i % 9000);
    struct conf *conf = conf_new(NULL);
    assert_null(conf_parse_text(conf, "anchors", slice_make(yaml, len))); /* too many anchors */
    assert_int_equal(conf_error_count(conf), 1);
    len = 0;
    for (int i = 0; i < MEMBERS; i++)
        len += (size_t)snprintf(yaml + len, size - len, "k%d: v\n", i);
    const struct conf_node *root = conf_parse_text(conf, "members", slice_make(yaml, len));
    assert_int_equal(root->count, MEMBERS);
    conf_free(conf);
    free(yaml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_has_kinds_texts_marks_and_parents),
        cmocka_unit_test(json_is_yaml),
        cmocka_unit_test(an_empty_document_is_all_defaults),
        cmocka_unit_test(an_alias_repeats_its_anchor),
        cmocka_unit_test(an_anchor_named_again_hides_the_older),
        cmocka_unit_test(merging_adds_what_is_not_there),
        cmocka_unit_test(variables_are_put_in_after_parsing),
        cmocka_unit_test(variables_that_cannot_be_put_in_are_mistakes),
        cmocka_unit_test(a_name_that_stands_twice_is_a_mistake),
        cmocka_unit_test(broken_aliases_are_mistakes),
        cmocka_unit_test(merging_something_else_is_a_mistake),
        cmocka_unit_test(names_are_texts),
        cmocka_unit_test(tags_say_text_or_nothing),
        cmocka_unit_test(syntax_is_told_with_a_hint),
        cmocka_unit_test(alias_bombs_are_refused),
        cmocka_unit_test(depth_is_bounded_with_aliases_too),
        cmocka_unit_test(a_file_that_is_too_large_or_not_there_is_told),
        cmocka_unit_test(a_large_map_takes_no_quadratic_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
