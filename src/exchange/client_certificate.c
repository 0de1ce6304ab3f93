/*
 * What a service is told of the certificate that a client proved itself with: RFC 9440's Client-Cert and
 * Client-Cert-Chain, and plain texts for services that parse no certificates.
 *
 * A service believes these fields, so what a client sends under their names never reaches it: neither as they are
 * written here nor with "_" for "-", which many services read as the same name.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "exchange/exchange.h"
#include "exchange/forwarding.h"
#include "net/facts.h"

enum {
    TEXT_BYTES_MAX = 4096,         /* of a subject, or of the names */
    CERTIFICATE_BYTES_MAX = 16384, /* DER: above it services would refuse the head */
};

const struct conf_word certificate_part_words[] = {
    { "certificate", PART_CERTIFICATE, "`Client-Cert`: the certificate (RFC 9440)" },
    { "chain", PART_CHAIN, "`Client-Cert-Chain`: what the client sent behind it (RFC 9440)" },
    { "subject", PART_SUBJECT, "`X-Client-Cert-Subject`: its subject (RFC 2253)" },
    { "san", PART_SANS, "`X-Client-Cert-San`: its other names, as `DNS:a.example,URI:spiffe://b/c`" },
    { "sha256", PART_SHA256, "`X-Client-Cert-Sha256`: its fingerprint, in hexadecimal" },
    { "verify", PART_VERIFY, "`X-Client-Cert-Verify`: `SUCCESS`, or `NONE` without a certificate" },
    { NULL },
};

static const struct slice part_names[PART_COUNT] = {
    [PART_CERTIFICATE] = { "Client-Cert", 11 },       [PART_CHAIN] = { "Client-Cert-Chain", 17 },
    [PART_SUBJECT] = { "X-Client-Cert-Subject", 21 }, [PART_SANS] = { "X-Client-Cert-San", 17 },
    [PART_SHA256] = { "X-Client-Cert-Sha256", 20 },   [PART_VERIFY] = { "X-Client-Cert-Verify", 20 },
};

/* Without case, "_" being "-". */
static bool reads_as(struct slice name, struct slice ours)
{
    if (name.len != ours.len)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i] == '_' ? '-' : name.at[i], o = ours.at[i];
        if ((c | 0x20) != (o | 0x20))
            return false;
    }
    return true;
}

static bool is_ours(struct slice name)
{
    for (size_t i = 0; i < PART_COUNT; i++)
        if (reads_as(name, part_names[i]))
            return true;
    return false;
}

void client_certificate_strip(const struct forwarding_conf *conf, struct fields *fields)
{
    if (conf->client_certificate.count == 0)
        return;
    FIELDS_FOR_EACH (f, fields) {
        if (f->id == FIELD_OTHER && is_ours(f->name))
            field_remove(f);
    }
}

/* ---- values ---- */

/* Whoever signed the certificate chose the text: what is not plain ASCII is written as \XX, as RFC 2253 has it. */
static int plain_text(struct arena *arena, struct slice text, struct slice *ret_value)
{
    static const char digits[] = "0123456789ABCDEF";
    text.len = MIN(text.len, (size_t)TEXT_BYTES_MAX);
    char *value = arena_alloc(arena, text.len * 3 + 1), *at = value;
    if (!value)
        return -ERR_MEMORY;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (c >= ' ' && c < 0x7f) {
            *at++ = (char)c;
            continue;
        }
        *at++ = '\\';
        *at++ = digits[c >> 4];
        *at++ = digits[c & 15];
    }
    *ret_value = slice_trim(slice_make(value, (size_t)(at - value)));
    return 0;
}

static char *put_base64(const unsigned char *from, size_t len, char *at)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (; len >= 3; from += 3, len -= 3) {
        *at++ = digits[from[0] >> 2];
        *at++ = digits[(from[0] & 3) << 4 | from[1] >> 4];
        *at++ = digits[(from[1] & 15) << 2 | from[2] >> 6];
        *at++ = digits[from[2] & 63];
    }
    if (len > 0) {
        unsigned second = len > 1 ? from[1] : 0;
        *at++ = digits[from[0] >> 2];
        *at++ = digits[(from[0] & 3) << 4 | second >> 4];
        *at++ = len > 1 ? digits[(second & 15) << 2] : '=';
        *at++ = '=';
    }
    return at;
}

/* How long the first DER element is, its head included; 0 when it is none. */
static size_t der_element(struct slice der)
{
    const unsigned char *b = (const unsigned char *)der.at;
    if (der.len < 2 || b[0] != 0x30)
        return 0;
    size_t head = 2, len = b[1];
    if (len >= 0x80) {
        size_t bytes = len & 0x7f;
        if (bytes == 0 || bytes > 3 || der.len < 2 + bytes)
            return 0;
        len = 0;
        for (size_t i = 0; i < bytes; i++)
            len = len << 8 | b[2 + i];
        head += bytes;
    }
    return head + len <= der.len ? head + len : 0;
}

/* RFC 9440 2.1: each certificate as a byte sequence of structured fields, ":base64:". */
static int byte_sequences(struct arena *arena, struct slice der, struct slice *ret_value)
{
    *ret_value = SLICE_EMPTY;
    if (der.len == 0 || der.len > CERTIFICATE_BYTES_MAX)
        return 0;
    char *value = arena_alloc(arena, der.len * 4), *at = value; /* an element has two bytes at least: room for ", ::" */
    if (!value)
        return -ERR_MEMORY;
    for (size_t len; (len = der_element(der)) > 0; der = slice_make(der.at + len, der.len - len)) {
        if (len < 16)
            return 0;
        if (at > value)
            at = slice_put(SLICE(", "), at);
        *at++ = ':';
        at = put_base64((const unsigned char *)der.at, len, at);
        *at++ = ':';
    }
    *ret_value = slice_make(value, (size_t)(at - value));
    return 0;
}

static int value_of(struct arena *arena, enum certificate_part part, const struct conn_facts *facts,
                    struct slice *ret_value)
{
    bool proven = facts && facts->proof == PROOF_VERIFIED;
    *ret_value = part == PART_VERIFY ? (proven ? SLICE("SUCCESS") : SLICE("NONE")) : SLICE_EMPTY;
    if (!proven || part == PART_VERIFY)
        return 0;
    switch (part) {
    case PART_CERTIFICATE:
        return byte_sequences(arena, facts->certificate, ret_value);
    case PART_CHAIN:
        return byte_sequences(arena, facts->chain, ret_value);
    case PART_SUBJECT:
        return plain_text(arena, facts->subject, ret_value);
    case PART_SANS:
        return plain_text(arena, facts->sans, ret_value);
    default:
        return plain_text(arena, facts->sha256, ret_value);
    }
}

int client_certificate_tell(struct exchange *x, const struct forwarding_conf *conf, struct message *request)
{
    const int *parts = conf->client_certificate.items;
    for (size_t i = 0; i < conf->client_certificate.count; i++) {
        struct slice value;
        enum certificate_part part = (enum certificate_part)parts[i];
        int rc = value_of(x->arena, part, exchange_facts(x), &value);
        if (rc == 0 && value.len > 0)
            rc = fields_set(&request->fields, x->arena, part_names[part], value);
        if (rc < 0)
            return rc;
    }
    return 0;
}
