/*
 * From `consumers` and `revoked` to the table.  It lives as long as the configuration, whose arena holds everything.
 */
#include <openssl/evp.h>

#include "base/assert.h"
#include "control/consumers_conf.h"
#include "exchange/identity.h"
#include "policies/basic/password.h"

struct building {
    struct conf *conf;
    struct arena *arena;
    struct consumers *table;
    struct jose_library *library; /* of this thread; NULL: no login is there that needs it */
    bool failed;
};

static void *take(const struct building *b, size_t size)
{
    void *at = arena_zalloc(b->arena, size);
    ENSURE(at != NULL); /* control thread: as mem_must */
    return at;
}

static void fail(struct building *b, const struct conf_node *node, const char *what, const char *name)
{
    conf_error(b->conf, node, "%s of `%s` stands here a second time, or with another consumer", what, name);
    b->failed = true;
}

static const struct conf_type string_type = { .kind = CONF_STRING };

static void fill_consumer(const struct building *b, const struct conf_entry *entry, struct consumer *consumer)
{
    const struct consumer_conf *s = (const struct consumer_conf *)(const void *)entry->value;
    const char *const *groups = s->groups.items;
    struct slice *group_list = take(b, (s->groups.count + 1) * sizeof(*group_list));
    struct claim *claims = take(b, (s->attributes.count + 1) * sizeof(*claims));
    for (size_t i = 0; i < s->groups.count; i++)
        group_list[i] = slice_from(groups[i]);
    for (size_t i = 0; i < s->attributes.count; i++) {
        const struct conf_entry *attribute = conf_entry_at(&s->attributes, &string_type, i);
        claims[i] = (struct claim){ slice_from(attribute->key),
                                    slice_from(*(const char *const *)(const void *)attribute->value) };
    }
    *consumer = (struct consumer){
        .name = slice_from(entry->key),
        .groups = group_list,
        .attributes = claims,
        .group_count = (unsigned)s->groups.count,
        .attribute_count = (unsigned)s->attributes.count,
    };
}

static void add_keys(struct building *b, const struct conf_entry *entry, const struct consumer *consumer)
{
    const struct conf_list *list = &((const struct consumer_conf *)(const void *)entry->value)->api_keys;
    const struct api_key_item_conf *items = list->items;
    for (size_t i = 0; i < list->count; i++) {
        struct consumer_key *key = take(b, sizeof(*key));
        *key = (struct consumer_key){
            consumer, slice_from(items[i].id), { 0 }, items[i].not_before_s, items[i].expires_s
        };
        if (!key->id.at)
            key->id = arena_printf(b->arena, "%s-%zu", entry->key, i + 1);
        memcpy(key->digest, items[i].hash.digest, KEY_DIGEST_BYTES);
        bool hashed =
            !items[i].key || EVP_Digest(items[i].key, strlen(items[i].key), key->digest, NULL, EVP_sha256(), NULL) == 1;
        ENSURE(hashed && key->id.at);
        if (!consumers_add_key(b->table, key))
            fail(b, entry->node, "an API key", entry->key);
    }
}

static void add_logins(struct building *b, const struct conf_entry *entry, const struct consumer *consumer)
{
    const struct conf_list *list = &((const struct consumer_conf *)(const void *)entry->value)->logins;
    const struct login_conf *items = list->items;
    for (size_t i = 0; i < list->count; i++) {
        struct consumer_login *login = take(b, sizeof(*login));
        *login = (struct consumer_login){ consumer, slice_from(items[i].username), items[i].password_hash, { 0 } };
        if (items[i].password)
            password_digest(b->library, login->user, slice_from(items[i].password), login->digest);
        if (!consumers_add_login(b->table, login))
            fail(b, entry->node, "a user's name", entry->key);
    }
}

static void add_certificates(struct building *b, const struct conf_entry *entry, const struct consumer *consumer)
{
    const struct conf_list *list = &((const struct consumer_conf *)(const void *)entry->value)->certificates;
    const struct certificate_item_conf *items = list->items;
    for (size_t i = 0; i < list->count; i++) {
        enum certificate_name kind = items[i].subject ? CERTIFICATE_SUBJECT
                                     : items[i].san   ? CERTIFICATE_SAN
                                                      : CERTIFICATE_FINGERPRINT;
        const char *name = items[i].subject ? items[i].subject : items[i].san ? items[i].san : items[i].fingerprint;
        if (!consumers_add_certificate(b->table, kind, slice_from(name), consumer))
            fail(b, entry->node, "a certificate", entry->key);
    }
}

static void add_revocations(const struct building *b, const struct revoked_conf *revoked)
{
    for (int kind = 0; kind < REVOKED_NAMES; kind++) {
        const char *const *names = revoked->names[kind].items;
        for (size_t i = 0; i < revoked->names[kind].count; i++)
            (void)consumers_revoke(b->table, (enum revoked_name)kind, slice_from(names[i])); /* twice is as good */
    }
}

static struct consumers_room room_for(const struct conf_list *consumers, const struct revoked_conf *revoked)
{
    struct consumers_room room = { 0, 0 };
    for (size_t i = 0; i < consumers->count; i++) {
        const struct consumer_conf *s =
            (const struct consumer_conf *)(const void *)conf_entry_at(consumers, &consumer_type, i)->value;
        room.keys += s->api_keys.count;
        room.names += s->logins.count + s->certificates.count;
    }
    for (int kind = 0; kind < REVOKED_NAMES; kind++)
        room.names += revoked->names[kind].count;
    return room;
}

struct consumers *consumers_build(struct conf *conf, const struct conf_list *consumers,
                                  const struct revoked_conf *revoked)
{
    const struct consumers_room none = { 0, 0 }, room = room_for(consumers, revoked);
    if (conf_error_count(conf) > 0)
        return consumers_new(conf, &none); /* what is half loaded cannot be built, and goes nowhere */
    struct building b = { .conf = conf, .arena = conf_arena(conf), .library = jose_library_get() };
    if (!b.library) {
        conf_error(conf, NULL, "there is no memory for hashing secrets");
        return NULL;
    }
    b.table = consumers_new(conf, &room);
    struct consumer *list = take(&b, (consumers->count + 1) * sizeof(*list));
    for (size_t i = 0; i < consumers->count; i++) {
        const struct conf_entry *entry = conf_entry_at(consumers, &consumer_type, i);
        fill_consumer(&b, entry, &list[i]);
        add_keys(&b, entry, &list[i]);
        add_logins(&b, entry, &list[i]);
        add_certificates(&b, entry, &list[i]);
    }
    add_revocations(&b, revoked);
    jose_library_put(b.library);
    if (!b.failed)
        return b.table;
    consumers_drop(b.table);
    return NULL;
}
