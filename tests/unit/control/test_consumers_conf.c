/*
 * `consumers` and `revoked` of a configuration as the table that workers get, and what a reload changes.
 */
#include "configuring.h"

#include "base/assert.h"
#include "base/hash.h"
#include "exchange/consumers.h"
#include "exchange/plan.h"
#include "observe/metrics.h"

#define REST                                                                                                           \
    "listeners: [ 127.0.0.1:0 ]\nroutes: [ { match: { prefix: / }, policies: [ { api_key: {} } ], respond: 200 } ]\n"
/* SHA-256 of "0123456789abcdef", and how it begins. */
#define HASH "sha256:9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"

static const uint8_t digest[KEY_DIGEST_BYTES] = { 0x9f, 0x9f, 0x51, 0x11, 0xf7, 0xb2, 0x7a, 0x78, 0x1f, 0x1f, 0x1d,
                                                  0xdd, 0xe5, 0xeb, 0xc2, 0xdd, 0x2b, 0x79, 0x6b, 0xfc, 0x73, 0x65,
                                                  0xc9, 0xc2, 0x8b, 0x54, 0x8e, 0x56, 0x41, 0x76, 0x92, 0x9f };

static int begin(void **state)
{
    hash_seed();
    metrics_init(1);
    return 0;
}

static int end(void **state)
{
    metrics_done();
    return 0;
}

static void a_key_and_its_hash_are_the_same(void **state)
{
    static const char *const ways[] = {
        "consumers: { shop: { groups: a, api_keys: [ { hash: \"" HASH "\" } ] } }\n" REST,
        "consumers: { shop: { groups: a, api_keys: [ { key: 0123456789abcdef } ] } }\n" REST,
    };
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        struct snapshot *s = snapshot_of(ways[i], NULL);
        const struct consumer_key *key = consumers_find_key(s->consumers, digest);
        assert_non_null(key);
        assert_true(slice_eq(key->consumer->name, SLICE("shop")) && slice_eq(key->id, SLICE("shop-1")));
        assert_true(key->consumer->group_count == 1 && key->expires_s == 0 && key->not_before_s == 0);
        snapshot_drop(s);
    }
}

static void times_are_those_of_the_calendar(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {
        { "1971-01-01", 31536000 },
        { "2000-02-29", 951782400 },
        { "2100-03-01", 4107542400 },
        { "2027-01-31T08:00:00Z", 1801382400 },
        { "9999-12-31T23:59:59Z", 253402300799 },
        { "2100-02-29", -1 },
        { "2027-13-01", -1 },
        { "2027-01-31T24:00:00Z", -1 },
        { "2027-01-31T08:00:00", -1 },
        { "2027-01-31T08:00:00Z ", -1 },
        { "27-01-31", -1 },
        { "soon", -1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char yaml[512];
        snprintf(yaml, sizeof(yaml),
                 "consumers: { shop: { api_keys: [ { hash: \"" HASH "\", expires: \"%s\" } ] } }\n" REST,
                 cases[i].text);
        struct snapshot *s = snapshot_of(yaml, NULL);
        if ((s != NULL) != (cases[i].seconds >= 0))
            fail_msg("%s", cases[i].text);
        if (!s)
            continue;
        assert_int_equal(consumers_find_key(s->consumers, digest)->expires_s, cases[i].seconds);
        snapshot_drop(s);
    }
}

static void a_change_of_consumers_makes_a_new_table_and_keeps_the_routes(void **state)
{
    struct snapshot *old = snapshot_of("consumers: { shop: { api_keys: [ { key: 0123456789abcdef } ] } }\n" REST, NULL);
    struct snapshot *new = snapshot_of("revoked: { jti: [ shop-1 ], sid: s }\n" REST, old);
    assert_non_null(consumers_find_key(old->consumers, digest));
    assert_null(consumers_find_key(new->consumers, digest));
    assert_true(consumers_revoked(new->consumers, REVOKED_JTI, SLICE("shop-1")));
    assert_true(consumers_revoked(new->consumers, REVOKED_SID, SLICE("s")));
    assert_false(consumers_revoked(old->consumers, REVOKED_JTI, SLICE("shop-1")));
    assert_true(new->plan_count == 1 && new->plans[0].object == old->plans[0].object);
    snapshot_drop(old);
    snapshot_drop(new);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_and_its_hash_are_the_same),
        cmocka_unit_test(times_are_those_of_the_calendar),
        cmocka_unit_test(a_change_of_consumers_makes_a_new_table_and_keeps_the_routes),
    };
    return cmocka_run_group_tests_name("consumers", tests, begin, end);
}
