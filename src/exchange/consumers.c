/*
 * The table of consumers: keys by digest, everything else by its kind and text, each in a table with open addressing
 * that is at most half full.  Hashes are keyed (base/hash.h), so that nobody can choose what collides.
 */
#include "exchange/consumers.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "conf/conf.h"

const char *const revoked_words[REVOKED_NAMES] = { "jti", "sub", "sid" };

enum { KIND_LOGIN, KIND_CERTIFICATE, KIND_REVOKED = KIND_CERTIFICATE + CERTIFICATE_NAMES };

struct named {
    struct slice text;
    const void *what; /* struct consumer_login, struct consumer; of a revocation the table itself */
    unsigned kind;
};

struct consumers {
    atomic_uint refs;
    struct conf *conf;
    const struct consumer_key **keys; /* by digest */
    struct named *names;              /* by kind and text; text.at == NULL: free */
    size_t key_mask, name_mask;       /* number of places, a power of two, less one */
    size_t key_count, name_count;
    const struct consumer_login *decoy;
};

/* At least one stays free, which is where a search ends. */
static size_t mask_for(size_t count)
{
    size_t size = 4;
    while (size < 2 * count)
        size *= 2;
    return size - 1;
}

struct consumers *consumers_new(struct conf *conf, const struct consumers_room *room)
{
    struct consumers *c = mem_must(sizeof(*c));
    *c = (struct consumers){
        .refs = 1, .conf = conf_hold(conf), .key_mask = mask_for(room->keys), .name_mask = mask_for(room->names)
    };
    c->keys = mem_must((c->key_mask + 1) * sizeof(struct consumer_key *));
    c->names = mem_must((c->name_mask + 1) * sizeof(*c->names));
    return c;
}

struct consumers *consumers_hold(struct consumers *consumers)
{
    atomic_fetch_add_explicit(&consumers->refs, 1, memory_order_relaxed);
    return consumers;
}

void consumers_drop(struct consumers *consumers)
{
    if (!consumers || atomic_fetch_sub_explicit(&consumers->refs, 1, memory_order_acq_rel) != 1)
        return;
    mem_free(consumers->keys);
    mem_free(consumers->names);
    conf_free(consumers->conf);
    mem_free(consumers);
}

bool digests_equal(const uint8_t a[KEY_DIGEST_BYTES], const uint8_t b[KEY_DIGEST_BYTES])
{
    volatile uint8_t differs = 0; /* or a compiler may stop at the first that does */
    for (size_t i = 0; i < KEY_DIGEST_BYTES; i++)
        differs |= a[i] ^ b[i];
    return differs == 0;
}

/* ---- keys ---- */

/* Where it is, or the free place where it would be. */
static size_t key_place(const struct consumers *c, const uint8_t digest[KEY_DIGEST_BYTES])
{
    size_t at = hash_bytes(slice_make((const char *)digest, KEY_DIGEST_BYTES)) & c->key_mask;
    while (c->keys[at] && !digests_equal(c->keys[at]->digest, digest))
        at = (at + 1) & c->key_mask;
    return at;
}

bool consumers_add_key(struct consumers *consumers, const struct consumer_key *key)
{
    size_t at = key_place(consumers, key->digest);
    if (consumers->keys[at])
        return false;
    ENSURE(consumers->key_count < consumers->key_mask);
    consumers->keys[at] = key;
    consumers->key_count++;
    return true;
}

const struct consumer_key *consumers_find_key(const struct consumers *consumers, const uint8_t digest[KEY_DIGEST_BYTES])
{
    return consumers ? consumers->keys[key_place(consumers, digest)] : NULL;
}

/* ---- names ---- */

static struct named *name_place(const struct consumers *c, unsigned kind, struct slice text)
{
    size_t at = hash_mix(hash_bytes(text) + kind) & c->name_mask;
    while (c->names[at].text.at && !(c->names[at].kind == kind && slice_eq(c->names[at].text, text)))
        at = (at + 1) & c->name_mask;
    return &c->names[at];
}

static const void *find(const struct consumers *c, unsigned kind, struct slice text)
{
    return c && text.at && c->name_count > 0 ? name_place(c, kind, text)->what : NULL;
}

static bool add(struct consumers *c, unsigned kind, struct slice text, const void *what)
{
    ENSURE(text.at && what);
    struct named *place = name_place(c, kind, text);
    if (place->what)
        return false;
    ENSURE(c->name_count < c->name_mask);
    *place = (struct named){ text, what, kind };
    c->name_count++;
    return true;
}

bool consumers_add_login(struct consumers *consumers, const struct consumer_login *login)
{
    if (!add(consumers, KIND_LOGIN, login->user, login))
        return false;
    if (login->hash && !consumers->decoy)
        consumers->decoy = login;
    return true;
}

bool consumers_add_certificate(struct consumers *consumers, enum certificate_name kind, struct slice name,
                               const struct consumer *consumer)
{
    return add(consumers, KIND_CERTIFICATE + kind, name, consumer);
}

bool consumers_revoke(struct consumers *consumers, enum revoked_name kind, struct slice name)
{
    return add(consumers, KIND_REVOKED + kind, name, consumers);
}

const struct consumer_login *consumers_find_login(const struct consumers *consumers, struct slice user)
{
    return find(consumers, KIND_LOGIN, user);
}

const struct consumer *consumers_find_certificate(const struct consumers *consumers, enum certificate_name kind,
                                                  struct slice name)
{
    return find(consumers, KIND_CERTIFICATE + kind, name);
}

bool consumers_revoked(const struct consumers *consumers, enum revoked_name kind, struct slice name)
{
    return find(consumers, KIND_REVOKED + kind, name) != NULL;
}

const struct consumer_login *consumers_decoy(const struct consumers *consumers)
{
    return consumers ? consumers->decoy : NULL;
}
