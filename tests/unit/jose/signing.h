/*
 * An authority for tests: keys made on the spot, their JWKs, and tokens with any header and payload.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/evp.h>

#include "base/slice.h"
#include "jose/algorithm.h"

enum { TEST_TEXT_MAX = 32768 };

struct signer {
    enum jose_algorithm algorithm;
    EVP_PKEY *pkey; /* NULL: a secret */
    const char *secret;
};

/* Made once a process and shared; the kinds of key that tests need. */
EVP_PKEY *test_rsa(unsigned bits);
EVP_PKEY *test_ec(const char *group);
EVP_PKEY *test_okp(const char *type);
void test_keys_free(void);

/* Into static memory, one of a few in turn. */
char *test_base64url(struct slice bytes);
/* `more`: members behind a comma, such as ",\"kid\":\"a\"", or "". */
char *test_jwk(EVP_PKEY *pkey, const char *more);
char *test_secret_jwk(const char *secret, const char *more);
char *test_set(const char *jwks); /* {"keys":[...]} */
/* The signature as JWS has it; returns its length. */
size_t test_sign(const struct signer *signer, struct slice text, unsigned char ret_signature[1024]);
char *test_token(const struct signer *signer, const char *header, const char *payload);
