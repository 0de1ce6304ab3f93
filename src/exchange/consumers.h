/*
 * Consumers: who may call, and by which credentials they are known.  The one place where credentials are looked up;
 * a configuration fills it, and whatever else comes to know consumers fills another.
 *
 *      control thread: consumers_new, consumers_add_..., then immutable      worker->consumers: the one in force there
 *
 * A table comes into force on a worker between two turns of its loop, with the snapshot that it belongs to. So nothing
 * of it may be held over a wait: who needs more than an answer at once copies it.
 *
 * Keys are known by SHA-256 alone. They are random and long, so a fast hash gives nothing away; passwords are not, and
 * have a slow one (crypt(3)), or stand in the configuration in the open and are then known by a hash under a key of
 * this process.
 *
 * Owner: counted (atomic); control drops the last reference.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct claim;
struct conf;

enum { KEY_DIGEST_BYTES = 32, KEY_BYTES_MAX = 512, PASSWORD_BYTES_MAX = 512, CONSUMERS_MAX = 100000 };

struct consumer {
    struct slice name;
    const struct slice *groups;
    const struct claim *attributes;
    unsigned group_count, attribute_count;
};

struct consumer_key {
    const struct consumer *consumer;
    struct slice id; /* for logs and services: not secret */
    uint8_t digest[KEY_DIGEST_BYTES];
    int64_t not_before_s, expires_s; /* since 1970; 0: no bound. It is good before `expires_s` */
};

struct consumer_login {
    const struct consumer *consumer;
    struct slice user;
    const char *hash;                 /* of crypt(3); NULL: `digest` */
    uint8_t digest[KEY_DIGEST_BYTES]; /* password_digest of the user and the password */
};

enum certificate_name { CERTIFICATE_SUBJECT, CERTIFICATE_SAN, CERTIFICATE_FINGERPRINT, CERTIFICATE_NAMES };
enum revoked_name { REVOKED_JTI, REVOKED_SUB, REVOKED_SID, REVOKED_NAMES };
extern const char *const revoked_words[REVOKED_NAMES]; /* "jti", "sub", "sid" */

struct consumers;

/* What there will be at most. `conf` is held: all texts live in it. */
struct consumers_room {
    size_t keys, names; /* names: logins, certificates and revocations together */
};
struct consumers *consumers_new(struct conf *conf, const struct consumers_room *room);
struct consumers *consumers_hold(struct consumers *consumers);
void consumers_drop(struct consumers *consumers); /* NULL is fine */

/* False: there is one of that digest, user or name. What is pointed to must live as long as the table. */
bool consumers_add_key(struct consumers *consumers, const struct consumer_key *key);
bool consumers_add_login(struct consumers *consumers, const struct consumer_login *login);
bool consumers_add_certificate(struct consumers *consumers, enum certificate_name kind, struct slice name,
                               const struct consumer *consumer);
bool consumers_revoke(struct consumers *consumers, enum revoked_name kind, struct slice name);

/* NULL: none; `consumers` may be NULL. How long a look-up takes depends on the digest, which nobody can choose who
 * does not have the key; the digests are compared in constant time all the same. */
const struct consumer_key *consumers_find_key(const struct consumers *consumers,
                                              const uint8_t digest[KEY_DIGEST_BYTES]);
const struct consumer_login *consumers_find_login(const struct consumers *consumers, struct slice user);
const struct consumer *consumers_find_certificate(const struct consumers *consumers, enum certificate_name kind,
                                                  struct slice name);
bool consumers_revoked(const struct consumers *consumers, enum revoked_name kind, struct slice name);
/* A login with a slow hash, to be checked in place of one that is not there: so that both take the same time. NULL when
 * none has one. */
const struct consumer_login *consumers_decoy(const struct consumers *consumers);

/* Without a branch that depends on what differs. */
bool digests_equal(const uint8_t a[KEY_DIGEST_BYTES], const uint8_t b[KEY_DIGEST_BYTES]);
