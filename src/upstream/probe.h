/*
 * One probe of one target: a connection of its own, one question, one answer, and it is gone.
 *
 *      probe_start --connect, PROXY header, TLS--> request --> answer --> on_done, once      (or probe_cancel)
 *
 * It speaks as the upstream's own connections do, but never on one of those: a probe that waits for a permit or rides
 * on a connection that happens to be open says little about whether the service would take another client.
 *
 * Owner: it frees itself after on_done or probe_cancel; one loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balance/agent.h"
#include "base/err.h"

struct health_check_conf;
struct loop;
struct probe;
struct target;
struct tls_layer;
struct upstream_conf;

/*   name                word            a word for metrics */
#define PROBE_RESULTS(X)                                                                                               \
    X(PASSED, "passed")                                                                                                \
    X(REFUSED, "refused")         /* the connection */                                                                 \
    X(UNREACHABLE, "unreachable") /* no way there, or another failure to connect */                                    \
    X(TIMEOUT, "timeout")         /* any part took too long */                                                         \
    X(TLS, "tls")                 /* the handshake failed */                                                           \
    X(CLOSED, "closed")           /* closed or reset before there was an answer */                                     \
    X(MALFORMED, "malformed")     /* an answer that is none */                                                         \
    X(STATUS, "status")           /* another status than expected */                                                   \
    X(BODY, "body")               /* the text was not in the body */                                                   \
    X(NOT_SERVING, "not_serving") /* gRPC: so the service says of itself */                                            \
    X(CALL, "grpc")               /* gRPC: the call failed */                                                          \
    X(GATEWAY, "gateway")         /* the fault is ours, and the probe says nothing about the target */

enum probe_result {
#define X(name, word) PROBE_##name,
    PROBE_RESULTS(X)
#undef X
        PROBE_RESULT_COUNT
};
const char *probe_result_word(enum probe_result result);

enum { PROBE_WHY_MAX = 160, PROBE_BODY_MAX = 65536 /* of an answer's body, where a text is looked for */ };

struct probe_report {
    enum probe_result result;
    struct agent_line agent; /* what an agent said */
    char why[PROBE_WHY_MAX]; /* "status 503": in words, without the peer's bytes; empty when it passed */
};

/* Everything outlives the probe but the layer, of which a reference is taken. */
struct probe_order {
    const struct upstream_conf *upstream;
    const struct health_check_conf *check;
    const struct target *target;
    const char *host;        /* the name that the target's address is one of; NULL: none */
    struct tls_layer *layer; /* NULL: plain */
};

/* on_done comes once, from the loop, never from within. NULL without memory. */
struct probe *probe_start(struct loop *loop, const struct probe_order *order,
                          void (*on_done)(void *user, const struct probe_report *report), void *user);
void probe_cancel(struct probe *probe); /* on_done does not come */
/* The layer that the order's probes begin with, for as long as the same is asked: sessions are resumed. It checks the
 * certificate for the name that the upstream's own connections do. -ERR_MEMORY. */
struct tls_context;
MUST_USE int probe_layer_new(const struct probe_order *order, struct tls_context *context,
                             struct tls_layer **ret_layer);
