/*
 * The basic policy (RFC 7617).  A password in the open was hashed when it was loaded, and is compared at once; one with
 * a slow hash is checked by the verifier's thread, and remembered on this worker for as long as it is not displaced.
 * An unknown user costs what a known one does, so that nobody learns from the clock who is there.
 */
#include "policies/basic/policy_basic.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "base/sys.h"
#include "exchange/authentication.h"
#include "exchange/consumers.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "policies/basic/credentials.h"
#include "policies/basic/password.h"
#include "policies/basic/verifier.h"

enum { REMEMBERED = 256 }; /* verified passwords a worker: 8 KiB */

struct basic_conf {
    const char *realm;
    struct authentication_conf shared;
};

struct basic {
    struct authentication shared;
};

struct basic_local {
    struct worker *worker;
    struct jose_library *library;
    uint8_t verified[REMEMBERED][KEY_DIGEST_BYTES]; /* each where its first byte says; zeros: none */
};

struct basic_state {
    struct slice user, password;
    uint8_t digest[KEY_DIGEST_BYTES]; /* of what is being verified */
    bool asked, fits;
};

static const struct conf_field basic_fields[] = {
    { "realm",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(basic_conf, realm),
      0,
      "maitred",
      "What browsers show when they ask for a password." },
    AUTHENTICATION_FIELDS(basic_conf, shared),
    CONF_END,
};
const struct conf_struct basic_schema = {
    .name = "basic",
    .size = sizeof(struct basic_conf),
    .fields = basic_fields,
    .doc = "Knows a consumer by a user's name and password of its `basic` (RFC 7617).",
    .example = "basic: { realm: internal, consumer_headers: { X-User: subject } }\n",
};

static void basic_unload(void *data)
{
    struct basic *p = data;
    authentication_unload(&p->shared);
    mem_free(p);
}

static int basic_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct basic_conf *s = settings;
    struct basic *p = mem_must(sizeof(*p));
    int rc = authentication_load(conf, node, "basic", &s->shared, &p->shared);
    if (rc == 0)
        rc = authentication_realm(conf, node, s->realm);
    if (rc == 0)
        p->shared.challenge = arena_printf(conf_arena(conf), "Basic realm=\"%s\", charset=\"UTF-8\"", s->realm);
    if (rc < 0)
        basic_unload(p);
    else
        *ret_data = p;
    return rc;
}

/* ---- on a worker ---- */

static int basic_attach(void *data, struct worker *worker, void **ret_local)
{
    struct jose_library *library = jose_library_get();
    struct basic_local *local = library ? memory_get(&worker->memory, sizeof(*local)) : NULL;
    if (!local) {
        if (library)
            jose_library_put(library);
        return -ERR_MEMORY;
    }
    *local = (struct basic_local){ .worker = worker, .library = library };
    verifier_enter(worker);
    *ret_local = local;
    return 0;
}

static void basic_detach(void *data, struct worker *worker, void *local)
{
    struct basic_local *l = local;
    verifier_leave(worker);
    jose_library_put(l->library);
    memory_put(&worker->memory, l, sizeof(*l));
}

static uint8_t *place_of(struct basic_local *local, const uint8_t digest[KEY_DIGEST_BYTES])
{
    return local->verified[digest[0] % REMEMBERED];
}

static enum verdict wrong(struct exchange *x, const struct basic *p)
{
    return authentication_refuse(x, &p->shared, OUTCOME_WRONG, "the user or the password is wrong");
}

static enum verdict admit(struct exchange *x, const struct basic *p, const struct consumer_login *login)
{
    enum verdict verdict = authentication_accept(
        x, &p->shared, authentication_identity(x, "basic", login->consumer, login->user, login->user));
    if (verdict == NEXT && !p->shared.forward)
        credentials_strip(&x->request->fields);
    return verdict;
}

/* Once for a request, whoever the user is. */
static enum verdict verify(struct exchange *x, const struct basic *p, struct basic_state *st,
                           const struct consumer_login *login)
{
    struct basic_local *local = exchange_local(x, &policy_basic);
    if (st->asked)
        return wrong(x, p);
    st->asked = true;
    int rc = verifier_check(local->worker, exchange_op(x, DIR_REQUEST), login->hash, st->password, &st->fits);
    return rc == 0 ? WAIT : authentication_fail(x, &p->shared, (enum err) - rc);
}

/* Also when the verifier has answered: whom it was asked about may have been removed meanwhile, or have another
 * password. */
static enum verdict judge(struct exchange *x, const struct basic *p, struct basic_state *st)
{
    struct basic_local *local = exchange_local(x, &policy_basic);
    const struct consumers *consumers = x->worker->consumers;
    const struct consumer_login *login = consumers_find_login(consumers, st->user);
    const struct consumer_login *decoy = consumers_decoy(consumers);
    uint8_t digest[KEY_DIGEST_BYTES];
    if (login && !login->hash) {
        password_digest(local->library, st->user, st->password, digest);
        if (digests_equal(digest, login->digest))
            return admit(x, p, login);
        login = NULL;
    }
    if (!login)
        return decoy ? verify(x, p, st, decoy) : wrong(x, p);
    password_digest_for(local->library, st->user, slice_from(login->hash), st->password, digest);
    uint8_t *place = place_of(local, digest);
    if (digests_equal(place, digest))
        return admit(x, p, login);
    if (st->asked && st->fits && digests_equal(st->digest, digest)) {
        memcpy(place, digest, KEY_DIGEST_BYTES);
        return admit(x, p, login);
    }
    if (!st->asked)
        memcpy(st->digest, digest, KEY_DIGEST_BYTES);
    return verify(x, p, st, login);
}

static int basic_strip(struct exchange *x, const void *data)
{
    const struct basic *p = data;
    if (!p->shared.forward)
        credentials_strip(&x->request->fields);
    return 0;
}

static void basic_disclaim(const void *data, struct fields *fields)
{
    const struct basic *p = data;
    authentication_disclaim(&p->shared, fields);
}

static enum verdict on_request(struct exchange *x, void *state, const void *data)
{
    const struct basic *p = data;
    struct basic_state *st = state;
    enum credentials_found found;
    if (st->asked)
        return judge(x, p, st);
    if (!authentication_begin(x, &p->shared)) {
        (void)basic_strip(x, p);
        return NEXT;
    }
    int rc = credentials_read(&x->request->fields, x->arena, &found, &st->user, &st->password);
    if (rc < 0)
        return authentication_fail(x, &p->shared, (enum err) - rc);
    if (found == CREDENTIALS_NONE)
        return authentication_absent(x, &p->shared);
    if (found != CREDENTIALS_THERE)
        return authentication_refuse(x, &p->shared, OUTCOME_WRONG,
                                     found == CREDENTIALS_TWICE ? "there is more than one credential"
                                                                : "the credential is malformed");
    return judge(x, p, st);
}

const struct policy_type policy_basic = {
    .name = "basic",
    .schema = &basic_schema,
    .state_size = sizeof(struct basic_state),
    .authenticates = true,
    .disclaim = basic_disclaim,
    .strip = basic_strip,
    .load = basic_load,
    .unload = basic_unload,
    .attach = basic_attach,
    .detach = basic_detach,
    .on_head = { [DIR_REQUEST] = on_request },
};
