/*
 * Filling templates in. Each part becomes a slice; most point into the request's head and cost nothing. Fields that
 * came in several lines are joined as RFC 9110 5.2 has it, parameters are decoded, hosts are in lower case and without
 * a port: whatever means the same gives the same text, so that keys made of it agree.
 */
#include "exchange/template.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"
#include "exchange/exchange.h"
#include "exchange/identity.h"
#include "http/chars.h"
#include "http/cookie.h"
#include "http/query.h"
#include "http/template.h"
#include "http/uri.h"
#include "net/address.h"

enum { NETWORK_BYTES = 8 /* of an IPv6 address: /64, what one client commonly has to itself */ };

static int in_lower_case(struct arena *arena, struct slice text, struct slice *ret_text)
{
    *ret_text = text;
    if (!chars_have_capital(text.at, text.len))
        return 0;
    char *lower = arena_alloc(arena, text.len);
    if (!lower)
        return -ERR_MEMORY;
    for (size_t i = 0; i < text.len; i++)
        lower[i] = char_lower(text.at[i]);
    *ret_text = slice_make(lower, text.len);
    return 0;
}

static int put_host(const struct exchange *x, struct slice *ret_text)
{
    struct slice host = x->request->authority, name;
    uint16_t port;
    if (uri_parse_authority(host, &name, &port) == 0)
        host = name;
    return in_lower_case(x->arena, host, ret_text);
}

static int put_uri(const struct exchange *x, struct slice *ret_text)
{
    const struct message *m = x->request;
    *ret_text = m->path;
    if (!m->has_query)
        return 0;
    *ret_text = arena_printf(x->arena, "%.*s?%.*s", SLICE_ARG(m->path), SLICE_ARG(m->query));
    return ret_text->at ? 0 : -ERR_MEMORY;
}

static int put_network(const struct exchange *x, struct slice *ret_text)
{
    struct address address;
    char text[ADDRESS_TEXT_MAX];
    const struct address *peer = x->down ? x->down->peer : NULL;
    *ret_text = x->record.client;
    if (peer && peer->family == AF_INET && x->record.client.at == x->peer.at)
        return 0; /* most requests: the peer's own address, which need not be read again */
    if (address_parse_ip(x->record.client, &address) < 0 || address.family != AF_INET6)
        return 0;
    memset(address.ip + NETWORK_BYTES, 0, sizeof(address.ip) - NETWORK_BYTES);
    address.scope = 0;
    address_format(&address, false, text);
    *ret_text = arena_printf(x->arena, "%s/%d", text, NETWORK_BYTES * 8);
    return ret_text->at ? 0 : -ERR_MEMORY;
}

/* Only the peer's own is known: a hop that forwards tells no port that all agree on. */
static int put_port(const struct exchange *x, struct slice *ret_text)
{
    const struct address *peer = x->down ? x->down->peer : NULL;
    *ret_text = SLICE_EMPTY;
    if (!peer || (peer->family != AF_INET && peer->family != AF_INET6) || x->record.client.at != x->peer.at)
        return 0;
    *ret_text = arena_printf(x->arena, "%u", peer->port);
    return ret_text->at ? 0 : -ERR_MEMORY;
}

static bool is_field(const struct field *field, const struct template_part *part)
{
    if (part->field != FIELD_OTHER)
        return field->id == part->field;
    return field->id == FIELD_OTHER && slice_eq_nocase(field->name, part->text);
}

static int put_header(const struct exchange *x, const struct template_part *part, struct slice *ret_text)
{
    const struct fields *fields = &x->request->fields;
    size_t size = 0;
    unsigned lines = 0;
    *ret_text = part->field == FIELD_HOST ? x->request->authority : SLICE_EMPTY;
    FIELDS_FOR_EACH (field, fields) {
        if (!is_field(field, part))
            continue;
        *ret_text = field->value;
        size += field->value.len + 2;
        lines++;
    }
    if (lines < 2)
        return 0;
    char *begin = arena_alloc(x->arena, size), *at = begin;
    if (!begin)
        return -ERR_MEMORY;
    FIELDS_FOR_EACH (line, fields) {
        if (!is_field(line, part))
            continue;
        if (at > begin)
            at = slice_put(SLICE(", "), at);
        at = slice_put(line->value, at);
    }
    ENSURE(at <= begin + size);
    *ret_text = slice_make(begin, (size_t)(at - begin));
    return 0;
}

static struct slice capture_value(const struct exchange *x, struct slice name)
{
    const struct capture *capture = exchange_capture(x, name);
    return capture ? capture->value : SLICE_EMPTY; /* a regex's group that took no part */
}

static int put_part(const struct exchange *x, const struct template_part *part, struct slice *ret_text)
{
    const struct message *m = x->request;
    *ret_text = SLICE_EMPTY;
    switch ((enum template_source)part->source) {
    case SOURCE_TEXT:
        *ret_text = part->text;
        return 0;
    case SOURCE_METHOD:
        *ret_text = m->method_name;
        return 0;
    case SOURCE_SCHEME:
        *ret_text = m->scheme;
        return 0;
    case SOURCE_HOST:
        return put_host(x, ret_text);
    case SOURCE_PATH:
        *ret_text = m->path;
        return 0;
    case SOURCE_QUERY:
        *ret_text = m->query;
        return 0;
    case SOURCE_URI:
        return put_uri(x, ret_text);
    case SOURCE_CLIENT_ADDRESS:
        *ret_text = x->record.client;
        return 0;
    case SOURCE_CLIENT_NETWORK:
        return put_network(x, ret_text);
    case SOURCE_CLIENT_PORT:
        return put_port(x, ret_text);
    case SOURCE_ROUTE:
        *ret_text = slice_from(x->record.route);
        return 0;
    case SOURCE_CONSUMER:
        *ret_text = x->identity ? x->identity->consumer : SLICE_EMPTY;
        return 0;
    case SOURCE_SUBJECT:
        *ret_text = x->identity ? x->identity->subject : SLICE_EMPTY;
        return 0;
    case SOURCE_CLAIM:
        *ret_text = x->identity ? identity_claim(x->identity, part->text) : SLICE_EMPTY;
        return 0;
    case SOURCE_HEADER:
        return put_header(x, part, ret_text);
    case SOURCE_COOKIE:
        *ret_text = cookie_find(&m->fields, part->text);
        return 0;
    case SOURCE_PARAM:
        return query_decode(x->arena, query_find(m->query, part->text), ret_text);
    case SOURCE_CAPTURE:
        *ret_text = capture_value(x, part->text);
        return 0;
    }
    return 0;
}

int template_text(const struct template *template, const struct exchange *x, struct slice *ret_text)
{
    struct slice pieces[TEMPLATE_PARTS_MAX];
    size_t size = 0;
    *ret_text = SLICE_EMPTY;
    if (template->count == 1)
        return put_part(x, &template->parts[0], ret_text);
    for (unsigned i = 0; i < template->count; i++) {
        int rc = put_part(x, &template->parts[i], &pieces[i]);
        if (rc < 0)
            return rc;
        size += pieces[i].len;
    }
    if (size == 0)
        return 0;
    char *begin = arena_alloc(x->arena, size), *at = begin;
    if (!begin)
        return -ERR_MEMORY;
    for (unsigned i = 0; i < template->count; i++)
        at = slice_put(pieces[i], at);
    ENSURE(at == begin + size);
    *ret_text = slice_make(begin, size);
    return 0;
}

int template_hash(const struct template *template, const struct exchange *x, uint64_t *ret_hash, bool *ret_empty)
{
    struct slice text;
    int rc = template_text(template, x, &text);
    if (rc < 0)
        return rc;
    *ret_empty = text.len == 0;
    *ret_hash = hash_stable(text, 0);
    return 0;
}
