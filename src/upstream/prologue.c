/*
 * What a service is told of the client's connection in front of everything (net/proxy_header.h).
 *
 * The header is about a connection, so it says what stays the same for all requests of one client connection: then
 * they may share the service's connections, which nobody else's may (pool.c compares the bytes).
 */
#include "base/assert.h"
#include "net/facts.h"
#include "net/proxy_header.h"
#include "upstream/state.h"

const struct conf_word proxy_protocol_words[] = {
    { "off", 0, "No header." },
    { "v1", 1, "Version 1: the addresses." },
    { "v2", 2, "Version 2: the addresses, and what is known of the client's TLS." },
    CONF_END,
};

/* The next attribute of a distinguished name as RFC 2253 writes it: an escaped "," or "+" is a part of a value, which
 * its owner may have chosen to look like another attribute. */
static struct slice next_attribute(struct slice *rest)
{
    size_t end = 0;

    while (end < rest->len && rest->at[end] != ',' && rest->at[end] != '+')
        end += rest->at[end] == '\\' ? 2 : 1;
    end = MIN(end, rest->len);
    struct slice attribute = slice_make(rest->at, end);
    size_t taken = MIN(end + 1, rest->len);
    *rest = slice_make(rest->at + taken, rest->len - taken);
    return attribute;
}

/* When it is a text ("#" begins what is none) and needs no unescaping. */
static struct slice common_name(struct slice subject)
{
    while (subject.len > 0) {
        struct slice part = next_attribute(&subject), value;
        if (!slice_starts(part, SLICE("CN=")))
            continue;
        value = slice_make(part.at + 3, part.len - 3);
        return memchr(part.at, '\\', part.len) || slice_starts(value, SLICE("#")) ? SLICE_EMPTY : value;
    }
    return SLICE_EMPTY;
}

static void tell_facts(struct proxy_header *header, const struct conn_facts *facts)
{
    header->unique_id = facts->unique_id;
    header->authority = facts->sni.len > 0 ? facts->sni : facts->authority;
    header->alpn = facts->alpn;
    if (!facts->secure)
        return;
    header->tls = (struct proxy_tls){
        .told = true,
        .cert_conn = facts->proof == PROOF_VERIFIED && !facts->resumed,
        .cert_session = facts->proof == PROOF_VERIFIED,
        .verified = facts->proof == PROOF_VERIFIED,
        .version = facts->version,
        .cipher = facts->cipher,
        .common_name = common_name(facts->subject),
    };
}

size_t upstream_prologue(const struct upstream_conf *conf, const struct stream *down, char ret_bytes[PROXY_WRITE_MAX])
{
    struct proxy_header header = { .version = (uint8_t)conf->proxy_protocol, .local = true };

    if (conf->proxy_protocol == 0)
        return 0;
    if (down && down->peer && down->local) {
        header.local = false;
        header.source = *down->peer;
        header.destination = *down->local;
        if (down->facts)
            tell_facts(&header, down->facts);
    }
    return proxy_header_write(&header, ret_bytes);
}
