/* Our key schedule gives what OpenSSL's does, and what RFC 8448 prints, and refuses what it cannot do. */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>

#include "base/assert.h"
#include "pair.h"
#include "tls/worker.h"

/* ---- through the library, as libssl asks ---- */

struct question {
    int mode;
    const char *digest, *prefix, *label;
    struct slice key, salt, data; /* without an address: not given */
};

static int ask(const char *preference, const struct question *q, unsigned char *to, size_t len)
{
    OSSL_PARAM params[8], *p = params;
    int mode = q->mode;
    EVP_KDF *kdf = EVP_KDF_fetch(workers[0]->library, "TLS13-KDF", preference);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);

    EVP_KDF_free(kdf);
    assert_non_null(context);
    *p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)q->digest, 0);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (char *)q->prefix, strlen(q->prefix));
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (char *)q->label, strlen(q->label));
    if (q->key.at)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (char *)q->key.at, q->key.len);
    if (q->salt.at)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (char *)q->salt.at, q->salt.len);
    if (q->data.at)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_DATA, (char *)q->data.at, q->data.len);
    *p = OSSL_PARAM_construct_end();
    int rc = EVP_KDF_derive(context, to, len, params);
    EVP_KDF_CTX_free(context);
    ERR_clear_error();
    return rc;
}

static void assert_same(const struct question *q, size_t len)
{
    unsigned char ours[64] = { 0 }, theirs[64] = { 1 };

    assert_int_equal(ask("provider=maitred", q, ours, len), 1);
    assert_int_equal(ask("provider=default", q, theirs, len), 1);
    assert_memory_equal(ours, theirs, len);
}

static const char bytes[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

static void every_derivation_is_what_openssl_derives(void **state)
{
    static const char *const names[2][2] = { { "SHA256", "SHA2-256" }, { "SHA384", "SHA2-384" } };

    for (int i = 0; i < 4; i++) {
        size_t size = i < 2 ? 32 : 48;
        struct question q = { EVP_KDF_HKDF_MODE_EXPAND_ONLY, names[i / 2][i % 2], "tls13 ", "key",
                              .key = { bytes, size } };
        for (size_t len = 1; len <= size; len++)
            assert_same(&q, len);
        q.label = "c ap traffic";
        q.data = (struct slice){ bytes + 3, size };
        assert_same(&q, size);
        q = (struct question){ EVP_KDF_HKDF_MODE_EXTRACT_ONLY, names[i / 2][i % 2], "tls13 ", "derived" };
        assert_same(&q, size); /* the early secret without a key of an earlier session */
        q.key = (struct slice){ bytes, size };
        assert_same(&q, size); /* with one */
        q.salt = (struct slice){ bytes + 5, size };
        assert_same(&q, size); /* the handshake secret */
        q.key = (struct slice){ NULL, 0 };
        assert_same(&q, size); /* the master secret */
    }
}

static void what_tls_does_not_derive_is_refused(void **state)
{
    unsigned char out[64];
    const struct question sound = { EVP_KDF_HKDF_MODE_EXPAND_ONLY, "SHA256", "tls13 ", "key", .key = { bytes, 32 } };
    struct question q = sound;

    assert_int_equal(ask(TLS_PREFERENCE, &q, out, 32), 1);
    assert_int_not_equal(ask(TLS_PREFERENCE, &q, out, 33), 1);
    q.digest = "SHA512";
    assert_int_not_equal(ask(TLS_PREFERENCE, &q, out, 32), 1);
    q = sound;
    q.prefix = "dtls13";
    assert_int_not_equal(ask(TLS_PREFERENCE, &q, out, 32), 1);
    q = sound;
    q.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
    assert_int_not_equal(ask(TLS_PREFERENCE, &q, out, 32), 1);
    q = sound;
    q.label = bytes; /* 62 */
    assert_int_not_equal(ask(TLS_PREFERENCE, &q, out, 32), 1);
    q = sound;
    q.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
    assert_int_not_equal(ask(TLS_PREFERENCE, &q, out, 31), 1);
    char long_key[129] = { 0 };
    q = sound;
    q.key = (struct slice){ long_key, 65 }; /* longer than a block: HMAC would hash it */
    assert_int_not_equal(ask(TLS_PREFERENCE, &q, out, 32), 1);
}

/* RFC 8448, 3: the server's handshake traffic secret, and its write key and IV. */
static void a_published_trace_comes_out(void **state)
{
    static const unsigned char secret[32] = { 0xb6, 0x7b, 0x7d, 0x69, 0x0c, 0xc1, 0x6c, 0x4e, 0x75, 0xe5, 0x42,
                                              0x13, 0xcb, 0x2d, 0x37, 0xb4, 0xe9, 0xc9, 0x12, 0xbc, 0xde, 0xd9,
                                              0x10, 0x5d, 0x42, 0xbe, 0xfd, 0x59, 0xd3, 0x91, 0xad, 0x38 },
                               key[16] = { 0x3f, 0xce, 0x51, 0x60, 0x09, 0xc2, 0x17, 0x27,
                                           0xd0, 0xf2, 0xe4, 0xe8, 0x6e, 0xe4, 0x03, 0xbc },
                               iv[12] = { 0x5d, 0x31, 0x3e, 0xb2, 0x67, 0x12, 0x76, 0xee, 0x13, 0x00, 0x0b, 0x30 };
    unsigned char out[16];
    struct slice from = { (const char *)secret, sizeof(secret) };
    struct tls_hash *sha256 = &workers[0]->hashes[0];

    assert_true(tls_expand(sha256, from, SLICE("key"), SLICE_EMPTY, out, 16));
    assert_memory_equal(out, key, 16);
    assert_true(tls_expand(sha256, from, SLICE("iv"), SLICE_EMPTY, out, 12));
    assert_memory_equal(out, iv, 12);
}

/* ---- in a handshake ---- */

static void each_suite_goes_over_to_our_records_and_nobody_else_is_told_secrets(void **state)
{
    static const char *const suites[] = { "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                          "TLS_CHACHA20_POLY1305_SHA256" };

    certificate_make("a", "ec", "DNS:a.example", NULL);
    for (size_t i = 0; i < ARRAY_LEN(suites); i++) {
        struct tls_settings s = server_settings("a"), c = client_settings();
        c.ciphersuites = suites[i];
        struct tls_layer *server = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
        struct pair pair;
        for (int round = 0; round < 2; round++) { /* the second is resumed */
            pair_connect(&pair, server, client);
            assert_int_equal(pair.server.established, 0);
            assert_null(tls_session_of(&pair.server.t)->ssl);
            assert_null(tls_session_of(&pair.client.t)->records);
            assert_null(workers[0]->shaking);
            assert_true(text_is(pair.server.t.facts->cipher, suites[i]));
            pair_say(&pair.server.t, &pair.client.t, "from the server");
            pair_say(&pair.client.t, &pair.server.t, "from the client");
            assert_int_equal(pair.server.t.facts->resumed, round);
            pair_close(&pair);
        }
        tls_layer_drop(server);
        tls_layer_drop(client);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_derivation_is_what_openssl_derives, pair_set_up, pair_tear_down),
        cmocka_unit_test_setup_teardown(what_tls_does_not_derive_is_refused, pair_set_up, pair_tear_down),
        cmocka_unit_test_setup_teardown(a_published_trace_comes_out, pair_set_up, pair_tear_down),
        cmocka_unit_test_setup_teardown(each_suite_goes_over_to_our_records_and_nobody_else_is_told_secrets,
                                        pair_set_up, pair_tear_down),
    };

    return cmocka_run_group_tests(tests, certificates_begin, certificates_end);
}
