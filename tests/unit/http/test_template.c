/*
 * Compiling templates: what text becomes, and what each mistake is told as.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "conf/conf.h"
#include "http/fields.h"
#include "http/template.h"

static bool only_id(const struct conf_node *node, struct slice name)
{
    return slice_eq(name, SLICE("id"));
}

static int compile(struct conf *conf, const char *text, template_capture_known *known, struct template *ret)
{
    return template_compile(conf, NULL, slice_from(text), known, ret);
}

static void assert_part(const struct template *t, unsigned at, enum template_source source, const char *text)
{
    assert_true(at < t->count);
    assert_int_equal(t->parts[at].source, source);
    if (!slice_eq(t->parts[at].text, slice_from(text)))
        fail_msg("part %u: %.*s", at, SLICE_ARG(t->parts[at].text));
}

static void text_is_cut_at_its_names(void **state)
{
    struct conf *conf = conf_new(NULL);
    struct template t;
    assert_int_equal(compile(conf, "a{method}{header.X-Tenant}:{cookie.sid}{query.q[]}z", NULL, &t), 0);
    assert_int_equal(t.count, 7);
    assert_part(&t, 0, SOURCE_TEXT, "a");
    assert_int_equal(t.parts[1].source, SOURCE_METHOD);
    assert_part(&t, 2, SOURCE_HEADER, "X-Tenant");
    assert_int_equal(t.parts[2].field, FIELD_OTHER);
    assert_part(&t, 3, SOURCE_TEXT, ":");
    assert_part(&t, 4, SOURCE_COOKIE, "sid");
    assert_part(&t, 5, SOURCE_PARAM, "q[]");
    assert_part(&t, 6, SOURCE_TEXT, "z");
    template_done(&t);
    conf_free(conf);
}

static void every_word_of_the_vocabulary_is_taken(void **state)
{
    static const struct {
        const char *text;
        enum template_source source;
    } words[] = {
        { "{method}", SOURCE_METHOD },
        { "{scheme}", SOURCE_SCHEME },
        { "{host}", SOURCE_HOST },
        { "{path}", SOURCE_PATH },
        { "{query}", SOURCE_QUERY },
        { "{uri}", SOURCE_URI },
        { "{client.address}", SOURCE_CLIENT_ADDRESS },
        { "{client.network}", SOURCE_CLIENT_NETWORK },
        { "{client.port}", SOURCE_CLIENT_PORT },
        { "{route}", SOURCE_ROUTE },
        { "{consumer}", SOURCE_CONSUMER },
        { "{identity.subject}", SOURCE_SUBJECT },
        { "{header.user-agent}", SOURCE_HEADER },
        { "{id}", SOURCE_CAPTURE },
        { "{id...}", SOURCE_CAPTURE },
        { "{capture.id}", SOURCE_CAPTURE },
    };
    struct conf *conf = conf_new(NULL);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        struct template t;
        assert_int_equal(compile(conf, words[i].text, only_id, &t), 0);
        assert_int_equal(t.count, 1);
        assert_int_equal(t.parts[0].source, words[i].source);
        if (words[i].source == SOURCE_HEADER)
            assert_int_equal(t.parts[0].field, FIELD_USER_AGENT);
        if (words[i].source == SOURCE_CAPTURE)
            assert_part(&t, 0, SOURCE_CAPTURE, "id");
        template_done(&t);
    }
    conf_free(conf);
}

static void doubled_braces_are_braces(void **state)
{
    struct conf *conf = conf_new(NULL);
    struct template t;
    assert_int_equal(compile(conf, "{{\"id\": {method}}}", NULL, &t), 0);
    assert_int_equal(t.count, 4);
    assert_part(&t, 0, SOURCE_TEXT, "{");
    assert_part(&t, 1, SOURCE_TEXT, "\"id\": ");
    assert_int_equal(t.parts[2].source, SOURCE_METHOD);
    assert_part(&t, 3, SOURCE_TEXT, "}");
    template_done(&t);
    assert_int_equal(compile(conf, "", NULL, &t), 0);
    assert_int_equal(t.count, 0);
    template_done(&t);
    conf_free(conf);
}

static void a_mistake_is_told_with_what_was_meant(void **state)
{
    static const struct {
        const char *text, *told;
    } mistakes[] = {
        { "{client.adress}", "did you mean `{client.address}`?" },
        { "{cookies.sid}", "did you mean `{cookie.sid}`?" },
        { "{schem}", "`{schem}` is no capture of this route's path, did you mean `{scheme}`?" },
        { "{user}", "`{user}` is no capture of this route's path" },
        { "{capture.user}", "`{user}` is no capture of this route's path" },
        { "{nothing.like.it}", "it takes `{method}`" },
        { "{}", "it takes `{method}`" },
        { "a{method", "is never closed" },
        { "a}b", "a `}` closes nothing" },
        { "{header.}", "no name that a header can have" },
        { "{header.a b}", "no name that a header can have" },
        { "{cookie.a;b}", "no name that a cookie can have" },
        { "{query.}", "no name that a parameter of a query can have" },
    };
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        struct conf *conf = conf_new(NULL);
        struct template t;
        assert_int_equal(compile(conf, mistakes[i].text, only_id, &t), -1);
        assert_int_equal(conf_error_count(conf), 1);
        const char *message = conf_diagnostics(conf)->message;
        if (!strstr(message, mistakes[i].told))
            fail_msg("%s: %s", mistakes[i].text, message);
        conf_free(conf);
    }
}

static void there_is_a_limit_on_parts(void **state)
{
    struct conf *conf = conf_new(NULL);
    struct template t;
    char text[(TEMPLATE_PARTS_MAX + 1) * 8 + 1] = "";
    for (int i = 0; i < TEMPLATE_PARTS_MAX; i++)
        memcpy(text + i * 8, "{method}", 9);
    assert_int_equal(compile(conf, text, NULL, &t), 0);
    assert_int_equal(t.count, TEMPLATE_PARTS_MAX);
    template_done(&t);
    memcpy(text + TEMPLATE_PARTS_MAX * 8, "{method}", 9);
    assert_int_equal(compile(conf, text, NULL, &t), -1);
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_cut_at_its_names),  cmocka_unit_test(every_word_of_the_vocabulary_is_taken),
        cmocka_unit_test(doubled_braces_are_braces), cmocka_unit_test(a_mistake_is_told_with_what_was_meant),
        cmocka_unit_test(there_is_a_limit_on_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
