/*
 * The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt, 2020): a header in front of everything by
 * which a balancer says whose connection it hands on.
 *
 *      "PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n"          version 1, one line of at most 107 bytes
 *      \r\n\r\n\0\r\nQUIT\n  ver/cmd  family  length  addresses  TLVs    version 2
 *
 * Nothing is held here: the reader looks at the bytes that have come, from the first one on, until their length is
 * known and reached; so how they were cut can make no difference.  What a header says is believed by whoever asked for
 * it; the parser only says what that is.  Any byte that is not as the specification wants it is an error, but for what
 * it wants ignored (types of TLV that are not known, everything in a LOCAL header).
 *
 * Owner: plain values; the texts point into the bytes that were parsed, or into what the writer's caller owns.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "net/address.h"

enum {
    PROXY_HEADER_MAX = 4096,   /* all of it: several times what any balancer sends, and one look at the socket */
    PROXY_V1_MAX = 107,        /* with its line end */
    PROXY_UNIQUE_ID_MAX = 128, /* the specification's bound */
    PROXY_AUTHORITY_MAX = 255, /* a host name has no more */
    PROXY_TEXT_MAX = 255,      /* of those that are written */
    PROXY_WRITE_MAX = 2048,    /* what a header is written into: six texts and the rest */
};

/* What a balancer says of the TLS that the client spoke to it (PP2_TYPE_SSL). */
struct proxy_tls {
    bool told;         /* there was such a TLV, with the bit that says that the client came over TLS */
    bool cert_conn;    /* a certificate was shown on this connection */
    bool cert_session; /* one was shown in this TLS session */
    bool verified;     /* and it was found good */
    struct slice version, cipher, common_name;
};

struct proxy_header {
    uint8_t version; /* 1 or 2 */
    bool local; /* nobody's connection but the balancer's own (a health check), or whose is not known: the addresses of
                   the connection stand */
    struct address source, destination; /* unless `local`; AF_UNIX: without their paths */
    struct slice alpn, authority, unique_id, netns;
    struct proxy_tls tls;
};

/* Which connections bring a header; part of a listener's settings. */
struct proxy_rules {
    const struct network *from; /* who is believed */
    uint32_t from_count;
    bool required; /* everybody has to bring one, and who is not in `from` is not served */
};

bool proxy_rules_trust(const struct proxy_rules *rules, const struct address *peer);

/* Whether a header may begin with these first bytes (true when there are none yet). */
bool proxy_header_may_begin(struct slice bytes);
/* The length of the header that begins with the bytes, at most PROXY_HEADER_MAX, as soon as it is known; else 0, and
 * more are needed. -ERR_BAD_PROXY_HEADER. */
MUST_USE int proxy_header_length(struct slice bytes, size_t *ret_len);
/* `bytes` is one header, whole. -ERR_BAD_PROXY_HEADER. */
MUST_USE int proxy_header_parse(struct slice bytes, struct proxy_header *ret_header);

/* The length. Addresses that are not both IP are told as not known; a text that is too long is left out; netns is never
 * sent. */
size_t proxy_header_write(const struct proxy_header *header, char ret_bytes[PROXY_WRITE_MAX]);
