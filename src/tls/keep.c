/*
 * What outlives a change of user, and of the binary: files that only root may read, and the ticket keys of our own.
 *
 * A gateway reads its keys as root and then gives root up.  What it has read is remembered, so that a reload finds it
 * again; and an upgrade hands it to the next process, which never was root, with the keys of the tickets that clients
 * hold.  The bytes travel through memory that only the two processes share; they are those of one machine, and what is
 * not as it was written is refused as a whole.
 *
 *      8 bytes of magic, then records:  kind (1), length of the name (4), length of the bytes (4), name, bytes
 *
 * The control thread's.
 */
#include <openssl/crypto.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/worker.h"

enum { KEPT_FILE = 1, KEPT_TICKET_KEY = 2, KEPT_HEAD_BYTES = 9, KEPT_MAGIC_BYTES = 8 };

static const char magic[KEPT_MAGIC_BYTES + 1] = "MTRKEEP1";

struct kept {
    struct kept *next;
    char *path;
    struct tls_der bytes;
};

static struct kept *first;
static bool keeping;

void tls_keep_files(void)
{
    keeping = true;
}

static struct kept *find(const char *path)
{
    struct kept *kept = first;

    while (kept && strcmp(kept->path, path) != 0)
        kept = kept->next;
    return kept;
}

static struct tls_der copy_of(const unsigned char *at, size_t len)
{
    struct tls_der copy = { .at = mem_must(len + 1), .len = len };

    memcpy(copy.at, at, len);
    return copy;
}

void tls_keep_file(const char *path, const struct tls_der *bytes)
{
    if (!keeping)
        return;
    struct kept *kept = find(path);
    if (!kept) {
        kept = mem_must(sizeof(*kept));
        *kept = (struct kept){ .next = first, .path = mem_strdup(path) };
        first = kept;
    }
    tls_der_free(&kept->bytes);
    kept->bytes = copy_of(bytes->at, bytes->len);
}

bool tls_kept_file(const char *path, struct tls_der *ret_bytes)
{
    const struct kept *kept = keeping ? find(path) : NULL;

    if (kept)
        *ret_bytes = copy_of(kept->bytes.at, kept->bytes.len);
    return kept != NULL;
}

/* ---- handing over ---- */

static unsigned char *put(unsigned char *at, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(at, bytes, len);
    return at + len;
}

static unsigned char *put_record(unsigned char *at, unsigned char kind, struct slice name, const void *bytes,
                                 size_t len)
{
    const uint32_t lengths[2] = { (uint32_t)name.len, (uint32_t)len };

    *at++ = kind;
    at = put(at, lengths, sizeof(lengths));
    at = put(at, name.at, name.len);
    return put(at, bytes, len);
}

void tls_kept_export(unsigned char **ret_bytes, size_t *ret_len)
{
    struct tls_ticket_ring ours;
    size_t size = KEPT_MAGIC_BYTES;

    tls_tickets_ours(&ours);
    for (const struct kept *kept = first; kept; kept = kept->next)
        size += KEPT_HEAD_BYTES + strlen(kept->path) + kept->bytes.len;
    size += ours.count * (KEPT_HEAD_BYTES + sizeof(ours.keys[0]));
    unsigned char *bytes = mem_must(size), *at = put(bytes, magic, KEPT_MAGIC_BYTES);
    for (const struct kept *kept = first; kept; kept = kept->next)
        at = put_record(at, KEPT_FILE, slice_from(kept->path), kept->bytes.at, kept->bytes.len);
    for (unsigned i = 0; i < ours.count; i++)
        at = put_record(at, KEPT_TICKET_KEY, SLICE_EMPTY, &ours.keys[i], sizeof(ours.keys[i]));
    ENSURE((size_t)(at - bytes) == size);
    OPENSSL_cleanse(&ours, sizeof(ours));
    *ret_bytes = bytes;
    *ret_len = size;
}

void tls_kept_free(unsigned char *bytes, size_t len)
{
    OPENSSL_cleanse(bytes, len);
    mem_free(bytes);
}

struct record {
    unsigned char kind;
    struct slice name;
    struct tls_der bytes; /* within what is read */
};

/* False at the end, and where it makes no sense: then something is left. */
static bool next_record(unsigned char **at, size_t *left, struct record *ret_record)
{
    uint32_t lengths[2];

    if (*left < KEPT_HEAD_BYTES)
        return false;
    memcpy(lengths, *at + 1, sizeof(lengths));
    size_t len = KEPT_HEAD_BYTES + (size_t)lengths[0] + lengths[1];
    if (len > *left)
        return false;
    *ret_record = (struct record){ .kind = **at,
                                   .name = { (const char *)*at + KEPT_HEAD_BYTES, lengths[0] },
                                   .bytes = { *at + KEPT_HEAD_BYTES + lengths[0], lengths[1] } };
    *at += len;
    *left -= len;
    return true;
}

static bool is_sound(const struct record *r)
{
    if (r->kind == KEPT_FILE)
        return r->name.len > 0 && r->bytes.len > 0 && !memchr(r->name.at, '\0', r->name.len);
    return r->kind == KEPT_TICKET_KEY && r->bytes.len == sizeof(struct tls_ticket_key);
}

static void take_record(const struct record *r, struct tls_ticket_ring *ours)
{
    if (r->kind == KEPT_FILE) {
        char *path = mem_must(r->name.len + 1);
        memcpy(path, r->name.at, r->name.len);
        tls_keep_file(path, &r->bytes);
        mem_free(path);
    } else if (ours->count < TLS_TICKET_KEYS_MAX) {
        memcpy(&ours->keys[ours->count++], r->bytes.at, r->bytes.len);
    }
}

int tls_kept_import(unsigned char *bytes, size_t len)
{
    struct tls_ticket_ring ours = { 0 };
    struct record r;

    if (len < KEPT_MAGIC_BYTES || memcmp(bytes, magic, KEPT_MAGIC_BYTES) != 0)
        return -ERR_SYSTEM;
    unsigned char *at = bytes + KEPT_MAGIC_BYTES;
    size_t left = len - KEPT_MAGIC_BYTES;
    while (next_record(&at, &left, &r))
        if (!is_sound(&r))
            return -ERR_SYSTEM;
    if (left > 0)
        return -ERR_SYSTEM;
    at = bytes + KEPT_MAGIC_BYTES;
    left = len - KEPT_MAGIC_BYTES;
    keeping = true;
    while (next_record(&at, &left, &r))
        take_record(&r, &ours);
    if (ours.count > 0)
        tls_tickets_take(&ours);
    OPENSSL_cleanse(&ours, sizeof(ours));
    return 0;
}

void tls_kept_forget(void)
{
    for (struct kept *kept = first, *next; kept; kept = next) {
        next = kept->next;
        tls_der_free(&kept->bytes);
        mem_free(kept->path);
        mem_free(kept);
    }
    first = NULL;
    keeping = false;
}
