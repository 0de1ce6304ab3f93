/*
 * OpenSSL as one thread uses it to check signatures: a library context of its own with the algorithms fetched, so that
 * workers never meet at a lock or a counter inside of the library.
 *
 * Counted by thread: what is got on a thread is put back on it.
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/types.h>

#include "base/err.h"
#include "jose/algorithm.h"

struct jose_library {
    OSSL_LIB_CTX *context;
    EVP_MD *hashes[JOSE_HASHES]; /* [HASH_NONE] is NULL */
    EVP_MAC *hmac;
    EVP_MD_CTX *scratch; /* of one verification */
    unsigned refs;
};

/* The thread's; NULL without memory. */
struct jose_library *jose_library_get(void);
void jose_library_put(struct jose_library *library);
