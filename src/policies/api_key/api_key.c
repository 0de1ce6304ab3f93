/*
 * The api_key policy.  A key is looked up by its SHA-256 in the table of consumers that is in force on the worker, so a
 * reload that removes one is in force for the next request.  The client is told nothing but that the key is not valid.
 */
#include "policies/api_key/policy_api_key.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/sys.h"
#include "exchange/authentication.h"
#include "exchange/consumers.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "jose/library.h"
#include "policies/api_key/place.h"

enum { NS_PER_S = 1000000000 };

struct api_key_conf {
    struct key_place place;
    const char *realm;
    struct authentication_conf shared;
};

struct api_key {
    struct authentication shared;
    struct key_place place;
};

static const struct conf_field api_key_fields[] = {
    { "in", KEY_PLACE_TYPE, CONF_AT(api_key_conf, place), 0, "header X-Api-Key",
      "Where the key stands. In a query it also lands in the logs of everything in front of the gateway: prefer a "
      "header." },
    { "realm",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(api_key_conf, realm),
      0,
      "maitred",
      "In `WWW-Authenticate`." },
    AUTHENTICATION_FIELDS(api_key_conf, shared),
    CONF_END,
};
const struct conf_struct api_key_schema = {
    .name = "api_key",
    .size = sizeof(struct api_key_conf),
    .fields = api_key_fields,
    .doc = "Knows a consumer by a key of its `api_keys`.",
    .example = "api_key:\n"
               "  in: header X-Api-Key\n"
               "  consumer_headers: { X-Consumer: consumer, X-Groups: groups }\n",
};

static void api_key_unload(void *data)
{
    struct api_key *p = data;
    authentication_unload(&p->shared);
    mem_free(p);
}

static struct slice challenge_of(struct conf *conf, const struct api_key_conf *s)
{
    static const char *const words[] = { "header", "query", "cookie" };
    struct arena *arena = conf_arena(conf);
    if (s->place.where == KEY_AUTHORIZATION)
        return arena_printf(arena, "%.*s realm=\"%s\"", SLICE_ARG(s->place.name), s->realm);
    return arena_printf(arena, "ApiKey realm=\"%s\", in=\"%s\", name=\"%.*s\"", s->realm, words[s->place.where],
                        SLICE_ARG(s->place.name));
}

static int api_key_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct api_key_conf *s = settings;
    struct api_key *p = mem_must(sizeof(*p));
    int rc = authentication_load(conf, node, "api_key", &s->shared, &p->shared);
    if (rc == 0)
        rc = authentication_realm(conf, node, s->realm);
    p->place = s->place;
    if (rc == 0)
        p->shared.challenge = challenge_of(conf, s);
    if (rc < 0)
        api_key_unload(p);
    else
        *ret_data = p;
    return rc;
}

/* ---- on a worker ---- */

static int api_key_attach(void *data, struct worker *worker, void **ret_local)
{
    *ret_local = jose_library_get();
    return *ret_local ? 0 : -ERR_MEMORY;
}

static void api_key_detach(void *data, struct worker *worker, void *local)
{
    jose_library_put(local);
}

static const struct consumer_key *find(struct exchange *x, struct slice key)
{
    struct jose_library *library = exchange_local(x, &policy_api_key);
    uint8_t digest[KEY_DIGEST_BYTES];
    bool hashed = EVP_DigestInit_ex(library->scratch, library->hashes[HASH_SHA256], NULL) == 1 &&
                  EVP_DigestUpdate(library->scratch, key.at, key.len) == 1 &&
                  EVP_DigestFinal_ex(library->scratch, digest, NULL) == 1;
    return hashed ? consumers_find_key(x->worker->consumers, digest) : NULL;
}

/* Which of somebody's keys it was is for the log alone: the client may have found it anywhere. */
static enum verdict out_of_time(struct exchange *x, const struct authentication *a, const struct consumer_key *key,
                                const char *what)
{
    x->record.access = arena_printf(x->arena, "the key %.*s %s", SLICE_ARG(key->id), what);
    return authentication_refuse(x, a, OUTCOME_EXPIRED, NULL);
}

static enum verdict judge(struct exchange *x, const struct api_key *p, struct slice text)
{
    const struct consumer_key *key = text.len <= KEY_BYTES_MAX ? find(x, text) : NULL;
    int64_t now_s = (int64_t)(x->worker->loop.wall_ns / NS_PER_S);
    if (!key)
        return authentication_refuse(x, &p->shared, OUTCOME_WRONG, "the key is unknown");
    if (key->expires_s && now_s >= key->expires_s)
        return out_of_time(x, &p->shared, key, "has expired");
    if (now_s < key->not_before_s)
        return out_of_time(x, &p->shared, key, "is not good yet");
    return authentication_accept(x, &p->shared,
                                 authentication_identity(x, "api_key", key->consumer, SLICE_EMPTY, key->id));
}

static int api_key_strip(struct exchange *x, const void *data)
{
    const struct api_key *p = data;
    return p->shared.forward ? 0 : key_strip(x, &p->place);
}

static void api_key_disclaim(const void *data, struct fields *fields)
{
    const struct api_key *p = data;
    authentication_disclaim(&p->shared, fields);
}

static enum verdict on_request(struct exchange *x, void *state, const void *data)
{
    const struct api_key *p = data;
    enum key_found found;
    struct slice text;
    bool asked = authentication_begin(x, &p->shared);
    int rc = key_hide(x, &p->place);
    if (rc == 0)
        rc = key_read(x, &p->place, &found, &text);
    if (rc < 0)
        return authentication_fail(x, &p->shared, (enum err) - rc);
    enum verdict verdict = NEXT;
    if (asked && found == KEY_TWICE)
        return authentication_refuse(x, &p->shared, OUTCOME_WRONG, "there is more than one key");
    if (asked)
        verdict = found == KEY_NONE ? authentication_absent(x, &p->shared) : judge(x, p, text);
    if (verdict != NEXT)
        return verdict;
    rc = api_key_strip(x, p);
    return rc == 0 ? NEXT : authentication_fail(x, &p->shared, (enum err) - rc);
}

const struct policy_type policy_api_key = {
    .name = "api_key",
    .schema = &api_key_schema,
    .authenticates = true,
    .disclaim = api_key_disclaim,
    .strip = api_key_strip,
    .load = api_key_load,
    .unload = api_key_unload,
    .attach = api_key_attach,
    .detach = api_key_detach,
    .on_head = { [DIR_REQUEST] = on_request },
};
