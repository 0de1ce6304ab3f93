/*
 * Signing as an authority does it, with OpenSSL's default library: nothing of src/jose is used but its table.
 */
#include "signing.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "base/assert.h"

enum { KEPT_MAX = 16, TEXTS = 64 };

static struct {
    char name[32];
    EVP_PKEY *pkey;
} kept[KEPT_MAX];
static unsigned kept_count;

static EVP_PKEY *keep(const char *name, EVP_PKEY *pkey)
{
    assert_non_null(pkey);
    assert_true(kept_count < KEPT_MAX);
    snprintf(kept[kept_count].name, sizeof(kept[0].name), "%s", name);
    kept[kept_count++].pkey = pkey;
    return pkey;
}

static EVP_PKEY *find(const char *name)
{
    for (unsigned i = 0; i < kept_count; i++)
        if (strcmp(kept[i].name, name) == 0)
            return kept[i].pkey;
    return NULL;
}

EVP_PKEY *test_rsa(unsigned bits)
{
    char name[32];
    snprintf(name, sizeof(name), "rsa%u", bits);
    EVP_PKEY *pkey = find(name);
    return pkey ? pkey : keep(name, EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits));
}

EVP_PKEY *test_ec(const char *group)
{
    EVP_PKEY *pkey = find(group);
    return pkey ? pkey : keep(group, EVP_PKEY_Q_keygen(NULL, NULL, "EC", group));
}

EVP_PKEY *test_okp(const char *type)
{
    EVP_PKEY *pkey = find(type);
    return pkey ? pkey : keep(type, EVP_PKEY_Q_keygen(NULL, NULL, type));
}

void test_keys_free(void)
{
    while (kept_count > 0)
        EVP_PKEY_free(kept[--kept_count].pkey);
}

static char *next_text(void)
{
    static char texts[TEXTS][TEST_TEXT_MAX];
    static unsigned turn;
    return texts[turn++ % TEXTS];
}

char *test_base64url(struct slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *text = next_text(), *at = text;
    unsigned held = 0, bits = 0;
    assert_true(bytes.len * 4 / 3 + 4 < TEST_TEXT_MAX);
    for (size_t i = 0; i < bytes.len; i++) {
        held = held << 8 | (unsigned char)bytes.at[i];
        for (bits += 8; bits >= 6; bits -= 6)
            *at++ = digits[held >> (bits - 6) & 63];
    }
    if (bits > 0)
        *at++ = digits[held << (6 - bits) & 63];
    *at = '\0';
    return text;
}

/* ---- JWKs ---- */

static char *number(EVP_PKEY *pkey, const char *param, int len)
{
    BIGNUM *value = NULL;
    unsigned char bytes[1024];
    assert_int_equal(EVP_PKEY_get_bn_param(pkey, param, &value), 1);
    int size = len ? len : BN_num_bytes(value);
    assert_int_equal(BN_bn2binpad(value, bytes, size), size);
    BN_free(value);
    return test_base64url(slice_make((const char *)bytes, (size_t)size));
}

char *test_jwk(EVP_PKEY *pkey, const char *more)
{
    char *text = next_text();
    unsigned char raw[64];
    size_t len = sizeof(raw);
    if (EVP_PKEY_is_a(pkey, "RSA")) {
        snprintf(text, TEST_TEXT_MAX, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", number(pkey, "n", 0),
                 number(pkey, "e", 0), more);
    } else if (EVP_PKEY_is_a(pkey, "EC")) {
        int bits = EVP_PKEY_get_bits(pkey), size = (bits + 7) / 8;
        snprintf(text, TEST_TEXT_MAX, "{\"kty\":\"EC\",\"crv\":\"P-%d\",\"x\":\"%s\",\"y\":\"%s\"%s}", bits,
                 number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, size), number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, size), more);
    } else {
        assert_int_equal(EVP_PKEY_get_raw_public_key(pkey, raw, &len), 1);
        snprintf(text, TEST_TEXT_MAX, "{\"kty\":\"OKP\",\"crv\":\"%s\",\"x\":\"%s\"%s}",
                 EVP_PKEY_is_a(pkey, "ED25519") ? "Ed25519" : "Ed448",
                 test_base64url(slice_make((const char *)raw, len)), more);
    }
    return text;
}

char *test_secret_jwk(const char *secret, const char *more)
{
    char *text = next_text();
    snprintf(text, TEST_TEXT_MAX, "{\"kty\":\"oct\",\"k\":\"%s\"%s}", test_base64url(slice_from(secret)), more);
    return text;
}

char *test_set(const char *jwks)
{
    char *text = next_text();
    snprintf(text, TEST_TEXT_MAX, "{\"keys\":[%s]}", jwks);
    return text;
}

/* ---- signatures ---- */

static const char *hash_name(enum jose_hash hash)
{
    static const char *const names[] = { NULL, "SHA256", "SHA384", "SHA512" };
    return names[hash];
}

/* From DER to two numbers of full length. */
static size_t to_pair(const unsigned char *der, size_t len, EVP_PKEY *pkey, unsigned char *ret_signature)
{
    int size = (EVP_PKEY_get_bits(pkey) + 7) / 8;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)len);
    assert_non_null(pair);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(pair), ret_signature, size), size);
    assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(pair), ret_signature + size, size), size);
    ECDSA_SIG_free(pair);
    return 2 * (size_t)size;
}

size_t test_sign(const struct signer *signer, struct slice text, unsigned char ret_signature[1024])
{
    const struct jose_algorithm_info *info = jose_algorithm_info(signer->algorithm);
    unsigned char made[1024];
    size_t len = sizeof(made);
    if (!signer->pkey) {
        assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, hash_name(info->hash), NULL, signer->secret,
                                  strlen(signer->secret), (const unsigned char *)text.at, text.len, ret_signature, 1024,
                                  &len));
        return len;
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_ctx = NULL;
    assert_int_equal(EVP_DigestSignInit_ex(ctx, &key_ctx, hash_name(info->hash), NULL, NULL, signer->pkey, NULL), 1);
    if (info->pss) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(key_ctx, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(key_ctx, RSA_PSS_SALTLEN_DIGEST), 1);
    }
    assert_int_equal(EVP_DigestSign(ctx, made, &len, (const unsigned char *)text.at, text.len), 1);
    EVP_MD_CTX_free(ctx);
    if (info->kind == JWK_EC)
        return to_pair(made, len, signer->pkey, ret_signature);
    memcpy(ret_signature, made, len);
    return len;
}

char *test_token(const struct signer *signer, const char *header, const char *payload)
{
    char *text = next_text();
    unsigned char signature[1024];
    int len =
        snprintf(text, TEST_TEXT_MAX, "%s.%s", test_base64url(slice_from(header)), test_base64url(slice_from(payload)));
    assert_true(len > 0 && len < TEST_TEXT_MAX - 2048);
    size_t size = test_sign(signer, slice_make(text, (size_t)len), signature);
    snprintf(text + len, TEST_TEXT_MAX - (size_t)len, ".%s", test_base64url(slice_make((const char *)signature, size)));
    return text;
}
