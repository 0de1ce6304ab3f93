/*
 * One GET of something small that the gateway itself needs (a set of keys), on a connection of its own.
 *
 *      fetch_start --name--> addresses --connect, TLS--> request --> whole answer --> on_done, once   (or fetch_cancel)
 *
 * Bounded in time and size whatever the other side does.  Addresses are tried one behind the other while they cannot be
 * reached; redirects are not followed, so that nobody but the configuration says where it goes.
 *
 * Owner: it frees itself after on_done or fetch_cancel; one loop, and the resolver's.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct fetch;
struct loop;
struct message;
struct resolver;
struct tls_layer;

/*   name             word */
#define FETCH_RESULTS(X)                                                                                               \
    X(ANSWERED, "answered")                                                                                            \
    X(NAME, "name")           /* it does not resolve */                                                                \
    X(CONNECT, "connect")     /* it cannot be reached */                                                               \
    X(TLS, "tls")             /* the handshake failed */                                                               \
    X(TIMEOUT, "timeout")     /* all of it took too long */                                                            \
    X(CLOSED, "closed")       /* cut off before the end of an answer */                                                \
    X(MALFORMED, "malformed") /* what came is no answer */                                                             \
    X(TOO_LARGE, "too_large") /* more than is allowed */                                                               \
    X(GATEWAY, "gateway")     /* the fault is ours */

enum fetch_result {
#define X(name, word) FETCH_##name,
    FETCH_RESULTS(X)
#undef X
        FETCH_RESULT_COUNT
};
const char *fetch_result_word(enum fetch_result result);

/* All of it outlives the fetch but the layer, of which a reference is taken. */
struct fetch_order {
    struct resolver *resolver;
    struct slice host; /* a name, or an IP without brackets */
    uint16_t port;
    struct tls_layer *layer; /* NULL: plain */
    struct slice authority;  /* as Host says it */
    struct slice target;     /* path and query */
    struct slice accept;
    uint32_t body_bytes_max;
    uint32_t timeout_ms; /* of the whole */
};

enum { FETCH_WHY_MAX = 160 };

struct fetch_report {
    enum fetch_result result;
    const struct message *head; /* with ANSWERED, whatever its status; and the body. Both end with the call */
    struct slice body;
    char why[FETCH_WHY_MAX]; /* else, in words, without the peer's bytes */
};

/* on_done comes once, from the loop, never from within. NULL without memory. */
struct fetch *fetch_start(struct loop *loop, const struct fetch_order *order,
                          void (*on_done)(void *user, const struct fetch_report *report), void *user);
void fetch_cancel(struct fetch *fetch); /* on_done does not come */
