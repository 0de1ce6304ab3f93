/*
 * The router against the naive matcher on seeded routes and requests, and the tree of paths at sizes where its tables
 * have grown.
 */
#include "naive.h"
#include "routing.h"

#include "base/assert.h"
#include "base/rng.h"
#include "route/trie.h"

static void the_router_and_a_naive_matcher_agree(void **state)
{
    enum { ROUNDS = 3000 };
    uint8_t bytes[400];
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)rng_below(&rng, 256);
        naive_compare(bytes, sizeof(bytes));
    }
}

static uint32_t step(const struct trie *trie, uint32_t node, const char *text)
{
    size_t len;
    uint32_t child = trie_step(trie, node, text, text + strlen(text), &len);
    if (child != NODE_NONE)
        assert_int_equal(len, strlen(text));
    return child;
}

static void ten_thousand_children_of_many_parents_are_all_found(void **state)
{
    enum { PARENTS = 20, CHILDREN = 10000 };
    static uint32_t nodes[PARENTS][CHILDREN];
    char text[32];
    struct trie trie;
    trie_init(&trie);
    uint32_t root = trie_add_root(&trie);
    for (unsigned i = 0; i < PARENTS * CHILDREN; i++) {
        snprintf(text, sizeof(text), "p%u", i % PARENTS);
        uint32_t parent = trie_add_literal(&trie, root, slice_from(text));
        snprintf(text, sizeof(text), "%u", i / PARENTS);
        nodes[i % PARENTS][i / PARENTS] = trie_add_literal(&trie, parent, slice_from(text));
    }
    for (unsigned i = 0; i < PARENTS * CHILDREN; i++) {
        snprintf(text, sizeof(text), "p%u", i % PARENTS);
        uint32_t parent = step(&trie, root, text);
        snprintf(text, sizeof(text), "%u", i / PARENTS);
        assert_int_equal(step(&trie, parent, text), nodes[i % PARENTS][i / PARENTS]);
        assert_int_equal(trie_add_literal(&trie, parent, slice_from(text)), nodes[i % PARENTS][i / PARENTS]);
        snprintf(text, sizeof(text), "%u", CHILDREN + i);
        assert_int_equal(step(&trie, parent, text), NODE_NONE);
    }
    unsigned count = 0;
    for (uint32_t n = trie_next(&trie, NODE_NONE); n != NODE_NONE; n = trie_next(&trie, n))
        count++;
    assert_int_equal(count, 1 + PARENTS + PARENTS * CHILDREN);
    trie_done(&trie);
}

static void hundreds_of_hosts_are_kept_apart(void **state)
{
    enum { HOSTS = 700 };
    static struct match_conf matches[HOSTS];
    static struct route_entry entries[HOSTS];
    static char names[HOSTS][32];
    static const char *hosts[HOSTS];
    static struct plan plans[HOSTS];
    struct routing r;
    routing_build(&r, "[]");
    router_drop(r.router);
    for (unsigned i = 0; i < HOSTS; i++) {
        snprintf(names[i], sizeof(names[i]), i % 2 ? "*.h%u.example" : "h%u.example", i / 2);
        hosts[i] = names[i];
        matches[i] = (struct match_conf){ .hosts = { &hosts[i], 1 }, .prefix = "/" };
        atomic_init(&plans[i].refs, 1);
        entries[i] = (struct route_entry){ &matches[i], NULL, &plans[i] };
    }
    r.router = router_build(r.conf, entries, HOSTS);
    for (unsigned i = 0; i < HOSTS; i++) {
        char line[64];
        snprintf(line, sizeof(line), i % 2 ? "GET http://x.y.h%u.example/" : "GET http://h%u.example/", i / 2);
        routing_request(&r, line);
        router_match(r.router, &r.request, r.arena, &r.match);
        assert_ptr_equal(r.match.plan, &plans[i]);
    }
    routing_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_router_and_a_naive_matcher_agree),
        cmocka_unit_test(ten_thousand_children_of_many_parents_are_all_found),
        cmocka_unit_test(hundreds_of_hosts_are_kept_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
