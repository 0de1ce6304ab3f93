/*
 * The blocks, and the cache: sets of four ways, so that finding and replacing look at four places and no more.
 */
#include "policies/jwt/verified.h"

#include "base/assert.h"
#include "base/memory.h"

enum { WAYS = 4 };

struct way {
    uint64_t hash;
    struct verified *verified; /* NULL: empty */
    uint64_t used;             /* turn of the cache's clock */
};

struct cache {
    struct memory *memory;
    size_t size, sets; /* sets is a power of two */
    uint64_t turn;
    struct way ways[];
};

/* ---- comparing ---- */

bool secret_equal(struct slice a, struct slice b)
{
    uint64_t differs = 0, x, y;
    size_t i = 0;
    if (a.len != b.len)
        return false;
    for (; i + sizeof(x) <= a.len; i += sizeof(x)) {
        memcpy(&x, a.at + i, sizeof(x));
        memcpy(&y, b.at + i, sizeof(y));
        differs |= x ^ y;
    }
    for (; i < a.len; i++)
        differs |= (uint64_t)(unsigned char)(a.at[i] ^ b.at[i]);
    __asm__ volatile("" : "+r"(differs)); /* no early way out of the loops */
    return differs == 0;
}

/* ---- blocks ---- */

static size_t lists_size(const struct identity *identity, unsigned value_count)
{
    return (identity->group_count + identity->scope_count + (size_t)value_count) * sizeof(struct slice) +
           identity->claim_count * sizeof(struct claim);
}

static size_t texts_size(const struct slice *list, unsigned count)
{
    size_t size = 0;
    for (unsigned i = 0; i < count; i++)
        size += list[i].len;
    return size;
}

static size_t size_of(const struct verified *like)
{
    const struct identity *id = &like->identity;
    size_t size = sizeof(*like) + lists_size(id, like->value_count) + like->token.len + id->consumer.len +
                  id->subject.len + id->credential.len + id->session.len;
    size += texts_size(id->groups, id->group_count) + texts_size(id->scopes, id->scope_count) +
            texts_size(like->values, like->value_count);
    for (unsigned i = 0; i < id->claim_count; i++)
        size += id->claims[i].name.len + id->claims[i].text.len;
    return size;
}

/* Lists grow from one end of the block, texts behind them. */
struct packing {
    char *list, *text;
};

static struct slice pack(struct packing *p, struct slice text)
{
    if (!text.at)
        return SLICE_EMPTY;
    char *at = p->text;
    memcpy(at, text.at, text.len);
    p->text += text.len;
    return slice_make(at, text.len);
}

static const struct slice *pack_list(struct packing *p, const struct slice *list, unsigned count)
{
    struct slice *to = (struct slice *)(void *)p->list;
    p->list += count * sizeof(*to);
    for (unsigned i = 0; i < count; i++)
        to[i] = pack(p, list[i]);
    return to;
}

static const struct claim *pack_claims(struct packing *p, const struct claim *list, unsigned count)
{
    struct claim *to = (struct claim *)(void *)p->list;
    p->list += count * sizeof(*to);
    for (unsigned i = 0; i < count; i++)
        to[i] = (struct claim){ pack(p, list[i].name), pack(p, list[i].text) };
    return to;
}

struct verified *verified_new(struct memory *memory, const struct verified *like)
{
    size_t size = size_of(like);
    struct verified *v = memory_get(memory, size);
    if (!v)
        return NULL;
    *v = *like;
    v->refs = 1;
    v->memory = memory;
    v->size = size;
    struct identity *id = &v->identity;
    struct packing p = { .list = (char *)(v + 1) };
    p.text = p.list + lists_size(id, v->value_count);
    v->token = pack(&p, like->token);
    id->consumer = pack(&p, id->consumer);
    id->subject = pack(&p, id->subject);
    id->credential = pack(&p, id->credential);
    id->session = pack(&p, id->session);
    id->groups = pack_list(&p, id->groups, id->group_count);
    id->scopes = pack_list(&p, id->scopes, id->scope_count);
    v->values = pack_list(&p, v->values, v->value_count);
    id->claims = pack_claims(&p, id->claims, id->claim_count);
    ENSURE(p.text == (char *)v + size);
    return v;
}

void verified_drop(struct verified *verified)
{
    ENSURE(verified->refs > 0);
    if (--verified->refs == 0)
        memory_put(verified->memory, verified, verified->size);
}

/* ---- the cache ---- */

struct cache *cache_new(struct memory *memory, size_t entries)
{
    size_t sets = 1;
    while (sets * WAYS < entries)
        sets *= 2;
    size_t size = sizeof(struct cache) + sets * WAYS * sizeof(struct way);
    struct cache *cache = memory_get(memory, size);
    if (!cache)
        return NULL;
    memset(cache, 0, size);
    cache->memory = memory;
    cache->size = size;
    cache->sets = sets;
    return cache;
}

static void empty(struct way *way)
{
    if (way->verified)
        verified_drop(way->verified);
    *way = (struct way){ 0 };
}

void cache_free(struct cache *cache)
{
    for (size_t i = 0; i < cache->sets * WAYS; i++)
        empty(&cache->ways[i]);
    memory_put(cache->memory, cache, cache->size);
}

static struct way *set_of(struct cache *cache, uint64_t hash)
{
    return &cache->ways[(hash & (cache->sets - 1)) * WAYS];
}

struct verified *cache_find(struct cache *cache, struct slice token, uint64_t hash, uint64_t version)
{
    struct way *set = set_of(cache, hash);
    for (unsigned i = 0; i < WAYS; i++) {
        struct way *way = &set[i];
        if (!way->verified || way->hash != hash)
            continue;
        if (way->verified->version != version) {
            empty(way);
            continue;
        }
        if (!secret_equal(way->verified->token, token))
            continue;
        way->used = ++cache->turn;
        way->verified->refs++;
        return way->verified;
    }
    return NULL;
}

static bool is_better_to_lose(const struct way *a, const struct way *b, uint64_t version, int64_t now_s)
{
    if (!a->verified || !b->verified)
        return !a->verified;
    bool dead_a = a->verified->version != version || (a->verified->expires_s >= 0 && a->verified->expires_s < now_s);
    bool dead_b = b->verified->version != version || (b->verified->expires_s >= 0 && b->verified->expires_s < now_s);
    return dead_a != dead_b ? dead_a : a->used < b->used;
}

void cache_put(struct cache *cache, struct verified *verified, int64_t now_s)
{
    struct way *set = set_of(cache, verified->hash), *place = &set[0];
    for (unsigned i = 1; i < WAYS; i++)
        if (is_better_to_lose(&set[i], place, verified->version, now_s))
            place = &set[i];
    empty(place);
    *place = (struct way){ verified->hash, verified, ++cache->turn };
    verified->refs++;
}

void cache_forget(struct cache *cache, struct verified *verified)
{
    struct way *set = set_of(cache, verified->hash);
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i].verified == verified)
            empty(&set[i]);
}
