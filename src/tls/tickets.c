/*
 * Session tickets: the keys that make and open them.  One table for the whole process, so that a session made by one
 * worker, listener or configuration is resumed by any other (what it is bound to, names.c says).
 *
 *      control thread   writes the table under the lock, then raises the generation
 *      workers          compare the generation with that of their own copy for each ticket (an atomic load), and copy
 *                       the table under the lock when it differs: a few times a day
 *
 * Tickets are AES-256-CBC with HMAC-SHA-256 (RFC 5077, 4), encrypt-then-MAC as the library does it.  Keys of our own
 * leave the process only for the one that an upgrade starts (keep.c); their loss costs clients a full handshake.
 */
#include <errno.h>
#include <pthread.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/worker.h"

enum { KEY_FILE_BYTES = 80, ROTATE_S = 8 * 3600, ROTATE_CHECK_MAX_MS = 3600 * 1000 };

static struct {
    pthread_mutex_t lock;
    atomic_uint generation;
    struct tls_ticket_ring ring;   /* under the lock */
    uint64_t rotate_ms, accept_ms; /* the control thread's, as the two below */
    bool from_files;
} table = { .lock = PTHREAD_MUTEX_INITIALIZER, .rotate_ms = ROTATE_S * 1000ull, .accept_ms = ROTATE_S * 1000ull };

static uint64_t clock_ms(void)
{
    return sys->now_ns() / 1000000 + 1;
}

static void publish(const struct tls_ticket_ring *ring)
{
    pthread_mutex_lock(&table.lock);
    table.ring = *ring;
    atomic_fetch_add_explicit(&table.generation, 1, memory_order_release);
    pthread_mutex_unlock(&table.lock);
}

static void append(struct tls_ticket_ring *ring, const struct tls_ticket_key *key)
{
    if (ring->count < TLS_TICKET_KEYS_MAX)
        ring->keys[ring->count++] = *key;
}

static void append_fresh(struct tls_ticket_ring *ring, uint64_t now_ms)
{
    struct tls_ticket_key key = { .made_ms = now_ms };

    sys->random(key.name, sizeof(key.name));
    sys->random(key.mac, sizeof(key.mac));
    sys->random(key.cipher, sizeof(key.cipher));
    append(ring, &key);
    OPENSSL_cleanse(&key, sizeof(key));
}

static uint64_t age_ms(const struct tls_ticket_key *key, uint64_t now_ms)
{
    return now_ms > key->made_ms ? now_ms - key->made_ms : 0;
}

/* Those of our own that are not too old. */
static void append_ours(struct tls_ticket_ring *ring, uint64_t now_ms)
{
    for (unsigned i = 0; i < table.ring.count; i++) {
        const struct tls_ticket_key *key = &table.ring.keys[i];
        if (key->made_ms != 0 && age_ms(key, now_ms) < table.rotate_ms + table.accept_ms)
            append(ring, key);
    }
}

void tls_tickets_start(void)
{
    struct tls_ticket_ring ring = { 0 };

    append_fresh(&ring, clock_ms());
    publish(&ring);
    OPENSSL_cleanse(&ring, sizeof(ring));
}

void tls_tickets_ours(struct tls_ticket_ring *ret_ring)
{
    *ret_ring = (struct tls_ticket_ring){ 0 };
    append_ours(ret_ring, clock_ms());
}

void tls_tickets_take(const struct tls_ticket_ring *ring)
{
    publish(ring);
}

static int append_file(struct tls_ticket_ring *ring, const char *path, const struct tls_reporter *reporter)
{
    struct tls_ticket_key key = { .made_ms = 0 };
    struct tls_der file = { 0 };
    int rc = tls_file_read(path, reporter, &file);

    if (rc < 0)
        return rc;
    if (file.len == KEY_FILE_BYTES) {
        memcpy(key.name, file.at, sizeof(key.name));
        memcpy(key.mac, file.at + 16, sizeof(key.mac));
        memcpy(key.cipher, file.at + 48, sizeof(key.cipher));
        append(ring, &key);
        OPENSSL_cleanse(&key, sizeof(key));
    } else {
        tls_report(reporter, false,
                   "%s: a file of ticket keys has %d bytes, this one has %zu: make one with "
                   "`openssl rand -out %s %d`",
                   path, KEY_FILE_BYTES, file.len, path, KEY_FILE_BYTES);
        rc = -ERR_SYSTEM;
    }
    tls_der_free(&file);
    return rc;
}

int tls_tickets_use(const struct tls_ticket_settings *settings, const struct tls_reporter *reporter)
{
    struct tls_ticket_ring ring = { 0 };
    uint64_t now_ms = clock_ms();
    int rc = 0;

    if (settings->key_files.count > TLS_TICKET_KEYS_MAX) {
        tls_report(reporter, false, "more than %d files of ticket keys", TLS_TICKET_KEYS_MAX);
        return -ERR_SYSTEM;
    }
    for (size_t i = 0; i < settings->key_files.count; i++) {
        int one = append_file(&ring, settings->key_files.at[i], reporter);
        rc = rc ? rc : one;
    }
    if (rc == 0) {
        table.rotate_ms = (settings->rotate_s ? settings->rotate_s : ROTATE_S) * 1000ull;
        table.accept_ms = settings->accept_s ? settings->accept_s * 1000ull : table.rotate_ms;
        table.from_files = ring.count > 0;
        append_ours(&ring, now_ms);
        if (ring.count == 0)
            append_fresh(&ring, now_ms);
        publish(&ring);
    }
    OPENSSL_cleanse(&ring, sizeof(ring));
    return rc;
}

uint64_t tls_tickets_rotate(uint64_t now_ms)
{
    struct tls_ticket_ring ring = { 0 };
    const struct tls_ticket_key *newest = &table.ring.keys[0];

    if (table.from_files)
        return ROTATE_CHECK_MAX_MS;
    ENSURE(table.ring.count > 0);
    uint64_t age = age_ms(newest, now_ms);
    if (newest->made_ms == 0 || age >= table.rotate_ms) {
        append_fresh(&ring, now_ms);
        append_ours(&ring, now_ms);
        publish(&ring);
        OPENSSL_cleanse(&ring, sizeof(ring));
        age = 0;
    }
    return MIN(table.rotate_ms - age, (uint64_t)ROTATE_CHECK_MAX_MS);
}

/* ---- on workers ---- */

void tls_tickets_refresh(struct tls_ticket_ring *ring, unsigned *generation)
{
    if (*generation == atomic_load_explicit(&table.generation, memory_order_acquire))
        return;
    pthread_mutex_lock(&table.lock);
    *ring = table.ring;
    *generation = atomic_load_explicit(&table.generation, memory_order_relaxed);
    pthread_mutex_unlock(&table.lock);
}

static int find_key(const struct tls_ticket_ring *ring, const unsigned char *name)
{
    for (unsigned i = 0; i < ring->count; i++)
        if (!memcmp(ring->keys[i].name, name, sizeof(ring->keys[i].name)))
            return (int)i;
    return -1;
}

static bool set_mac(EVP_MAC_CTX *mac, const struct tls_ticket_key *key)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_END };

    return EVP_MAC_init(mac, key->mac, sizeof(key->mac), params) == 1;
}

/* As the library asks: 1 go on, 2 and renew, 0 no such key, -1 failed. */
int tls_tickets_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                         int encrypt)
{
    struct tls_session *s = SSL_get_app_data(ssl);
    struct tls_worker *worker = s->context->worker;

    tls_tickets_refresh(&worker->ring, &worker->ring_generation);
    int at = encrypt ? 0 : find_key(&worker->ring, name);
    if (at < 0)
        return 0;
    const struct tls_ticket_key *key = &worker->ring.keys[at];
    if (encrypt) {
        memcpy(name, key->name, sizeof(key->name));
        if (RAND_bytes_ex(worker->library, iv, 16, 0) != 1)
            return -1;
    }
    if (!set_mac(mac, key) ||
        EVP_CipherInit_ex2(cipher, worker->ticket_cipher, key->cipher, iv, encrypt ? 1 : 0, NULL) != 1)
        return -1;
    /* A ticket of TLS 1.3 is used once: else whoever looks on sees that it is the same client (RFC 8446, C.4). */
    return !encrypt && (at > 0 || SSL_version(ssl) >= TLS1_3_VERSION) ? 2 : 1;
}
