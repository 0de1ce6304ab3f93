/*
 * The library's start, and what each worker has of it.  A library context of its own keeps a worker's fetches of
 * algorithms, their counts of holders and its random generators away from the other workers' cache lines and locks.
 *
 * The library's memory comes from `sys`, as all other does: so torture runs fail its allocations too.
 */
#include <openssl/core_names.h>
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

/* Once, and not for each record or ticket: finding an algorithm by its name costs more than using it. */
static bool fetch(struct tls_worker *worker)
{
    static const char *const ciphers[] = { "AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305" };
    bool fetched = true;

    worker->ticket_cipher = EVP_CIPHER_fetch(worker->library, "AES-256-CBC", NULL);
    for (size_t i = 0; i < ARRAY_LEN(ciphers); i++) {
        worker->record_ciphers[i] = EVP_CIPHER_fetch(worker->library, ciphers[i], NULL);
        fetched = fetched && worker->record_ciphers[i];
    }
    return fetched && worker->ticket_cipher;
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
    worker->in = mem_alloc(TLS_IN_BYTES);
    if (worker->library && tls_schedule_start(worker) && fetch(worker) && worker->wire && worker->out && worker->in &&
        worker->record)
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
    for (size_t i = 0; i < ARRAY_LEN(worker->record_ciphers); i++)
        EVP_CIPHER_free(worker->record_ciphers[i]);
    tls_schedule_stop(worker);
    if (worker->in)
        OPENSSL_cleanse(worker->in, TLS_IN_BYTES); /* opened in place at times */
    if (worker->record)
        OPENSSL_cleanse(worker->record, TLS_RECORD_BYTES);
    mem_free(worker->in);
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
