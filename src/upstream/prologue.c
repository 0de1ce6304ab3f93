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

/* The value of an attribute in a distinguished name as RFC 2253 writes it, when it needs no unescaping. */
static struct slice common_name(struct slice subject)
{
    struct slice part;

    while ((part = slice_cut(&subject, ',')).at)
        if (slice_starts(part, SLICE("CN=")))
            return memchr(part.at, '\\', part.len) ? SLICE_EMPTY : slice_make(part.at + 3, part.len - 3);
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
