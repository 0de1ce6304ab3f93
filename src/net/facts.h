/*
 * What is known of a connection beyond the two addresses: that it is secure and how, who the client proved to be, what
 * a PROXY header said of it.  A plain connection has none.
 *
 * Made by whoever learns something first (the PROXY header, the handshake); the transport holds it, and each stream
 * that was born on the connection, because a stream may outlive it.  Texts are kept by facts_keep and live as long.
 *
 * Owner: counted, not atomic; charged to the worker's memory; one worker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "net/address.h"

struct memory;
struct kept_text;

/* Whether the client showed a certificate. */
enum client_proof {
    PROOF_NONE,     /* none was asked for, or none was given */
    PROOF_VERIFIED, /* signed by an authority that the listener trusts, and within its rules */
};

struct conn_facts {
    struct memory *memory;
    struct kept_text *texts;
    void *session; /* of the layer that made the connection secure (tls/), which frees it on close */
    uint32_t refs;
    bool secure;          /* what the client speaks to us is encrypted */
    bool resumed;         /* the session was continued without a full handshake */
    bool proxied;         /* `local` and the peer's address came from a PROXY header */
    uint8_t proof;        /* enum client_proof */
    struct address local; /* where the client connected to; AF_UNSPEC: at the listener's address */
    struct slice version; /* "TLSv1.3" */
    struct slice cipher;  /* "TLS_AES_128_GCM_SHA256" */
    struct slice alpn;    /* "h2", "http/1.1", empty */
    struct slice sni;     /* the name that the client asked for, lower case */
    struct slice subject; /* of the client's certificate, RFC 2253; the rest too */
    struct slice issuer;
    struct slice serial;      /* hexadecimal */
    struct slice sha256;      /* its fingerprint, hexadecimal, lower case */
    struct slice sans;        /* "DNS:a.example,URI:spiffe://b/c": as many as fit */
    struct slice certificate; /* the client's, DER; empty unless the listener passes it on */
    struct slice chain;       /* what the client sent behind it, DER one after the other; likewise */
    struct slice prologue;    /* client role: what is still to be sent in front of everything */
    struct slice unique_id;   /* of a PROXY v2 header (PP2_TYPE_UNIQUE_ID), any bytes */
    struct slice authority;   /* of the same: the name that the client asked for (PP2_TYPE_AUTHORITY), any bytes */
};

/* With one reference. NULL without memory. */
struct conn_facts *facts_new(struct memory *memory);
struct conn_facts *facts_hold(struct conn_facts *facts); /* NULL stays NULL */
void facts_drop(struct conn_facts *facts);               /* the same */
/* A copy of the text that lives with the facts. -ERR_MEMORY. */
MUST_USE int facts_keep(struct conn_facts *facts, struct slice text, struct slice *ret_kept);
