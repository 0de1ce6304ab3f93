/*
 * Checking signatures with OpenSSL's EVP.  It wants ECDSA's r and s in DER where JWS has them as two numbers of full
 * length (RFC 7518, 3.4), so their DER is written here, which leaves one form of it and no parser in between.
 *
 * ECDSA knows two values of s for each signature; both are taken, as signers make both.  Nothing here or in the cache
 * of tokens identifies a token by its signature.
 */
#include "jose/verify.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "base/assert.h"
#include "base/sys.h"
#include "jose/library.h"

enum {
    COORDINATE_MAX = 66,
    POINT_MAX = 1 + 2 * COORDINATE_MAX,
    DER_MAX = 3 + 2 * (2 + 1 + COORDINATE_MAX),
    HMAC_MAX = 64,
    ED25519_SIGNATURE = 64,
    ED448_SIGNATURE = 114,
};

struct ready_key {
    uint32_t algorithms;
    uint8_t kind, curve;
    char *key_id; /* NULL: none */
    size_t key_id_len;
    EVP_PKEY *pkey;                 /* NULL: a secret */
    EVP_MAC_CTX *macs[JOSE_HASHES]; /* of a secret, by hash; keyed */
    unsigned signature_bytes;       /* RSA: the modulus' length */
};

struct jose_keys {
    struct jose_library *library;
    unsigned count;
    struct ready_key v[];
};

/* ---- making keys ---- */

static EVP_PKEY *from_params(struct jose_library *library, const char *type, OSSL_PARAM_BLD *build)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = params ? EVP_PKEY_CTX_new_from_name(library->context, type, NULL) : NULL;
    EVP_PKEY *pkey = NULL;
    if (ctx && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

static EVP_PKEY *make_rsa(struct jose_library *library, const struct jwk *jwk)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_bin2bn((const unsigned char *)jwk->n.at, (int)jwk->n.len, NULL);
    BIGNUM *e = BN_bin2bn((const unsigned char *)jwk->e.at, (int)jwk->e.len, NULL);
    EVP_PKEY *pkey = NULL;
    if (build && n && e && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        pkey = from_params(library, "RSA", build);
    BN_free(n);
    BN_free(e);
    OSSL_PARAM_BLD_free(build);
    return pkey;
}

/* Is the point on its curve, and in its group? */
static bool is_sound(struct jose_library *library, EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(library->context, pkey, NULL);
    bool sound = ctx && EVP_PKEY_public_check(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    return sound;
}

static EVP_PKEY *make_ec(struct jose_library *library, const struct jwk *jwk)
{
    static const char *const groups[] = { [CURVE_P256] = "P-256", [CURVE_P384] = "P-384", [CURVE_P521] = "P-521" };
    unsigned char point[POINT_MAX];
    size_t len = jwk->x.len;
    ENSURE(jwk->curve >= CURVE_P256 && jwk->curve <= CURVE_P521 && len == jwk->y.len && len <= COORDINATE_MAX);
    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    memcpy(point + 1, jwk->x.at, len);
    memcpy(point + 1 + len, jwk->y.at, len);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;
    if (build && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, groups[jwk->curve], 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * len) == 1)
        pkey = from_params(library, "EC", build);
    OSSL_PARAM_BLD_free(build);
    if (!pkey || is_sound(library, pkey))
        return pkey;
    EVP_PKEY_free(pkey);
    return NULL;
}

static EVP_PKEY *make_okp(struct jose_library *library, const struct jwk *jwk)
{
    return EVP_PKEY_new_raw_public_key_ex(library->context, jwk->curve == CURVE_ED25519 ? "ED25519" : "ED448", NULL,
                                          (const unsigned char *)jwk->x.at, jwk->x.len);
}

static bool make_macs(struct jose_library *library, const struct jwk *jwk, struct ready_key *key)
{
    for (enum jose_algorithm a = ALG_HS256; a <= ALG_HS512; a++) {
        enum jose_hash hash = jose_algorithm_info(a)->hash;
        if (!(jwk->algorithms & jose_algorithm_bit(a)))
            continue;
        char *name = (char *)(uintptr_t)EVP_MD_get0_name(library->hashes[hash]); /* which is only read */
        OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0), OSSL_PARAM_END };
        key->macs[hash] = EVP_MAC_CTX_new(library->hmac);
        if (!key->macs[hash] ||
            EVP_MAC_init(key->macs[hash], (const unsigned char *)jwk->secret.at, jwk->secret.len, params) != 1)
            return false;
    }
    return true;
}

static bool make_key(struct jose_library *library, const struct jwk *jwk, struct ready_key *key)
{
    key->algorithms = jwk->algorithms;
    key->kind = jwk->kind;
    key->curve = jwk->curve;
    key->signature_bytes = (unsigned)jwk->n.len;
    if (jwk->kind == JWK_SECRET)
        return make_macs(library, jwk, key);
    key->pkey = jwk->kind == JWK_RSA  ? make_rsa(library, jwk)
                : jwk->kind == JWK_EC ? make_ec(library, jwk)
                                      : make_okp(library, jwk);
    return key->pkey != NULL;
}

static void key_done(struct ready_key *key)
{
    EVP_PKEY_free(key->pkey);
    for (unsigned i = 0; i < JOSE_HASHES; i++)
        EVP_MAC_CTX_free(key->macs[i]); /* wipes the secret */
    mem_free(key->key_id);
    *key = (struct ready_key){ 0 };
}

static int keep_id(struct slice id, struct ready_key *key)
{
    if (!id.at)
        return 0;
    key->key_id = mem_alloc(id.len + 1);
    if (!key->key_id)
        return -ERR_MEMORY;
    memcpy(key->key_id, id.at, id.len);
    key->key_id_len = id.len;
    return 0;
}

int jose_keys_new(struct jose_library *library, const struct jwks *jwks, struct jose_keys **ret_keys)
{
    struct jose_keys *keys = mem_zalloc(sizeof(*keys) + jwks->count * sizeof(keys->v[0]));
    if (!keys)
        return -ERR_MEMORY;
    keys->library = library;
    for (unsigned i = 0; i < jwks->count; i++) {
        struct ready_key *key = &keys->v[keys->count];
        if (!make_key(library, &jwks->keys[i], key)) {
            key_done(key);
            continue;
        }
        keys->count++;
        if (keep_id(jwks->keys[i].key_id, key) < 0) {
            jose_keys_free(keys);
            return -ERR_MEMORY;
        }
    }
    ERR_clear_error();
    *ret_keys = keys;
    return 0;
}

void jose_keys_free(struct jose_keys *keys)
{
    for (unsigned i = 0; i < keys->count; i++)
        key_done(&keys->v[i]);
    mem_free(keys);
}

unsigned jose_keys_count(const struct jose_keys *keys)
{
    return keys->count;
}

/* ---- signatures ---- */

/* An INTEGER of DER: no leading zeros but one where the number would look negative. False for zero. */
static bool put_integer(const unsigned char *number, size_t len, unsigned char **at)
{
    while (len > 0 && *number == 0) {
        number++;
        len--;
    }
    if (len == 0)
        return false;
    bool zero = number[0] & 0x80;
    unsigned char *to = *at;
    *to++ = 0x02;
    *to++ = (unsigned char)(len + zero);
    if (zero)
        *to++ = 0;
    memcpy(to, number, len);
    *at = to + len;
    return true;
}

/* SEQUENCE { r, s }; 0 when the numbers could be no signature. */
static size_t ecdsa_der(struct slice signature, unsigned char der[DER_MAX])
{
    unsigned char body[DER_MAX], *at = body;
    const unsigned char *r = (const unsigned char *)signature.at;
    size_t half = signature.len / 2;
    if (!put_integer(r, half, &at) || !put_integer(r + half, half, &at))
        return 0;
    size_t len = (size_t)(at - body), head = 2;
    der[0] = 0x30;
    der[1] = (unsigned char)len;
    if (len >= 0x80) {
        der[1] = 0x81;
        der[2] = (unsigned char)len;
        head = 3;
    }
    memcpy(der + head, body, len);
    return head + len;
}

static bool set_padding(EVP_PKEY_CTX *ctx, bool pss)
{
    if (EVP_PKEY_CTX_set_rsa_padding(ctx, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) != 1)
        return false;
    return !pss || EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static bool check_evp(const struct jose_keys *keys, const struct ready_key *key, enum jose_algorithm algorithm,
                      struct slice text, struct slice signature)
{
    const struct jose_algorithm_info *info = jose_algorithm_info(algorithm);
    struct jose_library *library = keys->library;
    EVP_PKEY_CTX *ctx = NULL;
    const char *hash = info->hash == HASH_NONE ? NULL : EVP_MD_get0_name(library->hashes[info->hash]);
    bool good = EVP_DigestVerifyInit_ex(library->scratch, &ctx, hash, library->context, NULL, key->pkey, NULL) == 1 &&
                (info->kind != JWK_RSA || set_padding(ctx, info->pss)) &&
                EVP_DigestVerify(library->scratch, (const unsigned char *)signature.at, signature.len,
                                 (const unsigned char *)text.at, text.len) == 1;
    EVP_MD_CTX_reset(library->scratch);
    if (!good)
        ERR_clear_error();
    return good;
}

static bool check_mac(const struct ready_key *key, enum jose_algorithm algorithm, struct slice text,
                      struct slice signature)
{
    enum jose_hash hash = jose_algorithm_info(algorithm)->hash;
    EVP_MAC_CTX *mac = key->macs[hash];
    unsigned char made[HMAC_MAX];
    size_t len = 0;
    bool done = EVP_MAC_init(mac, NULL, 0, NULL) == 1 &&
                EVP_MAC_update(mac, (const unsigned char *)text.at, text.len) == 1 &&
                EVP_MAC_final(mac, made, &len, sizeof(made)) == 1;
    return done && len == signature.len && CRYPTO_memcmp(made, signature.at, len) == 0;
}

/* The exact length that the algorithm's signatures have with this key. */
static size_t signature_len(const struct ready_key *key, enum jose_algorithm algorithm)
{
    switch (key->kind) {
    case JWK_RSA:
        return key->signature_bytes;
    case JWK_EC:
        return 2 * jwk_curve_bytes((enum jwk_curve)key->curve);
    case JWK_OKP:
        return key->curve == CURVE_ED25519 ? ED25519_SIGNATURE : ED448_SIGNATURE;
    default:
        return jose_hash_bytes(jose_algorithm_info(algorithm)->hash);
    }
}

static bool check(const struct jose_keys *keys, const struct ready_key *key, const struct jws *jws)
{
    unsigned char der[DER_MAX];
    ENSURE(key->kind == jose_algorithm_info(jws->algorithm)->kind);
    if (jws->signature.len != signature_len(key, jws->algorithm))
        return false;
    if (key->kind == JWK_SECRET)
        return check_mac(key, jws->algorithm, jws->signed_text, jws->signature);
    if (key->kind != JWK_EC)
        return check_evp(keys, key, jws->algorithm, jws->signed_text, jws->signature);
    size_t len = ecdsa_der(jws->signature, der);
    return len > 0 && check_evp(keys, key, jws->algorithm, jws->signed_text, slice_make((const char *)der, len));
}

static bool may_try(const struct ready_key *key, const struct jws *jws)
{
    if (!(key->algorithms & jose_algorithm_bit(jws->algorithm)))
        return false;
    return !jws->key_id.at || !key->key_id || slice_eq(jws->key_id, slice_make(key->key_id, key->key_id_len));
}

enum jose_fault jws_verify(const struct jose_keys *keys, const struct jws *jws)
{
    unsigned tries = 0;
    for (unsigned i = 0; i < keys->count && tries < JOSE_TRIES_MAX; i++) {
        if (!may_try(&keys->v[i], jws))
            continue;
        tries++;
        if (check(keys, &keys->v[i], jws))
            return JOSE_OK;
    }
    return tries > 0 ? JOSE_SIGNATURE : JOSE_UNKNOWN_KEY;
}
