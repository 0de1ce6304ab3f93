/*
 * What templates say of a request.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "conf/conf.h"
#include "exchange/exchange.h"
#include "exchange/identity.h"
#include "exchange/template.h"
#include "http/template.h"
#include "net/address.h"

struct bench {
    struct conf *conf;
    struct memory memory;
    struct address peer;
    struct stream down;
    struct message request;
    struct capture captures[1];
    struct exchange x;
};

static void come_from(struct bench *b, const char *client)
{
    assert_int_equal(address_parse_ip(slice_from(client), &b->peer), 0);
    b->peer.port = 4711;
    b->x.peer = b->x.record.client = slice_from(client);
}

static int set_up(void **state)
{
    static struct bench b;
    memset(&b, 0, sizeof(b));
    b.conf = conf_new(NULL);
    if (memory_init(&b.memory, NULL, 0) < 0)
        return -1;
    b.down.peer = &b.peer;
    b.x.arena = arena_new(&b.memory, SIZE_MAX);
    b.x.down = &b.down;
    b.x.request = &b.request;
    b.captures[0] = (struct capture){ SLICE("id"), SLICE("a b"), SLICE("a%20b") };
    b.x.captures = b.captures;
    b.x.capture_count = 1;
    b.request.method_name = SLICE("GET");
    b.request.scheme = SLICE("https");
    b.request.authority = SLICE("Shop.Example:8443");
    b.request.path = SLICE("/users/a%20b");
    b.request.query = SLICE("q=x+y&n=%31");
    b.request.has_query = true;
    come_from(&b, "192.0.2.7");
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    arena_free(b->x.arena);
    memory_done(&b->memory);
    conf_free(b->conf);
    return 0;
}

static void add(struct bench *b, const char *name, const char *value)
{
    assert_int_equal(fields_add(&b->request.fields, b->x.arena, slice_from(name), slice_from(value)), 0);
}

static struct slice text_of(struct bench *b, const char *template)
{
    struct template t;
    struct slice text;
    assert_int_equal(template_compile(b->conf, NULL, slice_from(template), NULL, &t), 0);
    assert_int_equal(template_text(&t, &b->x, &text), 0);
    template_done(&t);
    return text;
}

static void assert_says(struct bench *b, const char *template, const char *wanted)
{
    struct slice text = text_of(b, template);
    if (!slice_eq(text, slice_from(wanted)))
        fail_msg("%s: `%.*s`, not `%s`", template, SLICE_ARG(text), wanted);
}

static void each_part_says_what_the_request_has(void **state)
{
    struct bench *b = *state;
    add(b, "X-Tenant", "acme");
    add(b, "User-Agent", "curl");
    add(b, "Cookie", "a=1; sid=\"7\"");
    assert_says(b, "{method}", "GET");
    assert_says(b, "{scheme}", "https");
    assert_says(b, "{host}", "shop.example");
    assert_says(b, "{path}", "/users/a%20b");
    assert_says(b, "{query}", "q=x+y&n=%31");
    assert_says(b, "{uri}", "/users/a%20b?q=x+y&n=%31");
    assert_says(b, "{client.address}", "192.0.2.7");
    assert_says(b, "{client.port}", "4711");
    assert_says(b, "{header.x-tenant}", "acme");
    assert_says(b, "{header.user-agent}", "curl");
    assert_says(b, "{header.host}", "Shop.Example:8443");
    assert_says(b, "{cookie.sid}", "7");
    assert_says(b, "{query.q}", "x y");
    assert_says(b, "{query.n}", "1");
    assert_says(b, "{id}", "a b");
    assert_says(b, "{{{method}}}:{header.x-tenant}/{id}", "{GET}:acme/a b");
}

static void what_is_not_there_is_empty(void **state)
{
    struct bench *b = *state;
    b->request.has_query = false;
    b->request.query = SLICE_EMPTY;
    assert_says(b, "{header.x-none}{cookie.none}{query.none}{missing}", "");
    assert_says(b, "{header.x-none}", "");
    assert_says(b, "{uri}", "/users/a%20b");
    assert_says(b, "", "");
    assert_says(b, "<{cookie.none}>", "<>");
}

static void fields_in_several_lines_are_one_list(void **state)
{
    struct bench *b = *state;
    add(b, "X-Tag", "a");
    add(b, "Accept", "*/*");
    add(b, "x-tag", "b");
    assert_says(b, "{header.X-Tag}", "a, b");
}

static void an_identity_is_empty_until_somebody_has_said_who_it_is(void **state)
{
    struct bench *b = *state;
    const struct claim claims[] = { { SLICE("org/id"), SLICE("7") } };
    const struct identity identity = {
        .consumer = SLICE("alice"), .subject = SLICE("user-1"), .claims = claims, .claim_count = 1
    };
    assert_says(b, "{consumer}{identity.subject}{claim.org/id}", "");
    b->x.identity = &identity;
    b->x.record.route = "shop";
    assert_says(b, "{route}:{consumer}:{identity.subject}:{claim.org/id}:{claim.other}", "shop:alice:user-1:7:");
    b->x.identity = NULL;
}

static void a_network_is_what_one_client_commonly_has(void **state)
{
    struct bench *b = *state;
    assert_says(b, "{client.network}", "192.0.2.7");
    come_from(b, "2001:db8:1:2:3:4:5:6");
    assert_says(b, "{client.network}", "2001:db8:1:2::/64");
    assert_says(b, "{client.address}", "2001:db8:1:2:3:4:5:6");
    b->x.record.client = SLICE("unknown");
    assert_says(b, "{client.network}", "unknown");
}

static void the_port_of_a_client_behind_a_hop_is_not_known(void **state)
{
    struct bench *b = *state;
    b->x.record.client = SLICE("198.51.100.1");
    assert_says(b, "{client.port}", "");
}

static void one_piece_of_the_request_is_not_copied(void **state)
{
    struct bench *b = *state;
    size_t before = b->x.arena->used_bytes;
    struct slice text = text_of(b, "{path}");
    assert_ptr_equal(text.at, b->request.path.at);
    assert_ptr_equal(text_of(b, "{client.network}").at, b->x.record.client.at);
    assert_int_equal(b->x.arena->used_bytes, before);
}

static void a_hash_is_that_of_the_text(void **state)
{
    struct bench *b = *state;
    static const char *const texts[] = { "{path}", "{method} {path}", "{header.x-none}" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct template t;
        uint64_t hash;
        bool empty;
        assert_int_equal(template_compile(b->conf, NULL, slice_from(texts[i]), NULL, &t), 0);
        assert_int_equal(template_hash(&t, &b->x, &hash, &empty), 0);
        assert_true(hash == hash_stable(text_of(b, texts[i]), 0));
        assert_int_equal(empty, i == 2);
        template_done(&t);
    }
}

static void without_memory_it_says_so(void **state)
{
    struct bench *b = *state;
    struct template t;
    struct slice text;
    assert_int_equal(template_compile(b->conf, NULL, SLICE("{method}{path}"), NULL, &t), 0);
    b->x.arena->limit_bytes = b->x.arena->used_bytes;
    assert_int_equal(template_text(&t, &b->x, &text), -ERR_MEMORY);
    template_done(&t);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_part_says_what_the_request_has),
        TEST(what_is_not_there_is_empty),
        TEST(fields_in_several_lines_are_one_list),
        TEST(an_identity_is_empty_until_somebody_has_said_who_it_is),
        TEST(a_network_is_what_one_client_commonly_has),
        TEST(the_port_of_a_client_behind_a_hop_is_not_known),
        TEST(one_piece_of_the_request_is_not_copied),
        TEST(a_hash_is_that_of_the_text),
        TEST(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
