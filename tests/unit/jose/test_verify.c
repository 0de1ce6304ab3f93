/*
 * Signatures: those of the RFCs, those that an authority makes, and those that somebody else makes up.
 */
#include <openssl/bn.h>
#include <openssl/ec.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "jose/library.h"
#include "jose/verify.h"
#include "signing.h"

#define SECRET "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct memory memory;
static struct arena *arena;
static struct jose_library *library;

static int begin(void **state)
{
    if (memory_init(&memory, NULL, 0) < 0)
        return -1;
    arena = arena_new(&memory, 1 << 26);
    library = jose_library_get();
    return arena && library ? 0 : -1;
}

static int end(void **state)
{
    jose_library_put(library);
    arena_free(arena);
    memory_done(&memory);
    test_keys_free();
    return 0;
}

/* All algorithms are allowed, so that the kind of key alone decides. */
static struct jose_keys *keys_of(const char *set)
{
    struct jwks jwks;
    struct jose_keys *keys = NULL;
    assert_int_equal(jwks_parse(arena, slice_from(set), UINT32_MAX, &jwks), 0);
    assert_int_equal(jose_keys_new(library, &jwks, &keys), 0);
    return keys;
}

static enum jose_fault verify_text(const char *set, const char *token)
{
    struct jws jws;
    enum jose_fault fault = jws_parse(arena, slice_from(token), TEST_TEXT_MAX, UINT32_MAX, &jws);
    if (fault != JOSE_OK)
        return fault;
    struct jose_keys *keys = keys_of(set);
    fault = jws_verify(keys, &jws);
    jose_keys_free(keys);
    return fault;
}

/* ---- known answers ---- */

#define A_PAYLOAD "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

static const struct {
    const char *jwk, *token;
} known[] = {
    /* RFC 7515, A.1 */
    { "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
      "\"}",
      "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." A_PAYLOAD ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" },
    /* RFC 7515, A.2 */
    { "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1"
      "Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-K"
      "XBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethF"
      "kMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}",
      "eyJhbGciOiJSUzI1NiJ9." A_PAYLOAD
      ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr"
      "7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi1"
      "2jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlU"
      "PQGe77Rw" },
    /* RFC 7515, A.3 */
    { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_"
      "tue659LNpXW6pCyStikYjKIWI5a0\"}",
      "eyJhbGciOiJFUzI1NiJ9." A_PAYLOAD
      ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q" },
    /* RFC 7515, A.4 */
    { "{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSf"
      "S9tsz4qUxcWceqwQGk\",\"y\":\"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e"
      "3kyMj2\"}",
      "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34X"
      "O0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn" },
    /* RFC 8037, A.4 */
    { "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
      "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4k"
      "i4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg" },
};

static void the_examples_of_the_rfcs_verify_and_no_byte_of_them_may_change(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        char token[2048];
        const char *set = test_set(known[i].jwk);
        if (verify_text(set, known[i].token) != JOSE_OK)
            fail_msg("known answer %zu", i);
        snprintf(token, sizeof(token), "%s", known[i].token);
        size_t len = strlen(token), payload = (size_t)(strchr(token, '.') - token) + 1;
        for (size_t at = payload; at < len; at += 7) {
            if (token[at] == '.')
                continue;
            char was = token[at];
            token[at] = was == 'A' ? 'B' : 'A';
            assert_int_not_equal(verify_text(set, token), JOSE_OK);
            token[at] = was;
        }
    }
}

/* ---- what an authority makes ---- */

static struct signer signer_of(enum jose_algorithm algorithm)
{
    const struct jose_algorithm_info *info = jose_algorithm_info(algorithm);
    static const char *const groups[] = { [CURVE_P256] = "P-256", [CURVE_P384] = "P-384", [CURVE_P521] = "P-521" };
    switch (info->kind) {
    case JWK_RSA:
        return (struct signer){ algorithm, test_rsa(2048), NULL };
    case JWK_EC:
        return (struct signer){ algorithm, test_ec(groups[info->curve]), NULL };
    case JWK_OKP:
        return (struct signer){ algorithm, test_okp("ED25519"), NULL };
    default:
        return (struct signer){ algorithm, NULL, SECRET };
    }
}

static const char *jwk_of(const struct signer *s, const char *more)
{
    return s->pkey ? test_jwk(s->pkey, more) : test_secret_jwk(s->secret, more);
}

static const char *header_of(enum jose_algorithm algorithm, const char *more)
{
    static char text[4096];
    snprintf(text, sizeof(text), "{\"alg\":\"%s\"%s}", jose_algorithm_info(algorithm)->name, more);
    return text;
}

static void every_algorithm_verifies_with_its_own_key_and_with_no_key_of_another_kind(void **state)
{
    for (unsigned a = 0; a < JOSE_ALGORITHM_COUNT; a++) {
        struct signer s = signer_of((enum jose_algorithm)a);
        char *token = test_token(&s, header_of(s.algorithm, ""), "{\"sub\":\"a\"}");
        assert_int_equal(verify_text(test_set(jwk_of(&s, "")), token), JOSE_OK);
        for (unsigned b = 0; b < JOSE_ALGORITHM_COUNT; b++) {
            struct signer other = signer_of((enum jose_algorithm)b);
            if (other.pkey == s.pkey)
                continue;
            assert_int_equal(verify_text(test_set(jwk_of(&other, "")), token), JOSE_UNKNOWN_KEY);
        }
    }
    struct signer s = { ALG_EdDSA, test_okp("ED448"), NULL };
    char *token = test_token(&s, header_of(ALG_EdDSA, ""), "{}");
    assert_int_equal(verify_text(test_set(jwk_of(&s, "")), token), JOSE_OK);
    assert_int_equal(verify_text(test_set(test_jwk(test_okp("ED25519"), "")), token), JOSE_SIGNATURE);
}

static void a_token_that_says_another_algorithm_of_its_key_is_refused(void **state)
{
    for (unsigned a = ALG_RS256; a <= ALG_PS512; a++)
        for (unsigned b = ALG_RS256; b <= ALG_PS512; b++) {
            struct signer s = signer_of((enum jose_algorithm)a);
            char *token = test_token(&s, header_of((enum jose_algorithm)b, ""), "{}");
            assert_int_equal(verify_text(test_set(jwk_of(&s, "")), token), a == b ? JOSE_OK : JOSE_SIGNATURE);
        }
}

static void a_public_key_is_never_a_secret(void **state)
{
    struct signer rsa = signer_of(ALG_RS256), ec = signer_of(ALG_ES256);
    const struct signer *signers[] = { &rsa, &ec };
    for (size_t i = 0; i < ARRAY_LEN(signers); i++) {
        const char *jwk = jwk_of(signers[i], "");
        struct signer forger = { ALG_HS256, NULL, jwk }; /* the text that anyone can get */
        char *token = test_token(&forger, header_of(ALG_HS256, ""), "{}");
        assert_int_equal(verify_text(test_set(jwk), token), JOSE_UNKNOWN_KEY);
    }
    /* A set with both kinds: the secret is for HS alone. */
    char both[8192];
    snprintf(both, sizeof(both), "%s,%s", jwk_of(&rsa, ""), test_secret_jwk(SECRET, ""));
    struct signer forger = { ALG_HS256, NULL, jwk_of(&rsa, "") };
    assert_int_equal(verify_text(test_set(both), test_token(&forger, header_of(ALG_HS256, ""), "{}")), JOSE_SIGNATURE);
}

static void keys_that_a_token_brings_along_are_not_looked_at(void **state)
{
    struct signer own = signer_of(ALG_RS256), forger = { ALG_RS256, test_rsa(3072), NULL };
    char more[2048];
    snprintf(more, sizeof(more),
             ",\"jwk\":%s,\"jku\":\"http://127.0.0.1:1/k\",\"x5u\":\"http://127.0.0.1:1/x\",\"x5c\":[\"MII\"]",
             test_jwk(forger.pkey, ""));
    char *token = test_token(&forger, header_of(ALG_RS256, more), "{}");
    assert_int_equal(verify_text(test_set(jwk_of(&own, "")), token), JOSE_SIGNATURE);
    token = test_token(&own, header_of(ALG_RS256, more), "{}");
    assert_int_equal(verify_text(test_set(jwk_of(&own, "")), token),
                     JOSE_OK); /* nor does it harm that they are there */
}

/* ---- what somebody makes up ---- */

/* The token with another signature. */
static char *resigned(const char *token, struct slice signature)
{
    static char text[TEST_TEXT_MAX];
    const char *end = strrchr(token, '.');
    snprintf(text, sizeof(text), "%.*s.%s", (int)(end - token), token, test_base64url(signature));
    return text;
}

static size_t signature_of(const struct signer *s, const char *token, unsigned char ret_signature[1024])
{
    return test_sign(s, slice_make(token, (size_t)(strrchr(token, '.') - token)), ret_signature);
}

static void signatures_of_another_length_are_refused(void **state)
{
    for (unsigned a = 0; a < JOSE_ALGORITHM_COUNT; a++) {
        struct signer s = signer_of((enum jose_algorithm)a);
        char token[4096];
        unsigned char signature[2048] = { 0 };
        const char *set = test_set(jwk_of(&s, ""));
        snprintf(token, sizeof(token), "%s", test_token(&s, header_of(s.algorithm, ""), "{}"));
        size_t len = signature_of(&s, token, signature);
        const size_t lens[] = { 0, 1, len / 2, len - 1, len + 1, 2 * len };
        for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
            struct slice other = { (const char *)signature, lens[i] };
            assert_int_equal(verify_text(set, resigned(token, other)), JOSE_SIGNATURE);
        }
        struct slice whole = { (const char *)signature, len };
        assert_int_equal(verify_text(set, resigned(token, whole)), JOSE_OK);
    }
}

/* r and s are numbers from 1 to n - 1: zero, n itself and what is beyond it sign nothing. */
static void numbers_out_of_range_are_no_signature(void **state)
{
    for (unsigned a = ALG_ES256; a <= ALG_ES512; a++) {
        struct signer s = signer_of((enum jose_algorithm)a);
        unsigned char good[1024], made[1024], order[66];
        char token[4096], group[32];
        size_t group_len;
        const char *set = test_set(jwk_of(&s, ""));
        snprintf(token, sizeof(token), "%s", test_token(&s, header_of(s.algorithm, ""), "{}"));
        size_t len = signature_of(&s, token, good), half = len / 2;
        assert_int_equal(EVP_PKEY_get_group_name(s.pkey, group, sizeof(group), &group_len), 1);
        EC_GROUP *ec = EC_GROUP_new_by_curve_name(OBJ_txt2nid(group));
        assert_int_equal(BN_bn2binpad(EC_GROUP_get0_order(ec), order, (int)half), (int)half);
        EC_GROUP_free(ec);
        for (unsigned i = 0; i < 8; i++) {
            memcpy(made, good, len);
            unsigned char *half_at = made + (i & 1 ? half : 0);
            if (i < 2)
                memset(half_at, 0, half);
            else if (i < 4)
                memcpy(half_at, order, half);
            else if (i < 6)
                memset(half_at, 0xff, half);
            else
                memset(made, i == 6 ? 0 : 1, len);
            struct slice signature = { (const char *)made, len };
            assert_int_equal(verify_text(set, resigned(token, signature)), JOSE_SIGNATURE);
        }
    }
}

static void der_is_no_signature_of_jws(void **state)
{
    struct signer s = signer_of(ALG_ES256);
    char token[4096];
    unsigned char der[128];
    size_t der_len = sizeof(der);
    snprintf(token, sizeof(token), "%s", test_token(&s, header_of(ALG_ES256, ""), "{}"));
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, s.pkey, NULL), 1);
    assert_int_equal(EVP_DigestSign(ctx, der, &der_len, (unsigned char *)token, (size_t)(strrchr(token, '.') - token)),
                     1);
    EVP_MD_CTX_free(ctx);
    struct slice signature = { (const char *)der, der_len };
    assert_int_equal(verify_text(test_set(jwk_of(&s, "")), resigned(token, signature)), JOSE_SIGNATURE);
}

static void a_signature_on_another_curve_or_with_another_hash_is_refused(void **state)
{
    struct signer s = { ALG_ES256, test_ec("P-384"), NULL }; /* 96 bytes, and SHA-256 */
    char *token = test_token(&s, header_of(ALG_ES256, ""), "{}");
    assert_int_equal(verify_text(test_set(test_jwk(s.pkey, "")), token), JOSE_UNKNOWN_KEY);
    assert_int_equal(verify_text(test_set(test_jwk(test_ec("P-256"), "")), token), JOSE_SIGNATURE);
    token = test_token(&s, header_of(ALG_ES384, ""), "{}");
    assert_int_equal(verify_text(test_set(test_jwk(s.pkey, "")), token), JOSE_SIGNATURE);
}

/* ---- which key ---- */

static void a_key_id_chooses_and_one_without_fits_any(void **state)
{
    struct signer s = signer_of(ALG_RS256);
    EVP_PKEY *other = test_rsa(3072);
    char mine[2048], sets[3][8192];
    snprintf(mine, sizeof(mine), "%s", test_jwk(s.pkey, ",\"kid\":\"mine\""));
    snprintf(sets[0], sizeof(sets[0]), "{\"keys\":[%s,%s]}", test_jwk(other, ",\"kid\":\"other\""), mine);
    snprintf(sets[1], sizeof(sets[1]), "{\"keys\":[%s]}", test_jwk(s.pkey, ""));
    snprintf(sets[2], sizeof(sets[2]), "{\"keys\":[%s,%s]}", test_jwk(other, ",\"kid\":\"mine\""), mine); /* doubled */
    static const struct {
        const char *more;
        enum jose_fault faults[3];
    } cases[] = {
        { "", { JOSE_OK, JOSE_OK, JOSE_OK } },
        { ",\"kid\":\"mine\"", { JOSE_OK, JOSE_OK, JOSE_OK } },
        { ",\"kid\":\"other\"", { JOSE_SIGNATURE, JOSE_OK, JOSE_UNKNOWN_KEY } },
        { ",\"kid\":\"Mine\"", { JOSE_UNKNOWN_KEY, JOSE_OK, JOSE_UNKNOWN_KEY } },
        { ",\"kid\":\"\"", { JOSE_UNKNOWN_KEY, JOSE_OK, JOSE_UNKNOWN_KEY } },
        { ",\"kid\":\"mine\\u0000\"", { JOSE_UNKNOWN_KEY, JOSE_OK, JOSE_UNKNOWN_KEY } },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t j = 0; j < ARRAY_LEN(sets); j++) {
            char *token = test_token(&s, header_of(ALG_RS256, cases[i].more), "{}");
            enum jose_fault fault = verify_text(sets[j], token);
            if (fault != cases[i].faults[j])
                fail_msg("%s with set %zu: %s", cases[i].more, j, jose_fault_word(fault));
        }
}

static void a_set_without_ids_is_not_tried_to_its_end(void **state)
{
    struct signer s = signer_of(ALG_HS256);
    char set[8192];
    size_t len = (size_t)snprintf(set, sizeof(set), "{\"keys\":[");
    for (int i = 0; i < JOSE_TRIES_MAX; i++)
        len += (size_t)snprintf(set + len, sizeof(set) - len, "%s,",
                                test_secret_jwk("another secret, of 32 bytes or more", ""));
    snprintf(set + len, sizeof(set) - len, "%s]}", jwk_of(&s, ""));
    char *token = test_token(&s, header_of(ALG_HS256, ""), "{}");
    assert_int_equal(verify_text(set, token), JOSE_SIGNATURE);
}

static void a_key_is_used_for_the_algorithm_that_it_names_alone(void **state)
{
    struct signer s = signer_of(ALG_RS512);
    char *token = test_token(&s, header_of(ALG_RS512, ""), "{}");
    assert_int_equal(verify_text(test_set(jwk_of(&s, ",\"alg\":\"RS512\"")), token), JOSE_OK);
    assert_int_equal(verify_text(test_set(jwk_of(&s, ",\"alg\":\"RS256\"")), token), JOSE_UNKNOWN_KEY);
}

static void keys_serve_again_and_again(void **state)
{
    struct signer signers[] = { signer_of(ALG_HS512), signer_of(ALG_ES256), signer_of(ALG_PS256),
                                signer_of(ALG_EdDSA) };
    for (size_t i = 0; i < ARRAY_LEN(signers); i++) {
        struct jose_keys *keys = keys_of(test_set(jwk_of(&signers[i], "")));
        assert_int_equal(jose_keys_count(keys), 1);
        for (int round = 0; round < 6; round++) {
            struct jws jws;
            char *token = test_token(&signers[i], header_of(signers[i].algorithm, ""), "{}");
            if (round & 1)
                token[strlen(token) - 12] ^= 1;
            if (jws_parse(arena, slice_from(token), TEST_TEXT_MAX, UINT32_MAX, &jws) == JOSE_OK)
                assert_int_equal(jws_verify(keys, &jws), round & 1 ? JOSE_SIGNATURE : JOSE_OK);
        }
        jose_keys_free(keys);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_rfcs_verify_and_no_byte_of_them_may_change),
        cmocka_unit_test(every_algorithm_verifies_with_its_own_key_and_with_no_key_of_another_kind),
        cmocka_unit_test(a_token_that_says_another_algorithm_of_its_key_is_refused),
        cmocka_unit_test(a_public_key_is_never_a_secret),
        cmocka_unit_test(keys_that_a_token_brings_along_are_not_looked_at),
        cmocka_unit_test(signatures_of_another_length_are_refused),
        cmocka_unit_test(numbers_out_of_range_are_no_signature),
        cmocka_unit_test(der_is_no_signature_of_jws),
        cmocka_unit_test(a_signature_on_another_curve_or_with_another_hash_is_refused),
        cmocka_unit_test(a_key_id_chooses_and_one_without_fits_any),
        cmocka_unit_test(a_set_without_ids_is_not_tried_to_its_end),
        cmocka_unit_test(a_key_is_used_for_the_algorithm_that_it_names_alone),
        cmocka_unit_test(keys_serve_again_and_again),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
