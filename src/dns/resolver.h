/*
 * Names to addresses, without blocking: c-ares on a loop.
 *
 *      resolver_lookup -> numeric? answered at once
 *                      -> /etc/hosts, then the servers of /etc/resolv.conf -> query->op completes
 *
 * The control thread owns one; workers never resolve.  Addresses come sorted and without doubles, so that a server that
 * rotates its answer does not look like a change.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "dns/srv.h"
#include "loop/op.h"
#include "net/address.h"

struct loop;
struct resolver;

enum {
    DNS_ADDRESSES_MAX = 64, /* of one name; what is beyond is left out */
    DNS_NAME_MAX = 253,     /* RFC 1035, 2.3.4 in its text form */
    DNS_TTL_MIN_S = 1,      /* of records that say less: a name is never asked for in a loop */
    DNS_TTL_MAX_S = 86400,  /* RFC 8767, 4 */
    DNS_TTL_FAILED_S = 5,   /* after a failure: c-ares does not tell the negative TTL of RFC 2308 */
};

/* Which addresses are wanted, and which come first. A preference keeps both families. */
enum dns_family { DNS_IPV4_FIRST, DNS_IPV6_FIRST, DNS_IPV4_ONLY, DNS_IPV6_ONLY };

struct dns_answer {
    struct address v[DNS_ADDRESSES_MAX];
    uint32_t n;      /* 0 with an error, and only then */
    uint32_t ttl_s;  /* the shortest of all records'; UINT32_MAX for a number; with an error, when to ask again */
    enum err err;    /* ERR_NONE, ERR_NAME_UNRESOLVED, ERR_MEMORY */
    bool absent;     /* with an error: there is no such name or address; else the servers could not be asked */
    const char *why; /* with an error: static text */
};

/* Set op.on_complete, then look up. The answer is whole when it is called. Cancel with op_cancel. Owner: the asker; it
 * may go once the op is not pending. */
struct dns_query {
    struct op op;
    struct dns_answer answer;
};

struct srv_query {
    struct op op;
    struct srv_answer answer;
};

struct resolver_options {
    const char *const *servers; /* "IP" or "IP:port"; none: those of the system */
    size_t servers_count;
    uint32_t timeout_ms; /* of the first try at a server, growing with each; 0: 2000 */
    uint32_t tries;      /* at each server; 0: 3 */
};

/* `options` may be NULL. -ERR_BAD_TARGET for a server that is no address, -ERR_SYSTEM, -ERR_MEMORY. */
MUST_USE int resolver_new(struct loop *loop, const struct resolver_options *options, struct resolver **ret_resolver);
/* What is still pending completes with an error. Not from within a completion. */
void resolver_free(struct resolver *resolver);
/* Completes once, perhaps before it returns. `name` without port; its bytes are needed during the call only. */
void resolver_lookup(struct resolver *resolver, struct slice name, uint16_t port, enum dns_family family,
                     struct dns_query *query);
/* The same for the SRV records of a name such as "_http._tcp.users.internal". */
void resolver_lookup_srv(struct resolver *resolver, struct slice name, struct srv_query *query);
