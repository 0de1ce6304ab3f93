/*
 * Hops: what came from whom, and what we tell the service (RFC 7239; RFC 9110 7.6.3 for Via).
 *
 * The chain is read from the right: our peer, then what each trusted hop says of its own peer.  It ends at the first
 * hop that is not trusted: that is the client.  What stands to its left was written by someone we have no reason to
 * believe, and is removed.
 */
#include "exchange/forwarding.h"

#include "base/assert.h"
#include "base/memory.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"

static int parse_network(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    const char *why = "not a network";
    if (network_parse(node->text, ret_value, &why) == 0)
        return 0;
    conf_error(conf, node, "expected an address or a network such as `10.0.0.0/8`, got `%.*s`: %s",
               SLICE_ARG(node->text), why);
    return -1;
}

const struct conf_type network_type = {
    .kind = CONF_CUSTOM,
    .parse = parse_network,
    .size = sizeof(struct network),
    .pattern = "IP, IP/BITS or `unix:`",
};

static const struct conf_type certificate_part_type = { .kind = CONF_ENUM, .words = certificate_part_words };

static const struct conf_field forwarding_fields[] = {
    { "trusted",
      { .kind = CONF_LIST, .item = &network_type, .max = 1024 },
      CONF_AT(forwarding_conf, trusted),
      CONF_LONE,
      NULL,
      "Peers (other proxies in front of this one) whose `X-Forwarded-*` and `Forwarded` fields are believed. What "
      "anyone else sent of these is removed." },
    { "x_forwarded",
      { .kind = CONF_BOOL },
      CONF_AT(forwarding_conf, x_forwarded),
      0,
      "true",
      "Send `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host` to services." },
    { "forwarded",
      { .kind = CONF_BOOL },
      CONF_AT(forwarding_conf, forwarded),
      0,
      "false",
      "Send `Forwarded` (RFC 7239) to services." },
    { "via",
      { .kind = CONF_STRING },
      CONF_AT(forwarding_conf, via),
      0,
      "maitred",
      "Our name in the `Via` field of requests to services; `off` sends none." },
    { "client_certificate",
      { .kind = CONF_LIST, .item = &certificate_part_type, .max = PART_COUNT },
      CONF_AT(forwarding_conf, client_certificate),
      CONF_LONE,
      NULL,
      "What services are told of the certificate that a client proved itself with, one field each; see docs/tls.md. As "
      "soon as one is listed, what clients send under any of these names is removed." },
    CONF_END,
};

static void validate_forwarding(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct forwarding_conf *c = value;
    if (c->via && !field_name_valid(slice_from(c->via)))
        conf_error(conf, conf_get(node, "via"), "expected a host-like name (letters, digits, `-`, `.`), got `%s`",
                   c->via);
}

const struct conf_struct forwarding_schema = {
    .name = "forwarding",
    .size = sizeof(struct forwarding_conf),
    .fields = forwarding_fields,
    .validate = validate_forwarding,
    .doc = "What services are told about the client and the way the request took.",
    .example = "forwarding:\n  trusted: [ 10.0.0.0/8, unix: ]\n  forwarded: true\n",
};

static bool is_trusted(const struct forwarding_conf *conf, const struct address *address)
{
    const struct network *networks = conf->trusted.items;
    for (size_t i = 0; i < conf->trusted.count; i++)
        if (network_contains(&networks[i], address))
            return true;
    return false;
}

/* ---- reading ---- */

/* One hop of X-Forwarded-For, or a `for=` node of Forwarded: an IP, perhaps with port, perhaps in quotes and brackets.
 */
static bool parse_hop(struct slice text, struct address *ret_address)
{
    text = slice_trim(text);
    if (text.len >= 2 && text.at[0] == '"' && text.at[text.len - 1] == '"')
        text = slice_make(text.at + 1, text.len - 2);
    struct address parsed;
    if (text.len > 2 && text.at[0] == '[') {
        ptrdiff_t end = slice_find(text, ']');
        return end > 0 && address_parse_ip(slice_make(text.at + 1, (size_t)end - 1), ret_address) == 0;
    }
    if (address_parse_ip(text, &parsed) == 0) {
        *ret_address = parsed;
        return true;
    }
    ptrdiff_t colon = slice_find(text, ':');
    return colon > 0 && address_parse_ip(slice_make(text.at, (size_t)colon), ret_address) == 0;
}

enum { HOPS_MAX = 64 };

/* Where the elements of a list begin; commas within quotes are text. More than HOPS_MAX are no way that anyone took: 0.
 */
static unsigned split_hops(struct slice value, size_t starts[HOPS_MAX])
{
    unsigned count = 1;
    bool quoted = false;
    starts[0] = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (quoted && value.at[i] == '\\')
            i++;
        else if (value.at[i] == '"')
            quoted = !quoted;
        else if (value.at[i] == ',' && !quoted) {
            if (count == HOPS_MAX)
                return 0;
            starts[count++] = i + 1;
        }
    }
    return quoted ? 0 : count;
}

/* The node behind `for=` in an element of Forwarded; empty without one. */
static struct slice forwarded_for(struct slice element)
{
    struct slice pair;
    while ((pair = slice_cut(&element, ';')).at) {
        pair = slice_trim(pair);
        if (pair.len > 4 && slice_eq_nocase(slice_make(pair.at, 4), SLICE("for=")))
            return slice_make(pair.at + 4, pair.len - 4);
    }
    return SLICE_EMPTY;
}

/* Walks the hops from the right. Returns the text from the last believed one on (the client's included), empty when
 * none is. */
static struct slice believed_part(const struct forwarding_conf *conf, enum field_id id, struct slice value,
                                  struct address *ret_client)
{
    size_t starts[HOPS_MAX], from = value.len, end = value.len;
    for (unsigned i = split_hops(value, starts); i-- > 0; end = starts[i] - 1) {
        struct slice element = slice_make(value.at + starts[i], end - starts[i]);
        struct address hop;
        if (!parse_hop(id == FIELD_FORWARDED ? forwarded_for(element) : element, &hop))
            break;
        from = starts[i];
        *ret_client = hop;
        if (i == 0 || !is_trusted(conf, &hop))
            break;
    }
    return slice_trim(slice_make(value.at + from, value.len - from));
}

static const enum field_id hop_fields[] = { FIELD_FORWARDED,        FIELD_X_FORWARDED_FOR,  FIELD_X_FORWARDED_PROTO,
                                            FIELD_X_FORWARDED_HOST, FIELD_X_FORWARDED_PORT, FIELD_X_REAL_IP };

static struct slice address_text(struct exchange *x, const struct address *address)
{
    char text[ADDRESS_TEXT_MAX];
    return arena_copy(x->arena, slice_make(text, address_format(address, false, text)));
}

static int set_client(struct exchange *x, const struct address *client)
{
    x->record.client = client == x->down->peer ? x->peer : address_text(x, client);
    return x->record.client.at ? 0 : -ERR_MEMORY;
}

/* All lines of a list field as one, in order. */
static int join_lines(struct exchange *x, enum field_id id, struct slice *ret_value)
{
    size_t lines = 0, len = 0;
    *ret_value = SLICE_EMPTY;
    FIELDS_FOR_EACH (f, &x->request->fields) {
        if (f->id != id || f->value.len == 0)
            continue;
        *ret_value = f->value;
        len += f->value.len + 2;
        lines++;
    }
    if (lines < 2)
        return 0;
    char *joined = arena_alloc(x->arena, len), *at = joined;
    if (!joined)
        return -ERR_MEMORY;
    FIELDS_FOR_EACH (f, &x->request->fields) {
        if (f->id != id || f->value.len == 0)
            continue;
        memcpy(at, f->value.at, f->value.len);
        memcpy(at + f->value.len, ", ", 2);
        at += f->value.len + 2;
    }
    *ret_value = slice_make(joined, len - 2);
    return 0;
}

/* Leaves of one list field what is believed. */
static int read_hops(struct exchange *x, const struct forwarding_conf *conf, enum field_id id,
                     struct address *ret_client)
{
    struct slice hops;
    int rc = join_lines(x, id, &hops);
    if (rc < 0 || hops.len == 0)
        return rc;
    struct slice believed = believed_part(conf, id, hops, ret_client);
    if (believed.len == 0)
        fields_remove(&x->request->fields, id);
    else
        rc = fields_set_id(&x->request->fields, x->arena, id, believed);
    return rc;
}

static bool same_host(struct address a, struct address b)
{
    if (a.family == b.family && a.family != AF_UNIX)
        a.port = b.port;
    return address_eq(&a, &b);
}

/*
 * A peer writes one of the two fields and may pass the other through as a client sent it. Where they name different
 * clients, X-Forwarded-For, which nearly everyone writes, is believed and the other dropped.
 */
static int read_trusted(struct exchange *x, const struct forwarding_conf *conf)
{
    struct fields *fields = &x->request->fields;
    struct address client = *x->down->peer, other = client;
    bool has_list = fields_find(fields, FIELD_X_FORWARDED_FOR) != NULL;
    int rc = read_hops(x, conf, FIELD_X_FORWARDED_FOR, &client);
    if (rc == 0)
        rc = read_hops(x, conf, FIELD_FORWARDED, &other);
    if (rc < 0)
        return rc;
    if (!has_list)
        client = other;
    else if (fields_find(fields, FIELD_FORWARDED) && !same_host(client, other))
        fields_remove(fields, FIELD_FORWARDED);
    return set_client(x, &client);
}

/* The ids are few; of other names, those of the X-Forwarded family, which services believe too (-Prefix, -Ssl, -Scheme
 * ...). */
static bool tells_the_way(const struct field *f)
{
    if (f->id == FIELD_OTHER)
        return field_tells_the_way(f->name);
    for (size_t i = 0; i < ARRAY_LEN(hop_fields); i++)
        if (f->id == hop_fields[i])
            return true;
    return false;
}

int forwarding_apply(struct exchange *x, const struct forwarding_conf *conf)
{
    client_certificate_strip(conf, &x->request->fields);
    x->peer = address_text(x, x->down->peer);
    if (!x->peer.at)
        return -ERR_MEMORY;
    if (conf->trusted.count > 0 && is_trusted(conf, x->down->peer))
        return read_trusted(x, conf);
    FIELDS_FOR_EACH (f, &x->request->fields) {
        if (tells_the_way(f))
            field_remove(f);
    }
    return set_client(x, x->down->peer);
}

/* ---- writing ---- */

static int append_element(struct message *m, struct arena *arena, enum field_id id, struct slice element)
{
    struct field *old = NULL;
    unsigned lines = 0;
    FIELDS_FOR_EACH (f, &m->fields) {
        if (f->id == id && lines++ == 0)
            old = f;
    }
    if (lines != 1)
        return fields_add_id(&m->fields, arena, id, element);
    struct slice value = arena_printf(arena, "%.*s, %.*s", SLICE_ARG(old->value), SLICE_ARG(element));
    return value.at ? fields_set_id(&m->fields, arena, id, value) : -ERR_MEMORY;
}

static int add_x_forwarded(struct exchange *x, struct message *m, struct slice peer)
{
    int rc = append_element(m, x->arena, FIELD_X_FORWARDED_FOR, peer);
    if (rc == 0 && !fields_find(&m->fields, FIELD_X_FORWARDED_PROTO))
        rc = fields_add_id(&m->fields, x->arena, FIELD_X_FORWARDED_PROTO, x->record.scheme);
    if (rc == 0 && x->record.authority.len && !fields_find(&m->fields, FIELD_X_FORWARDED_HOST))
        rc = fields_add_id(&m->fields, x->arena, FIELD_X_FORWARDED_HOST, x->record.authority);
    return rc;
}

static int add_forwarded(struct exchange *x, struct message *m, struct slice peer)
{
    const char *quote = x->down->peer->family == AF_INET6 ? "\"" : "";
    const char *open = *quote ? "[" : "", *close = *quote ? "]" : "";
    struct slice element =
        arena_printf(x->arena, "for=%s%s%.*s%s%s;host=\"%.*s\";proto=%.*s", quote, open, SLICE_ARG(peer), close, quote,
                     SLICE_ARG(x->record.authority), SLICE_ARG(x->record.scheme));
    return element.at ? append_element(m, x->arena, FIELD_FORWARDED, element) : -ERR_MEMORY;
}

static int add_via(struct exchange *x, struct message *m, const char *name)
{
    char *at = arena_alloc(x->arena, strlen(name) + 4);
    if (!at)
        return -ERR_MEMORY;
    size_t len = strlen(name);
    bool two_digits = x->request->version == HTTP_1_0 || x->request->version == HTTP_1_1;
    memcpy(at, x->request->version == HTTP_1_0 ? "1.0 " : "1.1 ", 4);
    if (!two_digits) {
        at[0] = (char)('0' + x->request->version / 10);
        at[1] = ' ';
    }
    size_t prefix = two_digits ? 4 : 2;
    memcpy(at + prefix, name, len);
    return append_element(m, x->arena, FIELD_VIA, slice_make(at, prefix + len));
}

int forwarding_add_hop(struct exchange *x, const struct forwarding_conf *conf, struct message *request)
{
    int rc = 0;
    if (conf->x_forwarded || conf->forwarded) {
        struct slice peer = x->down->peer->family == AF_UNIX ? SLICE("unknown") : x->peer;
        if (conf->x_forwarded)
            rc = add_x_forwarded(x, request, peer);
        if (rc == 0 && conf->forwarded)
            rc = add_forwarded(x, request, peer);
    }
    if (rc == 0)
        rc = client_certificate_tell(x, conf, request);
    if (rc == 0 && conf->via && strcmp(conf->via, "off") != 0)
        rc = add_via(x, request, conf->via);
    return rc;
}
