/* Named references: found wherever they are declared, and what is said when they are not. */
#include "loading.h"

#define THINGS                                                                                                         \
    {                                                                                                                  \
        CONF_MAP, .item = &sample_label_type, .names = "thing"                                                         \
    }
#define UPSTREAM "{targets: [1.1.1.1:1]}"

static const struct conf_ref *proxy_ref(const struct loading *it, size_t route)
{
    const struct sample_route *r = conf_item(&it->value.routes, &sample_route_type, route);
    return &((const struct sample_proxy *)r->handler.value)->upstream;
}

static void a_reference_points_to_its_entry_in_any_order(void **state)
{
    struct loading it;
    loading_begin_well(&it, "routes: [{path: /, proxy: b}, {path: /x, proxy: {upstream: a}}]\n"
                            "upstreams: {b: " UPSTREAM ", a: " UPSTREAM "}");
    assert_ptr_equal(proxy_ref(&it, 0)->target, conf_entry_at(&it.value.upstreams, &sample_upstream_type, 0));
    assert_ptr_equal(proxy_ref(&it, 1)->target, conf_entry_at(&it.value.upstreams, &sample_upstream_type, 1));
    assert_string_equal(proxy_ref(&it, 1)->name, "a");
    assert_string_equal(conf_path(it.conf, proxy_ref(&it, 1)->node), "routes[1].proxy.upstream");
    loading_end(&it);
}

static void an_unknown_name_is_told_with_the_nearest(void **state)
{
    expect_said("upstreams: {users: " UPSTREAM "}\nroutes: [{path: /, proxy: user}]",
                "2:27 routes[0].proxy: upstream `user` is not declared, did you mean `users`?");
    expect_said("upstreams: {a: " UPSTREAM ", b: " UPSTREAM "}\nroutes: [{path: /, proxy: elsewhere}]",
                "2:27 routes[0].proxy: upstream `elsewhere` is not declared; expected `a` or `b`");
    expect_said("routes: [{path: /, proxy: {upstream: users}}]",
                "1:38 routes[0].proxy.upstream: upstream `users` is not declared; none is");
}

static void a_reference_is_a_name(void **state)
{
    expect_said("routes: [{path: /, proxy: {upstream: {}}}]",
                "1:38 routes[0].proxy.upstream: expected the name of an upstream, got a mapping");
    expect_said("routes: [{path: /, proxy: {upstream: ''}}]",
                "1:38 routes[0].proxy.upstream: expected the name of an upstream, got `` in quotes");
}

static void a_declaration_with_a_mistake_still_declares(void **state)
{
    expect_said("upstreams: {users: {}}\nroutes: [{path: /, proxy: users}]",
                "1:20 upstreams.users: required field `targets` is missing: The servers that requests go to");
    expect_said("upstreams: 5\nroutes: [{path: /, proxy: users}]",
                "1:12 upstreams: expected a mapping of names to values, got `5`");
    expect_said("upstreams: *u\nroutes: [{path: /, proxy: users}]",
                "1:12 upstreams: no anchor `&u` stands before this alias");
}

static void a_name_declared_in_two_maps_is_a_mistake(void **state)
{
    struct holder {
        struct conf_list one, two;
        struct conf_ref use;
    };
    static const struct conf_field fields[] = {
        { "one", THINGS, CONF_AT(holder, one), CONF_DECLARES, .doc = "One." },
        { "two", THINGS, CONF_AT(holder, two), CONF_DECLARES, .doc = "Two." },
        { "use", { CONF_REF, .names = "thing" }, CONF_AT(holder, use), .doc = "Which." },
        CONF_END,
    };
    static const struct conf_struct schema = { "holder", sizeof(struct holder), fields };
    struct conf *conf = conf_new(NULL);
    struct holder holder = { 0 };
    const struct conf_node *root = conf_parse_text(conf, "t", SLICE("one: {a: 1, b: 1}\ntwo: {c: 1, a: 2}\nuse: c"));
    assert_int_equal(conf_load(conf, root, &schema, &holder), 0);
    assert_int_equal(conf_resolve(conf), -1);
    assert_string_equal(((const struct conf_entry *)holder.use.target)->key, "c");
    assert_int_equal(conf_error_count(conf), 1);
    assert_non_null(strstr(conf_diagnostics(conf)->message, "the thing `a` is declared twice, also at "));
    conf_free(conf);
}

static void ten_thousand_references_to_ten_thousand_names_resolve(void **state)
{
    enum { COUNT = 10000 };
    size_t size = COUNT * 128, len = 0;
    char *yaml = malloc(size);
    len += (size_t)snprintf(yaml + len, size - len, "upstreams:\n");
    for (int i = 0; i < COUNT; i++)
        len += (size_t)snprintf(yaml + len, size - len, "  u%d: " UPSTREAM "\n", i);
    len += (size_t)snprintf(yaml + len, size - len, "routes:\n");
    for (int i = 0; i < COUNT; i++)
        len += (size_t)snprintf(yaml + len, size - len, "  - {path: /%d, proxy: u%d}\n", i, COUNT - 1 - i);
    struct loading it;
    loading_begin_well(&it, yaml);
    assert_int_equal(it.value.routes.count, COUNT);
    assert_ptr_equal(proxy_ref(&it, 1)->target, conf_entry_at(&it.value.upstreams, &sample_upstream_type, COUNT - 2));
    loading_end(&it);
    free(yaml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reference_points_to_its_entry_in_any_order),
        cmocka_unit_test(an_unknown_name_is_told_with_the_nearest),
        cmocka_unit_test(a_reference_is_a_name),
        cmocka_unit_test(a_declaration_with_a_mistake_still_declares),
        cmocka_unit_test(a_name_declared_in_two_maps_is_a_mistake),
        cmocka_unit_test(ten_thousand_references_to_ten_thousand_names_resolve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
