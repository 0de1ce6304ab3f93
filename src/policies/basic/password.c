/*
 * Digests of passwords.  Each part goes in behind its length, so that no two lists of parts give the same bytes.
 */
#include "policies/basic/password.h"

#include <pthread.h>

#include "base/assert.h"
#include "base/sys.h"

enum { PROCESS_KEY_BYTES = 32 };

static uint8_t process_key[PROCESS_KEY_BYTES];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void make_process_key(void)
{
    sys->random(process_key, sizeof(process_key));
}

void password_digest_for(struct jose_library *library, struct slice user, struct slice hash, struct slice password,
                         uint8_t ret_digest[KEY_DIGEST_BYTES])
{
    const struct slice parts[] = { { (const char *)process_key, sizeof(process_key) }, user, hash, password };
    EVP_MD_CTX *ctx = library->scratch;
    pthread_once(&process_key_once, make_process_key);
    bool fine = EVP_DigestInit_ex(ctx, library->hashes[HASH_SHA256], NULL) == 1;
    for (size_t i = 0; fine && i < sizeof(parts) / sizeof(parts[0]); i++) {
        uint64_t len = parts[i].len;
        fine = EVP_DigestUpdate(ctx, &len, sizeof(len)) == 1 && EVP_DigestUpdate(ctx, parts[i].at, parts[i].len) == 1;
    }
    /* SHA-256 that was fetched allocates nothing and cannot fail. */
    fine = fine && EVP_DigestFinal_ex(ctx, ret_digest, NULL) == 1;
    ENSURE(fine);
}

void password_digest(struct jose_library *library, struct slice user, struct slice password,
                     uint8_t ret_digest[KEY_DIGEST_BYTES])
{
    password_digest_for(library, user, SLICE(""), password, ret_digest);
}
