/*
 * The key schedule of TLS 1.3 (RFC 8446, 7.1): HKDF over HMAC over a worker's two hashes, which were found once.
 *
 * A resumed handshake asks for 22 derivations, and OpenSSL's own finds its algorithms by name and makes its contexts
 * anew for each.  So a provider of ours, which each worker's library context prefers, offers the one algorithm
 * "TLS13-KDF", to libssl alone.  It also sees the two secrets that records.c goes on with: they are not written out as
 * text for a key log, as the library's other way of telling them would.
 */
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/provider.h>

#include "base/assert.h"
#include "tls/worker.h"

enum { BLOCK_MAX = 128, LABEL_MAX = 64 };

/* ---- HMAC (RFC 2104) and HKDF-Expand-Label ---- */

/* Made ready for the next at once: what it was last used for does not stay in it. */
static bool hash_parts(struct tls_hash *h, const unsigned char *pad, const struct slice *parts, int count,
                       unsigned char *ret_hash)
{
    bool done = (h->ready || EVP_DigestInit_ex2(h->context, h->digest, NULL) == 1) &&
                EVP_DigestUpdate(h->context, pad, pad ? h->block : 0) == 1;

    for (int i = 0; done && i < count; i++)
        done = EVP_DigestUpdate(h->context, parts[i].at, parts[i].len) == 1;
    done = done && EVP_DigestFinal_ex(h->context, ret_hash, NULL) == 1;
    h->ready = EVP_DigestInit_ex2(h->context, h->digest, NULL) == 1;
    return done;
}

static bool hmac(struct tls_hash *h, struct slice key, const struct slice *parts, int count, unsigned char *ret_mac)
{
    unsigned char pad[BLOCK_MAX], inner[TLS_HASH_MAX];

    if (key.len > h->block)
        return false;
    memset(pad, 0x36, h->block);
    for (size_t i = 0; i < key.len; i++)
        pad[i] ^= (unsigned char)key.at[i];
    bool made = hash_parts(h, pad, parts, count, inner);
    for (size_t i = 0; i < h->block; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    struct slice outer = { (const char *)inner, h->size };
    made = made && hash_parts(h, pad, &outer, 1, ret_mac);
    OPENSSL_cleanse(pad, sizeof(pad));
    OPENSSL_cleanse(inner, sizeof(inner));
    return made;
}

bool tls_expand(struct tls_hash *h, struct slice secret, struct slice label, struct slice context, unsigned char *to,
                size_t len)
{
    unsigned char info[4 + LABEL_MAX], block[TLS_HASH_MAX];

    if (len > h->size || label.len > LABEL_MAX - 6 || context.len > UINT8_MAX)
        return false;
    memcpy(info, (unsigned char[]){ 0, (unsigned char)len, (unsigned char)(6 + label.len) }, 3);
    memcpy(info + 3, "tls13 ", 6);
    memcpy(info + 9, label.at, label.len);
    info[9 + label.len] = (unsigned char)context.len;
    const struct slice parts[] = { { (const char *)info, 10 + label.len }, context, SLICE("\1") };
    bool made = hmac(h, secret, parts, 3, block);
    if (made)
        memcpy(to, block, len);
    OPENSSL_cleanse(block, sizeof(block));
    return made;
}

/* The next secret of the schedule: what came before, under "derived", is the salt for what is new. */
static bool next_secret(struct tls_hash *h, struct slice before, struct slice fresh, struct slice label,
                        unsigned char *ret_secret)
{
    static const char zeros[TLS_HASH_MAX];
    unsigned char salt[TLS_HASH_MAX];
    struct slice salt_slice = { (const char *)salt, before.at ? h->size : 0 },
                 input = fresh.at ? fresh : slice_make(zeros, h->size);
    bool made =
        (!before.at || tls_expand(h, before, label, slice_make((const char *)h->empty, h->size), salt, h->size)) &&
        hmac(h, salt_slice, &input, 1, ret_secret);

    OPENSSL_cleanse(salt, sizeof(salt));
    return made;
}

/* ---- the provider ---- */

/* What libssl asks for; an absent one has no address. */
struct question {
    struct slice digest, key, prefix, label, data, salt;
    int mode;
};

static void read_question(const OSSL_PARAM *p, struct question *q)
{
    const struct {
        const char *name;
        struct slice *to;
    } texts[] = {
        { OSSL_KDF_PARAM_DIGEST, &q->digest }, { OSSL_KDF_PARAM_KEY, &q->key },   { OSSL_KDF_PARAM_PREFIX, &q->prefix },
        { OSSL_KDF_PARAM_LABEL, &q->label },   { OSSL_KDF_PARAM_DATA, &q->data }, { OSSL_KDF_PARAM_SALT, &q->salt },
    };

    q->mode = -1;
    for (; p->key; p++) {
        if (p->key[0] == 'm' && !strcmp(p->key, OSSL_KDF_PARAM_MODE))
            (void)OSSL_PARAM_get_int(p, &q->mode);
        for (size_t i = 0; i < ARRAY_LEN(texts); i++)
            if (p->key[0] == texts[i].name[0] && !strcmp(p->key, texts[i].name)) {
                *texts[i].to = slice_make(p->data ? p->data : "", p->data_size);
                break;
            }
    }
}

static struct tls_hash *hash_named(struct tls_worker *worker, struct slice name)
{
    if (slice_eq(name, SLICE("SHA2-256")) || slice_eq(name, SLICE("SHA256")))
        return &worker->hashes[0];
    if (slice_eq(name, SLICE("SHA2-384")) || slice_eq(name, SLICE("SHA384")))
        return &worker->hashes[1];
    return NULL;
}

/* Those that the records after the handshake are protected with. */
static void tell_secret(struct tls_worker *worker, struct slice label, struct slice secret)
{
    bool in = slice_eq(label, SLICE("c ap traffic"));

    if (worker->shaking && (in || slice_eq(label, SLICE("s ap traffic"))))
        tls_records_secret(worker->shaking, in, secret);
}

static int derive(void *context, unsigned char *to, size_t len, const OSSL_PARAM *params)
{
    struct tls_worker *worker = context;
    struct question q = { .mode = -1 };

    if (!params)
        return 0;
    read_question(params, &q);
    struct tls_hash *h = hash_named(worker, q.digest);
    if (!h || !slice_eq(q.prefix, SLICE("tls13 ")))
        return 0;
    if (q.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
        return len == h->size && next_secret(h, q.salt, q.key, q.label, to);
    if (q.mode != EVP_KDF_HKDF_MODE_EXPAND_ONLY || !tls_expand(h, q.key, q.label, q.data, to, len))
        return 0;
    tell_secret(worker, q.label, slice_make((const char *)to, len));
    return 1;
}

/* All that a derivation needs is in its parameters: there is nothing to hold. */
static void *context_new(void *worker)
{
    return worker;
}

static void context_free(void *context)
{
}

static const OSSL_ALGORITHM *query(void *worker, int operation, int *ret_no_cache)
{
    static const OSSL_DISPATCH functions[] = { { OSSL_FUNC_KDF_NEWCTX, (void (*)(void))context_new },
                                               { OSSL_FUNC_KDF_FREECTX, (void (*)(void))context_free },
                                               { OSSL_FUNC_KDF_DERIVE, (void (*)(void))derive },
                                               { 0, NULL } };
    static const OSSL_ALGORITHM algorithms[] = { { "TLS13-KDF", "provider=maitred", functions, NULL },
                                                 { NULL, NULL, NULL, NULL } };

    *ret_no_cache = 0;
    return operation == OSSL_OP_KDF ? algorithms : NULL;
}

static _Thread_local struct tls_worker *starting; /* while its provider is loaded, as a start is told nothing */

static int start_provider(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *core,
                          const OSSL_DISPATCH **ret_functions, void **ret_context)
{
    static const OSSL_DISPATCH functions[] = { { OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query },
                                               { 0, NULL } };

    ENSURE(starting);
    *ret_context = starting;
    *ret_functions = functions;
    return 1;
}

/* ---- of a worker ---- */

static bool start_hash(OSSL_LIB_CTX *library, const char *name, struct tls_hash *h)
{
    h->digest = EVP_MD_fetch(library, name, NULL);
    h->context = EVP_MD_CTX_new();
    if (!h->digest || !h->context)
        return false;
    h->block = (size_t)EVP_MD_get_block_size(h->digest);
    h->size = (size_t)EVP_MD_get_size(h->digest);
    ENSURE(h->block <= BLOCK_MAX && h->size <= TLS_HASH_MAX);
    return hash_parts(h, NULL, NULL, 0, h->empty);
}

bool tls_schedule_start(struct tls_worker *worker)
{
    worker->providers[0] = OSSL_PROVIDER_load(worker->library, "default");
    starting = worker;
    if (OSSL_PROVIDER_add_builtin(worker->library, "maitred", start_provider) == 1)
        worker->providers[1] = OSSL_PROVIDER_load(worker->library, "maitred");
    starting = NULL;
    return worker->providers[0] && worker->providers[1] && start_hash(worker->library, "SHA256", &worker->hashes[0]) &&
           start_hash(worker->library, "SHA384", &worker->hashes[1]);
}

void tls_schedule_stop(struct tls_worker *worker)
{
    for (size_t i = 0; i < ARRAY_LEN(worker->hashes); i++) {
        EVP_MD_CTX_free(worker->hashes[i].context);
        EVP_MD_free(worker->hashes[i].digest);
    }
    for (size_t i = 0; i < ARRAY_LEN(worker->providers); i++)
        if (worker->providers[i])
            OSSL_PROVIDER_unload(worker->providers[i]);
}
