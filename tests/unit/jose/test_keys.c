/*
 * Keys and sets of keys: which are of use, and which are not and why.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "jose/library.h"
#include "jose/verify.h"
#include "signing.h"

static struct memory memory;
static struct arena *arena;

static int begin(void **state)
{
    if (memory_init(&memory, NULL, 0) < 0)
        return -1;
    arena = arena_new(&memory, 1 << 26);
    return arena ? 0 : -1;
}

static int end(void **state)
{
    arena_free(arena);
    memory_done(&memory);
    test_keys_free();
    return 0;
}

/* NULL: it is of use. */
static const char *why_not(const char *jwk)
{
    struct jwks jwks;
    int rc = jwks_parse(arena, slice_from(test_set(jwk)), UINT32_MAX, &jwks);
    assert_true(rc == 0 || rc == -ERR_BAD_BODY);
    assert_int_equal(rc == 0 && jwks.count == 1, jwks.why == NULL);
    return jwks.why;
}

static void assert_useless(const char *jwk, const char *part)
{
    const char *why = why_not(jwk);
    if (!why || !strstr(why, part))
        fail_msg("%s: %s", jwk, why ? why : "of use");
}

static void every_kind_of_key_is_read(void **state)
{
    assert_null(why_not(test_jwk(test_rsa(2048), ",\"use\":\"sig\",\"alg\":\"RS256\",\"kid\":\"a\"")));
    assert_null(why_not(test_jwk(test_ec("P-256"), ",\"key_ops\":[\"verify\"]")));
    assert_null(why_not(test_jwk(test_ec("P-384"), "")));
    assert_null(why_not(test_jwk(test_ec("P-521"), ",\"x5c\":[\"not looked at\"],\"x5t\":7")));
    assert_null(why_not(test_jwk(test_okp("ED25519"), "")));
    assert_null(why_not(test_jwk(test_okp("ED448"), "")));
    assert_null(why_not(test_secret_jwk("0123456789abcdef0123456789abcdef", "")));
}

static void weak_and_broken_keys_are_of_no_use(void **state)
{
    assert_useless(test_jwk(test_rsa(1024), ""), "less than 2048");
    char text[4096];
    char *n = test_base64url(slice_make((const char[2048]){ 1 }, 1500));
    snprintf(text, sizeof(text), "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"}", n);
    assert_useless(text, "more than 8192");
    static const char *const exponents[] = { "AQ", "Ag", "AA", "AQAAAAE", "AQAA" };
    for (size_t i = 0; i < ARRAY_LEN(exponents); i++) {
        snprintf(text, sizeof(text), "%s", test_jwk(test_rsa(2048), ""));
        char *e = strstr(text, "\"e\":");
        snprintf(e, sizeof(text) - (size_t)(e - text), "\"e\":\"%s\"}", exponents[i]);
        assert_useless(text, "exponent");
    }
    assert_useless("{\"kty\":\"RSA\",\"n\":\"AQAB=\",\"e\":\"AQAB\"}", "modulus");
    assert_useless("{\"kty\":\"RSA\",\"e\":\"AQAB\"}", "modulus");
    assert_useless("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQAB\",\"y\":\"AQAB\"}", "length");
    assert_useless("{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AQAB\",\"y\":\"AQAB\"}", "curve");
    assert_useless("{\"kty\":\"EC\",\"crv\":\"Ed25519\",\"x\":\"AQAB\",\"y\":\"AQAB\"}", "curve");
    assert_useless("{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AQAB\"}", "curve");
    assert_useless("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AQAB\"}", "length");
    assert_useless(test_secret_jwk("0123456789abcdef0123456789abcde", ""), "less than 32");
    assert_useless("{\"kty\":\"oct\",\"k\":\"\"}", "secret");
    assert_useless("{\"kty\":\"none\"}", "kty");
    assert_useless("{}", "kty");
    assert_useless("7", "object");
    assert_useless("{\"kty\":7}", "kty");
}

static void keys_that_are_meant_for_something_else_are_of_no_use(void **state)
{
    EVP_PKEY *rsa = test_rsa(2048);
    assert_useless(test_jwk(rsa, ",\"use\":\"enc\""), "use");
    assert_useless(test_jwk(rsa, ",\"key_ops\":[\"sign\"]"), "verify");
    assert_useless(test_jwk(rsa, ",\"key_ops\":[]"), "verify");
    assert_useless(test_jwk(rsa, ",\"key_ops\":\"verify\""), "list");
    assert_useless(test_jwk(rsa, ",\"alg\":\"HS256\""), "alg");
    assert_useless(test_jwk(rsa, ",\"alg\":\"RSA-OAEP\""), "alg");
    assert_useless(test_jwk(test_ec("P-256"), ",\"alg\":\"ES384\""), "alg");
    assert_useless(test_secret_jwk("0123456789abcdef0123456789abcdef", ",\"alg\":\"HS512\""), "alg");
    assert_useless(test_jwk(rsa, ",\"kid\":7"), "kid");
}

static void a_point_off_its_curve_makes_no_key(void **state)
{
    struct jose_library *library = jose_library_get();
    struct jwks jwks;
    struct jose_keys *keys;
    char text[4096];
    assert_non_null(library);
    snprintf(text, sizeof(text), "%s", test_set(test_jwk(test_ec("P-256"), "")));
    char *y = strstr(text, "\"y\":\"") + 5;
    y[3] = y[3] == 'A' ? 'B' : 'A';
    assert_int_equal(jwks_parse(arena, slice_from(text), UINT32_MAX, &jwks), 0);
    assert_int_equal(jwks.count, 1);
    assert_int_equal(jose_keys_new(library, &jwks, &keys), 0);
    assert_int_equal(jose_keys_count(keys), 0);
    jose_keys_free(keys);
    jose_library_put(library);
}

static void a_set_keeps_what_is_of_use_and_tells_of_the_rest(void **state)
{
    struct jwks jwks;
    char text[8192];
    snprintf(text, sizeof(text), "{\"keys\":[%s,{\"kty\":\"RSA\"},%s,{\"kty\":\"?\"}],\"more\":1}",
             test_jwk(test_rsa(2048), ",\"kid\":\"a\",\"d\":\"AQAB\""), test_jwk(test_okp("ED25519"), ""));
    assert_int_equal(jwks_parse(arena, slice_from(text), UINT32_MAX, &jwks), 0);
    assert_int_equal(jwks.count, 2);
    assert_int_equal(jwks.unusable, 2);
    assert_int_equal(jwks.why_index, 1);
    assert_true(jwks.has_private);
    assert_true(slice_eq(jwks.keys[0].key_id, SLICE("a")));
    assert_int_equal(jwks_parse(arena, slice_from(text), jose_algorithm_bit(ALG_EdDSA), &jwks), 0);
    assert_int_equal(jwks.count, 1);
    assert_int_equal(jwks.keys[0].kind, JWK_OKP);
    assert_int_equal(jwks_parse(arena, slice_from(test_jwk(test_rsa(2048), "")), UINT32_MAX, &jwks), 0);
    assert_int_equal(jwks.count, 1); /* a key alone */
}

static void what_is_no_set_is_refused(void **state)
{
    static const char *const texts[] = {
        "",     "<html>",          "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]", "{\"keys\":[],\"keys\":[]}",
        "null", "{\"keys\":[]} {}"
    };
    struct jwks jwks;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        assert_int_equal(jwks_parse(arena, slice_from(texts[i]), UINT32_MAX, &jwks), -ERR_BAD_BODY);
        assert_non_null(jwks.why);
    }
    assert_int_equal(jwks_parse(arena, SLICE("{\"keys\":[]}"), UINT32_MAX, &jwks), 0);
    assert_int_equal(jwks.count, 0);
    char many[8192];
    size_t len = (size_t)snprintf(many, sizeof(many), "{\"keys\":[");
    for (int i = 0; i <= JWKS_KEYS_MAX; i++)
        len += (size_t)snprintf(many + len, sizeof(many) - len, "%s{}", i ? "," : "");
    snprintf(many + len, sizeof(many) - len, "]}");
    assert_int_equal(jwks_parse(arena, slice_from(many), UINT32_MAX, &jwks), -ERR_BAD_BODY);
    char *big = arena_alloc(arena, JWKS_BYTES_MAX + 1);
    memset(big, ' ', JWKS_BYTES_MAX + 1);
    assert_int_equal(jwks_parse(arena, slice_make(big, JWKS_BYTES_MAX + 1), UINT32_MAX, &jwks), -ERR_BAD_BODY);
    assert_non_null(strstr(jwks.why, "larger"));
}

static void a_thread_has_one_library_for_all_that_ask(void **state)
{
    struct jose_library *a = jose_library_get(), *b = jose_library_get();
    assert_ptr_equal(a, b);
    jose_library_put(a);
    assert_non_null(b->hashes[HASH_SHA512]);
    jose_library_put(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_key_is_read),
        cmocka_unit_test(weak_and_broken_keys_are_of_no_use),
        cmocka_unit_test(keys_that_are_meant_for_something_else_are_of_no_use),
        cmocka_unit_test(a_point_off_its_curve_makes_no_key),
        cmocka_unit_test(a_set_keeps_what_is_of_use_and_tells_of_the_rest),
        cmocka_unit_test(what_is_no_set_is_refused),
        cmocka_unit_test(a_thread_has_one_library_for_all_that_ask),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
