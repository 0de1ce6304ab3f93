/*
 * The library's start, and what each worker has of it.  A library context of its own keeps a worker's fetches of
 * algorithms, their counts of holders and its random generators away from the other workers' cache lines and locks.
 *
 * The library's memory comes from `sys`, as all other does: so torture runs fail its allocations too.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/worker.h"

/* free and realloc of nothing, and of size nothing, are asked for by the library. */
static void *library_alloc(size_t size, const char *file, int line)
{
    return size == 0 ? NULL : sys->alloc(size);
}

static void library_free(void *ptr, const char *file, int line)
{
    if (ptr)
        sys->free(ptr);
}

static void *library_realloc(void *ptr, size_t size, const char *file, int line)
{
    if (ptr == NULL)
        return library_alloc(size, file, line);
    if (size == 0) {
        library_free(ptr, file, line);
        return NULL;
    }
    return sys->realloc(ptr, size);
}

int tls_start(void)
{
    static bool started;

    if (started)
        return 0;
    if (CRYPTO_set_mem_functions(library_alloc, library_realloc, library_free) != 1)
        return -ERR_SYSTEM;
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS,
                         NULL) != 1)
        return -ERR_MEMORY;
    tls_tickets_start();
    started = true;
    return 0;
}

struct tls_worker *tls_worker_new(void)
{
    struct tls_worker *worker = mem_zalloc(sizeof(*worker));

    if (!worker)
        return NULL;
    worker->library = OSSL_LIB_CTX_new();
    worker->wire = tls_wire_new();
    worker->out = mem_alloc(TLS_OUT_BYTES);
    worker->record = mem_alloc(TLS_RECORD_BYTES);
    if (worker->library)
        worker->ticket_cipher = EVP_CIPHER_fetch(worker->library, "AES-256-CBC", NULL);
    if (worker->wire && worker->out && worker->record && worker->ticket_cipher)
        return worker;
    ERR_clear_error();
    tls_worker_free(worker);
    return NULL;
}

void tls_worker_free(struct tls_worker *worker)
{
    if (!worker)
        return;
    ENSURE(atomic_load_explicit(&worker->counters.contexts, memory_order_relaxed) == 0);
    EVP_CIPHER_free(worker->ticket_cipher);
    BIO_meth_free(worker->wire);
    OSSL_LIB_CTX_free(worker->library);
    mem_free(worker->out);
    mem_free(worker->record);
    OPENSSL_cleanse(&worker->ring, sizeof(worker->ring));
    mem_free(worker);
}

const struct tls_counters *tls_worker_counters(const struct tls_worker *worker)
{
    return &worker->counters;
}

const char *tls_reason_word(enum tls_reason reason)
{
    static const char *const words[TLS_REASON_COUNT] = {
#define X(name, word) [TLS_REASON_##name] = word,
        TLS_REASONS(X)
#undef X
    };

    ENSURE(reason < TLS_REASON_COUNT);
    return words[reason];
}
