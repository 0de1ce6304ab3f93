/*
 * The library context of a thread, made with the first that wants it and gone with the last.
 */
#include "jose/library.h"

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "base/assert.h"
#include "base/sys.h"

static _Thread_local struct jose_library *of_thread;

static void free_parts(struct jose_library *library)
{
    EVP_MD_CTX_free(library->scratch);
    EVP_MAC_free(library->hmac);
    for (unsigned i = 0; i < JOSE_HASHES; i++)
        EVP_MD_free(library->hashes[i]);
    OSSL_LIB_CTX_free(library->context);
    mem_free(library);
}

static struct jose_library *make(void)
{
    static const char *const names[JOSE_HASHES] = {
        [HASH_SHA256] = "SHA256", [HASH_SHA384] = "SHA384", [HASH_SHA512] = "SHA512"
    };
    struct jose_library *library = mem_zalloc(sizeof(*library));
    if (!library)
        return NULL;
    library->context = OSSL_LIB_CTX_new();
    bool whole = library->context != NULL;
    for (unsigned i = HASH_NONE + 1; whole && i < JOSE_HASHES; i++) {
        library->hashes[i] = EVP_MD_fetch(library->context, names[i], NULL);
        whole = library->hashes[i] != NULL;
    }
    library->hmac = whole ? EVP_MAC_fetch(library->context, "HMAC", NULL) : NULL;
    library->scratch = library->hmac ? EVP_MD_CTX_new() : NULL;
    if (library->scratch)
        return library;
    ERR_clear_error();
    free_parts(library);
    return NULL;
}

struct jose_library *jose_library_get(void)
{
    if (!of_thread)
        of_thread = make();
    if (of_thread)
        of_thread->refs++;
    return of_thread;
}

void jose_library_put(struct jose_library *library)
{
    ENSURE(library == of_thread && library->refs > 0);
    if (--library->refs > 0)
        return;
    free_parts(library);
    of_thread = NULL;
}
