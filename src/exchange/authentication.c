/*
 * The common part of authentication policies.  The fields that services believe are ours alone, whatever becomes of the
 * request: they are removed before anything else is looked at.
 */
#include "exchange/authentication.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/sys.h"
#include "exchange/consumers.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"

const struct metric_family authentications_family = {
    .name = "maitred_authentications_total",
    .help = "Credentials that were looked at, by policy and outcome (absent: there was none; preflight: CORS asks "
            "without one).",
    .kind = METRIC_COUNTER,
    .labels = { "policy", "outcome" },
};
static const char *const outcome_words[OUTCOMES] = {
    "accepted", "absent", "wrong", "expired", "revoked", "overloaded", "preflight",
};

static const struct conf_word part_words[] = {
    { "consumer", PART_CONSUMER, "its name" },
    { "groups", PART_GROUPS, "its groups, with commas between" },
    { "scopes", PART_SCOPES, "scopes of the token, with spaces between" },
    { "subject", PART_OF_SUBJECT, "what the credential says: a user's name, a certificate's subject, a token's `sub`" },
    { "credential", PART_CREDENTIAL, "which of its credentials it was: a key's id, a token's `jti`" },
    { "method", PART_METHOD, "the policy that found it: `api_key`, `basic`, `jwt` ..." },
    { NULL },
};
const struct conf_type consumer_headers_type = { .kind = CONF_ENUM, .words = part_words };

/* ---- loading ---- */

static bool is_free_name(struct conf *conf, const struct conf_entry *entry)
{
    struct slice name = slice_from(entry->key);
    if (!field_name_valid(name))
        conf_error(conf, entry->node, "`%s` is no field name", entry->key);
    else if (field_id(name) != FIELD_OTHER)
        conf_error(conf, entry->node, "`%s` has a meaning of its own: use a name such as `X-Consumer`", entry->key);
    else
        return true;
    return false;
}

int authentication_load(struct conf *conf, const struct conf_node *node, const char *method,
                        const struct authentication_conf *settings, struct authentication *ret_a)
{
    size_t count = settings->consumer_headers.count;
    int rc = 0;
    *ret_a = (struct authentication){ .method = method, .required = settings->required, .forward = settings->forward };
    if (count > 0)
        ret_a->headers = mem_must(count * sizeof(*ret_a->headers));
    for (size_t i = 0; i < count; i++) {
        const struct conf_entry *entry = conf_entry_at(&settings->consumer_headers, &consumer_headers_type, i);
        enum identity_part part = (enum identity_part) * (const int *)(const void *)entry->value;
        if (!is_free_name(conf, entry))
            rc = -1;
        ret_a->headers[ret_a->header_count++] = (struct identity_header){ slice_from(entry->key), part };
    }
    for (int i = 0; rc == 0 && i < OUTCOMES; i++) {
        const char *values[] = { method, outcome_words[i], NULL };
        ret_a->series[i] = series_get(&authentications_family, values);
        ret_a->places[i] = series_place(ret_a->series[i]);
    }
    if (rc < 0)
        authentication_unload(ret_a);
    return rc;
}

int authentication_realm(struct conf *conf, const struct conf_node *node, const char *realm)
{
    if (!realm)
        return -1; /* told */
    for (const char *at = realm; *at; at++)
        if (*at < ' ' || *at > '~' || *at == '"' || *at == '\\') {
            conf_error(conf, node, "a realm has printable ASCII characters alone, without quotes and `\\`");
            return -1;
        }
    return 0;
}

void authentication_unload(struct authentication *a)
{
    mem_free(a->headers);
    for (int i = 0; i < OUTCOMES; i++)
        if (a->series[i])
            series_drop(a->series[i]);
    *a = (struct authentication){ NULL };
}

/* ---- fields ---- */

/* Without case, "_" being "-". */
static bool reads_as(struct slice name, struct slice ours)
{
    if (name.len != ours.len)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i] == '_' ? '-' : name.at[i], o = ours.at[i] == '_' ? '-' : ours.at[i];
        if (c != o && ((c | 0x20) != (o | 0x20) || (c | 0x20) < 'a' || (c | 0x20) > 'z'))
            return false;
    }
    return true;
}

void authentication_disclaim(const struct authentication *a, struct fields *fields)
{
    if (a->header_count == 0)
        return;
    FIELDS_FOR_EACH (f, fields) {
        bool ours = false;
        for (unsigned i = 0; f->id == FIELD_OTHER && !ours && i < a->header_count; i++)
            ours = reads_as(f->name, a->headers[i].name);
        if (ours)
            field_remove(f);
    }
}

static int join(struct exchange *x, const struct slice *list, unsigned count, struct slice between,
                struct slice *ret_text)
{
    size_t size = 0;
    *ret_text = SLICE_EMPTY;
    for (unsigned i = 0; i < count; i++)
        size += list[i].len + between.len;
    if (size == 0)
        return 0;
    char *begin = arena_alloc(x->arena, size), *at = begin;
    if (!begin)
        return -ERR_MEMORY;
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            at = slice_put(between, at);
        at = slice_put(list[i], at);
    }
    *ret_text = slice_make(begin, (size_t)(at - begin));
    return 0;
}

static int part_text(struct exchange *x, const struct identity *identity, enum identity_part part,
                     struct slice *ret_text)
{
    switch (part) {
    case PART_CONSUMER:
        *ret_text = identity->consumer;
        return 0;
    case PART_GROUPS:
        return join(x, identity->groups, identity->group_count, SLICE(","), ret_text);
    case PART_SCOPES:
        return join(x, identity->scopes, identity->scope_count, SLICE(" "), ret_text);
    case PART_OF_SUBJECT:
        *ret_text = identity->subject;
        return 0;
    case PART_CREDENTIAL:
        *ret_text = identity->credential;
        return 0;
    case PART_METHOD:
        *ret_text = slice_from(identity->method);
        return 0;
    }
    *ret_text = SLICE_EMPTY;
    return 0;
}

/* What cannot stand in a field (a subject with a line break) is left out. */
static int tell(struct exchange *x, const struct authentication *a, const struct identity *identity)
{
    for (unsigned i = 0; i < a->header_count; i++) {
        struct slice text;
        int rc = part_text(x, identity, a->headers[i].part, &text);
        if (rc == 0 && text.len > 0 && field_value_valid(text))
            rc = fields_set(&x->request->fields, x->arena, a->headers[i].name, text);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- answers ---- */

static void count(struct exchange *x, const struct authentication *a, enum authentication_outcome outcome)
{
    place_add(a->places[outcome], x->worker->index, 1);
}

enum verdict authentication_fail(struct exchange *x, const struct authentication *a, enum err err)
{
    if (err == ERR_OVERLOADED)
        count(x, a, OUTCOME_OVERLOADED);
    exchange_fail(x, err, SLICE_EMPTY);
    return REPLIED;
}

static enum verdict challenge(struct exchange *x, const struct authentication *a, const char *why, struct slice detail)
{
    if (x->record.access.len == 0 && why)
        x->record.access = slice_from(why);
    exchange_fail(x, ERR_UNAUTHENTICATED, detail);
    if (a->challenge.len > 0 && fields_add_id(&x->response.fields, x->arena, FIELD_WWW_AUTHENTICATE, a->challenge) < 0)
        x->response.fields.count = 0; /* without memory a bare status goes out */
    return REPLIED;
}

struct slice authentication_scheme(struct slice *rest)
{
    struct slice value = *rest;
    size_t len = 0;
    while (len < value.len && value.at[len] != ' ' && value.at[len] != '\t')
        len++;
    *rest = slice_trim(slice_make(value.at + len, value.len - len));
    return slice_make(value.at, len);
}

/* Fetch 4.8: it carries nothing. What does is a request that only looks like one. */
bool exchange_is_preflight(const struct exchange *x)
{
    const struct message *m = x->request;
    return m->method == METHOD_OPTIONS && m->body_length == BODY_NONE && m->upgrade.len == 0 &&
           fields_find(&m->fields, FIELD_ORIGIN) &&
           fields_find_name(&m->fields, SLICE("Access-Control-Request-Method"));
}

bool authentication_begin(struct exchange *x, const struct authentication *a)
{
    authentication_disclaim(a, &x->request->fields);
    if (!exchange_is_preflight(x))
        return true;
    count(x, a, OUTCOME_PREFLIGHT);
    return false;
}

static enum verdict offer(struct exchange *x, const struct authentication *a)
{
    struct challenge *c = arena_alloc(x->arena, sizeof(*c));
    if (!c)
        return authentication_fail(x, a, ERR_MEMORY);
    *c = (struct challenge){ a->challenge, NULL };
    struct challenge **end = &x->challenges;
    while (*end)
        end = &(*end)->next;
    *end = c;
    return NEXT;
}

enum verdict authentication_absent(struct exchange *x, const struct authentication *a)
{
    count(x, a, OUTCOME_ABSENT);
    if (!a->required)
        return offer(x, a);
    return challenge(x, a, NULL, SLICE("No credential was sent."));
}

enum verdict authentication_refuse(struct exchange *x, const struct authentication *a,
                                   enum authentication_outcome outcome, const char *why)
{
    ENSURE(outcome != OUTCOME_ACCEPTED);
    count(x, a, outcome);
    return challenge(x, a, why, SLICE("The credential is not valid."));
}

const char *identity_revoked(const struct exchange *x, const struct identity *identity)
{
    const struct consumers *list = x->worker->consumers;
    for (; list && identity; identity = identity->also) {
        if (consumers_revoked(list, REVOKED_JTI, identity->credential))
            return revoked_words[REVOKED_JTI];
        if (consumers_revoked(list, REVOKED_SUB, identity->subject))
            return revoked_words[REVOKED_SUB];
        if (consumers_revoked(list, REVOKED_SID, identity->session))
            return revoked_words[REVOKED_SID];
    }
    return NULL;
}

enum verdict authentication_accept(struct exchange *x, const struct authentication *a, const struct identity *identity)
{
    if (!identity)
        return authentication_fail(x, a, ERR_MEMORY);
    if (identity_revoked(x, identity))
        return authentication_refuse(x, a, OUTCOME_REVOKED, "the credential is revoked");
    int rc = tell(x, a, identity);
    if (rc < 0)
        return authentication_fail(x, a, (enum err) - rc);
    x->identity = identity;
    if (identity->consumer.len > 0)
        x->record.consumer = identity->consumer;
    count(x, a, OUTCOME_ACCEPTED);
    return NEXT;
}

/* ---- identities ---- */

static struct slice put(char **at, struct slice text)
{
    struct slice kept = { *at, text.len };
    *at = slice_put(text, *at);
    return kept;
}

/* One block: the identity, its lists, its texts. The table may go while the exchange is on. */
struct identity *authentication_identity(struct exchange *x, const char *method, const struct consumer *consumer,
                                         struct slice subject, struct slice credential)
{
    unsigned groups = consumer->group_count, claims = consumer->attribute_count;
    size_t lists = groups * sizeof(struct slice) + claims * sizeof(struct claim);
    size_t texts = consumer->name.len + subject.len + credential.len;
    for (unsigned i = 0; i < groups; i++)
        texts += consumer->groups[i].len;
    for (unsigned i = 0; i < claims; i++)
        texts += consumer->attributes[i].name.len + consumer->attributes[i].text.len;
    struct identity *identity = arena_alloc(x->arena, sizeof(*identity) + lists + texts);
    if (!identity)
        return NULL;
    struct slice *group_list = (struct slice *)(identity + 1);
    struct claim *claim_list = (struct claim *)(group_list + groups);
    char *begin = (char *)(claim_list + claims), *at = begin;
    *identity = (struct identity){ .method = method, .groups = group_list, .claims = claim_list };
    identity->consumer = put(&at, consumer->name);
    identity->subject = put(&at, subject);
    identity->credential = put(&at, credential);
    for (unsigned i = 0; i < groups; i++)
        group_list[i] = put(&at, consumer->groups[i]);
    for (unsigned i = 0; i < claims; i++) {
        claim_list[i].name = put(&at, consumer->attributes[i].name);
        claim_list[i].text = put(&at, consumer->attributes[i].text);
    }
    identity->group_count = groups;
    identity->claim_count = claims;
    ENSURE(at == begin + texts);
    return identity;
}
