/*
 * The jwt policy's parts: URLs of keys, the cache of tokens, identities from claims, texts of keys.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "jose/jwk.h"
#include "jose/library.h"
#include "jose/verify.h"
#include "policies/jwt/identify.h"
#include "policies/jwt/jwt.h"
#include "policies/jwt/key_source_state.h"
#include "policies/jwt/verified.h"

static struct memory memory;
static struct arena *arena;

static int begin(void **state)
{
    if (memory_init(&memory, NULL, 0) < 0)
        return -1;
    arena = arena_new(&memory, 1 << 24);
    return arena ? 0 : -1;
}

/* ENSUREs that every block came back. */
static int end(void **state)
{
    arena_free(arena);
    memory_done(&memory);
    return 0;
}

/* ---- where keys are ---- */

static void a_url_is_taken_apart_or_refused(void **state)
{
    static const struct {
        const char *text, *host, *target; /* host NULL: refused */
        uint16_t port;
        bool secure;
    } cases[] = {
        { "https://id.example/jwks.json", "id.example", "/jwks.json", 443, true },
        { "http://127.0.0.1:8080/a?b=c", "127.0.0.1", "/a?b=c", 8080, false },
        { "https://[::1]:8443/", "::1", "/", 8443, true },
        { "https://id.example", "id.example", "/", 443, true },
        { "https://", NULL, NULL, 0, false },
        { "https:///a", NULL, NULL, 0, false },
        { "https://a b/", NULL, NULL, 0, false },
        { "https://user@id.example/", NULL, NULL, 0, false },
        { "https://id.example:0x50/", NULL, NULL, 0, false },
        { "https://id.example:99999/", NULL, NULL, 0, false },
        { "https://id.example?a", NULL, NULL, 0, false },
        { "https://id.example/a#b", NULL, NULL, 0, false },
        { "https://id.example/a\r\nX: y", NULL, NULL, 0, false },
        { "HTTPS://id.example/", NULL, NULL, 0, false },
        { "file:///etc/passwd", NULL, NULL, 0, false },
        { "", NULL, NULL, 0, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jwks_url url;
        const char *why = jwks_url_parse(slice_from(cases[i].text), &url);
        if ((why == NULL) != (cases[i].host != NULL))
            fail_msg("%s: %s", cases[i].text, why ? why : "taken");
        if (why)
            continue;
        assert_true(slice_eq(url.host, slice_from(cases[i].host)));
        assert_true(slice_eq(url.target, slice_from(cases[i].target)));
        assert_int_equal(url.port, cases[i].port);
        assert_int_equal(url.secure, cases[i].secure);
    }
}

/* ---- the cache ---- */

static struct verified *make(const char *token, uint64_t hash, int64_t expires_s)
{
    static const struct slice groups[] = { { "a", 1 }, { "bb", 2 } };
    static const struct claim claims[] = { { { "sub", 3 }, { "joe", 3 } } };
    static const struct slice values[] = { { "joe", 3 }, { NULL, 0 } };
    const struct verified like = {
        .hash = hash,
        .version = 1,
        .expires_s = expires_s,
        .token = slice_from(token),
        .identity = { .method = "jwt",
                      .subject = SLICE("joe"),
                      .groups = groups,
                      .group_count = 2,
                      .claims = claims,
                      .claim_count = 1 },
        .values = values,
        .value_count = 2,
    };
    struct verified *v = verified_new(&memory, &like);
    assert_non_null(v);
    return v;
}

static void put(struct cache *cache, const char *token, uint64_t hash, int64_t expires_s, int64_t now_s)
{
    struct verified *v = make(token, hash, expires_s);
    cache_put(cache, v, now_s);
    verified_drop(v);
}

static bool finds(struct cache *cache, const char *token, uint64_t hash, uint64_t version)
{
    struct verified *v = cache_find(cache, slice_from(token), hash, version);
    if (!v)
        return false;
    assert_true(slice_eq(v->token, slice_from(token)));
    verified_drop(v);
    return true;
}

static void a_block_holds_all_of_it(void **state)
{
    char token[] = "header.payload.signature";
    struct verified *v = make(token, 7, 100);
    memset(token, 'x', sizeof(token) - 1); /* where it came from is gone */
    assert_true(slice_eq(v->token, SLICE("header.payload.signature")));
    assert_true(slice_eq(v->identity.groups[1], SLICE("bb")));
    assert_true(slice_eq(identity_claim(&v->identity, SLICE("sub")), SLICE("joe")));
    assert_true(slice_eq(v->values[0], SLICE("joe")));
    assert_null(v->values[1].at);
    verified_drop(v);
}

static void a_token_is_found_whole_and_with_its_keys_alone(void **state)
{
    struct cache *cache = cache_new(&memory, 64);
    put(cache, "a.b.c", 5, 100, 0);
    assert_true(finds(cache, "a.b.c", 5, 1));
    assert_false(finds(cache, "a.b.d", 5, 1)); /* the same hash */
    assert_false(finds(cache, "a.b.", 5, 1));
    assert_false(finds(cache, "a.b.c", 6, 1));
    assert_true(finds(cache, "a.b.c", 5, 1));
    assert_false(finds(cache, "a.b.c", 5, 2)); /* the keys have changed */
    assert_false(finds(cache, "a.b.c", 5, 1)); /* and it is gone for good */
    cache_free(cache);
}

static void two_tokens_with_one_hash_are_both_there(void **state)
{
    struct cache *cache = cache_new(&memory, 64);
    put(cache, "one", 5, 100, 0);
    put(cache, "two", 5, 100, 0);
    assert_true(finds(cache, "one", 5, 1) && finds(cache, "two", 5, 1));
    cache_free(cache);
}

static void the_cache_is_bounded_and_loses_the_dead_then_the_oldest(void **state)
{
    struct cache *cache = cache_new(&memory, 4); /* one set */
    char text[16];
    put(cache, "dead", 0, 10, 0);
    put(cache, "t1", 1, 100, 0);
    put(cache, "t2", 2, 100, 0);
    put(cache, "t3", 3, 100, 0);
    assert_true(finds(cache, "t1", 1, 1));
    put(cache, "t4", 4, 100, 50);
    assert_false(finds(cache, "dead", 0, 1));
    assert_true(finds(cache, "t1", 1, 1) && finds(cache, "t3", 3, 1));
    put(cache, "t5", 5, 100, 50);
    assert_false(finds(cache, "t2", 2, 1)); /* the longest unused */
    for (unsigned i = 10; i < 1000; i++) {
        snprintf(text, sizeof(text), "t%u", i);
        put(cache, text, i, 100, 50);
    }
    assert_true(finds(cache, "t999", 999, 1));
    assert_false(finds(cache, "t995", 995, 1));
    cache_free(cache);
}

static void an_entry_in_use_outlives_its_place(void **state)
{
    struct cache *cache = cache_new(&memory, 4);
    put(cache, "a", 1, 100, 0);
    struct verified *v = cache_find(cache, SLICE("a"), 1, 1);
    cache_forget(cache, v);
    assert_false(finds(cache, "a", 1, 1));
    cache_free(cache);
    assert_true(slice_eq(v->identity.subject, SLICE("joe")));
    verified_drop(v);
}

static void secrets_compare_to_the_last_byte(void **state)
{
    char a[70], b[70];
    memset(a, 'a', sizeof(a));
    for (size_t len = 0; len <= sizeof(a); len++)
        for (size_t at = 0; at < len; at++) {
            memset(b, 'a', sizeof(b));
            assert_true(secret_equal(slice_make(a, len), slice_make(b, len)));
            b[at] ^= 1;
            assert_false(secret_equal(slice_make(a, len), slice_make(b, len)));
        }
    assert_false(secret_equal(slice_make(a, 8), slice_make(a, 9)));
}

/* ---- identities ---- */

static enum jose_fault identify_text(const struct jwt *jwt, const char *text, struct verified *ret_verified)
{
    struct claims claims;
    *ret_verified = (struct verified){ 0 };
    enum jose_fault fault = claims_parse(arena, slice_from(text), &claims);
    return fault == JOSE_OK ? identify(jwt, arena, &claims, ret_verified) : fault;
}

static void an_identity_is_read_from_claims_in_all_their_forms(void **state)
{
    const struct jwt_conf conf = { .scopes_claim = "scope", .groups_claim = "realm.roles", .consumer_claim = "azp" };
    const struct jwt jwt = { .conf = &conf };
    struct verified v;
    assert_int_equal(
        identify_text(&jwt,
                      "{\"sub\":\"j\\u00f6rg\",\"jti\":\"7\",\"sid\":\"s\",\"azp\":\"shop\",\"scope\":\" a  b "
                      "\",\"realm\":{\"roles\":[\"x\",7,\"\",\"y\\n\"]},\"n\":9007199254740993,\"o\":[1,{\"k\":null}]}",
                      &v),
        JOSE_OK);
    const struct identity *id = &v.identity;
    assert_string_equal(id->method, "jwt");
    assert_true(slice_eq(id->subject, SLICE("j\xc3\xb6rg")) && slice_eq(id->credential, SLICE("7")));
    assert_true(slice_eq(id->session, SLICE("s")) && slice_eq(id->consumer, SLICE("shop")));
    assert_int_equal(id->scope_count, 2);
    assert_true(identity_has_scope(id, SLICE("b")));
    assert_int_equal(id->group_count, 2);
    assert_true(identity_has_group(id, SLICE("y\n")));
    assert_true(slice_eq(identity_claim(id, SLICE("n")), SLICE("9007199254740993"))); /* to the digit */
    assert_true(slice_eq(identity_claim(id, SLICE("o")), SLICE("[1,{\"k\":null}]")));
    assert_int_equal(identify_text(&jwt, "{\"scope\":[\"a b\",\"c\"],\"realm\":{\"roles\":\"one role\"}}", &v),
                     JOSE_OK);
    assert_int_equal(v.identity.scope_count, 2);
    assert_true(identity_has_scope(&v.identity, SLICE("a b")));
    assert_true(identity_has_group(&v.identity, SLICE("one role")));
    assert_int_equal(identify_text(&jwt, "{\"scope\":7,\"realm\":[],\"azp\":{}}", &v), JOSE_OK);
    assert_int_equal(v.identity.scope_count + v.identity.group_count + v.identity.consumer.len, 0);
}

static void what_goes_into_fields_can_stand_in_one(void **state)
{
    struct claim_header headers[] = { { SLICE("X-A"), "a" } };
    const struct jwt_conf conf = { .scopes_claim = "scope", .groups_claim = "groups" };
    const struct jwt jwt = { .conf = &conf, .headers = headers, .header_count = 1 };
    static const struct {
        const char *text, *value; /* NULL: left out; "!": refused */
    } cases[] = {
        { "{\"a\":\"x\"}", "x" },
        { "{\"a\":\"\"}", "" },
        { "{\"a\":12345678901234567890}", "12345678901234567890" },
        { "{\"a\":true}", "true" },
        { "{\"a\":null}", NULL },
        { "{}", NULL },
        { "{\"a\":[\"x\",\"y\",7]}", "x,y,7" },
        { "{\"a\":[]}", "" },
        { "{\"a\":[\"x,y\"]}", "!" },
        { "{\"a\":[[\"x\"]]}", "!" },
        { "{\"a\":{\"b\":\"c\"}}", "{\"b\":\"c\"}" },
        { "{\"a\":\"x\\r\\nY: z\"}", "!" },
        { "{\"a\":[\"x\",\"\\u0000\"]}", "!" },
        { "{\"a\":\"\\u007f\"}", "!" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct verified v;
        bool refused = cases[i].value && strcmp(cases[i].value, "!") == 0;
        enum jose_fault fault = identify_text(&jwt, cases[i].text, &v);
        if (fault != (refused ? JOSE_CLAIMS : JOSE_OK))
            fail_msg("%s: %s", cases[i].text, jose_fault_word(fault));
        if (!refused)
            assert_true(cases[i].value ? slice_eq(v.values[0], slice_from(cases[i].value)) : !v.values[0].at);
    }
}

/* ---- texts of keys ---- */

static void a_text_says_how_many_keys_it_gives(void **state)
{
    static const char set[] =
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"},{\"kty\":\"?\"}]}";
    struct key_count count;
    struct key_text *text = key_text_new(slice_from(set), false, UINT32_MAX);
    assert_int_equal(key_text_count(text, &count), 0);
    assert_int_equal(count.usable, 1);
    assert_int_equal(count.unusable, 1);
    assert_true(key_text_same(text, slice_from(set)) && !key_text_same(text, SLICE("{}")));
    struct jose_library *library = jose_library_get();
    struct jose_keys *keys;
    assert_int_equal(key_text_build(text, library, &memory, &keys), 0);
    assert_int_equal(jose_keys_count(keys), 1);
    jose_keys_free(keys);
    jose_library_put(library);
    key_text_drop(text);
    text = key_text_new(slice_from(set), false, jose_algorithm_bit(ALG_RS256)); /* which a secret is not for */
    assert_int_equal(key_text_count(text, &count), -ERR_BAD_BODY);
    key_text_drop(text);
    text = key_text_new(SLICE("0123456789abcdef0123456789abcdef"), true, jose_algorithm_bit(ALG_HS256));
    assert_int_equal(key_text_count(text, &count), 0);
    key_text_drop(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_is_taken_apart_or_refused),
        cmocka_unit_test(a_block_holds_all_of_it),
        cmocka_unit_test(a_token_is_found_whole_and_with_its_keys_alone),
        cmocka_unit_test(two_tokens_with_one_hash_are_both_there),
        cmocka_unit_test(the_cache_is_bounded_and_loses_the_dead_then_the_oldest),
        cmocka_unit_test(an_entry_in_use_outlives_its_place),
        cmocka_unit_test(secrets_compare_to_the_last_byte),
        cmocka_unit_test(an_identity_is_read_from_claims_in_all_their_forms),
        cmocka_unit_test(what_goes_into_fields_can_stand_in_one),
        cmocka_unit_test(a_text_says_how_many_keys_it_gives),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
