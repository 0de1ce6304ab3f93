/*
 * The table of consumers, and identities made from it.
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
#include "exchange/authentication.h"
#include "exchange/consumers.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"

enum { MANY = 1000 };

static struct conf *conf;
static struct consumers *table;

static int set_up(void **state)
{
    const struct consumers_room room = { MANY, 3 * MANY };
    conf = conf_new(NULL);
    table = consumers_new(conf, &room);
    return 0;
}

static int tear_down(void **state)
{
    consumers_drop(table);
    conf_free(conf);
    return 0;
}

static void digest_of(unsigned number, uint8_t digest[KEY_DIGEST_BYTES])
{
    memset(digest, 0, KEY_DIGEST_BYTES);
    memcpy(digest + KEY_DIGEST_BYTES - sizeof(number), &number, sizeof(number));
}

static void each_key_finds_its_own_consumer_and_no_other_digest_any(void **state)
{
    static struct consumer_key keys[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        digest_of(i, keys[i].digest);
        assert_true(consumers_add_key(table, &keys[i]));
        assert_false(consumers_add_key(table, &keys[i]));
    }
    uint8_t digest[KEY_DIGEST_BYTES];
    for (unsigned i = 0; i < 2 * MANY; i++) {
        digest_of(i, digest);
        assert_ptr_equal(consumers_find_key(table, digest), i < MANY ? &keys[i] : NULL);
    }
    assert_null(consumers_find_key(NULL, digest));
}

static void a_name_counts_only_as_what_it_was_added_for(void **state)
{
    static const struct consumer shop = { .name = { "shop", 4 } };
    const struct consumer_login plain = { .consumer = &shop, .user = SLICE("x") };
    const struct consumer_login slow = { .consumer = &shop, .user = SLICE("y"), .hash = "$6$a$b" };
    assert_true(consumers_add_login(table, &plain));
    assert_null(consumers_decoy(table));
    assert_true(consumers_add_login(table, &slow));
    assert_ptr_equal(consumers_decoy(table), &slow);
    assert_null(consumers_find_certificate(table, CERTIFICATE_SUBJECT, SLICE("x")));
    assert_true(consumers_add_certificate(table, CERTIFICATE_SUBJECT, SLICE("x"), &shop));
    assert_false(consumers_add_certificate(table, CERTIFICATE_SUBJECT, SLICE("x"), &shop));
    assert_ptr_equal(consumers_find_certificate(table, CERTIFICATE_SUBJECT, SLICE("x")), &shop);
    assert_null(consumers_find_certificate(table, CERTIFICATE_SAN, SLICE("x")));
    assert_false(consumers_revoked(table, REVOKED_SUB, SLICE("x")));
    assert_true(consumers_revoke(table, REVOKED_SUB, SLICE("x")));
    assert_true(consumers_revoked(table, REVOKED_SUB, SLICE("x")));
    assert_false(consumers_revoked(table, REVOKED_JTI, SLICE("x")));
    assert_false(consumers_revoked(table, REVOKED_SUB, SLICE_EMPTY));
    assert_ptr_equal(consumers_find_login(table, SLICE("x")), &plain);
    assert_null(consumers_find_login(table, SLICE("X")));
}

static void digests_that_differ_in_one_bit_are_different(void **state)
{
    uint8_t a[KEY_DIGEST_BYTES] = { 0 }, b[KEY_DIGEST_BYTES] = { 0 };
    assert_true(digests_equal(a, b));
    for (unsigned bit = 0; bit < 8 * KEY_DIGEST_BYTES; bit++) {
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(digests_equal(a, b));
        b[bit / 8] = 0;
    }
}

static void an_identity_is_a_copy_that_outlives_the_table(void **state)
{
    char name[] = "shop", group[] = "a", key[] = "plan", value[] = "gold";
    struct slice groups[] = { slice_from(group), SLICE("b") };
    struct claim claims[] = { { slice_from(key), slice_from(value) } };
    const struct consumer shop = { slice_from(name), groups, claims, 2, 1 };
    struct memory memory;
    struct exchange x = { 0 };
    assert_int_equal(memory_init(&memory, NULL, 0), 0);
    x.arena = arena_new(&memory, SIZE_MAX);
    struct identity *id = authentication_identity(&x, "api_key", &shop, SLICE("s"), SLICE("k-1"));
    name[0] = group[0] = key[0] = value[0] = '!';
    groups[1] = SLICE("!");
    assert_non_null(id);
    assert_true(slice_eq(id->consumer, SLICE("shop")) && slice_eq(id->subject, SLICE("s")));
    assert_true(slice_eq(id->credential, SLICE("k-1")) && id->group_count == 2 && id->claim_count == 1);
    assert_true(identity_has_group(id, SLICE("a")) && identity_has_group(id, SLICE("b")));
    assert_true(slice_eq(identity_claim(id, SLICE("plan")), SLICE("gold")));
    arena_free(x.arena);
    x.arena = arena_new(&memory, 1);
    assert_null(authentication_identity(&x, "api_key", &shop, SLICE("s"), SLICE("k-1")));
    arena_free(x.arena);
    memory_done(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_key_finds_its_own_consumer_and_no_other_digest_any, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_counts_only_as_what_it_was_added_for, set_up, tear_down),
        cmocka_unit_test(digests_that_differ_in_one_bit_are_different),
        cmocka_unit_test(an_identity_is_a_copy_that_outlives_the_table),
    };
    hash_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
