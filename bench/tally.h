/*
 * What a run of the load generator has counted: answers and their latencies within the
 * measuring window, and everything that went wrong at any time, by name. Printed as one line
 * of JSON.
 */
#pragma once

#include "histogram.h"
#include "wire.h"

#include <stdbool.h>
#include <stdint.h>

/* Each way in which an answer can fail to be a whole, good one. */
enum failure {
    FAILURE_NONE,
    FAILURE_CONNECT,      /* the connection was refused, or no port was left */
    FAILURE_RESET,        /* reset or closed before the answer was complete */
    FAILURE_SHORT_BODY,   /* closed within the body */
    FAILURE_LONG_BODY,    /* more bytes than the length said */
    FAILURE_WRONG_LENGTH, /* another length than the one asked for, or none */
    FAILURE_STATUS,       /* not 2xx */
    FAILURE_BAD_HEAD,     /* not an HTTP/1.1 response */
    FAILURE_EARLY,        /* answered before the upload was complete */
    FAILURE_STALLED,      /* nothing for two seconds */
    FAILURE_UNFINISHED,   /* due in the window, but not answered within the grace time */
    FAILURE_TLS,          /* the handshake failed, or agreed on another protocol */
    FAILURE_NOT_RESUMED,  /* a full handshake where one had to be resumed */
    FAILURE_REFUSED,      /* a stream refused unseen, by RST_STREAM or GOAWAY */
    FAILURE_GRPC_STATUS,  /* another grpc-status than 0, or none */
    FAILURE_KINDS,
};

/* One run's numbers. Owned by the load; all zeros is an empty one. One thread. */
struct tally {
    struct histogram latency;
    uint64_t bytes;      /* body bytes, both directions */
    uint64_t reconnects; /* kept-alive connections that the peer ended between requests */
    uint64_t failures[FAILURE_KINDS];
    uint64_t failures_total;
    uint64_t window_ns;
    uint64_t cpu_ns; /* of the watched processes, within the window */
    unsigned open;   /* connections that are still open */
    struct tls_facts tls;
};

void tally_failure(struct tally *tally, enum failure failure, uint64_t times);

/* One line on standard output, flushed. */
void tally_print(const struct tally *tally);
