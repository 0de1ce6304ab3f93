/*
 * What is known of one exchange when it ends: the recorder's short form, which the access log and the metrics read.
 * Slices point into the exchange's arena or its route plan and are valid while the exchange is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct address;
struct conn_facts;

struct record {
    /* when: loop nanoseconds; 0 when it did not happen */
    uint64_t wall_start_ns;
    uint64_t start_ns;       /* request head complete */
    uint64_t request_end_ns; /* request body complete */
    uint64_t queue_ns;       /* how long its attempts waited for a permit, all together */
    uint64_t try_start_ns;   /* last attempt */
    uint64_t up_head_ns;     /* its response head */
    uint64_t down_head_ns;   /* final response head handed down */
    uint64_t end_ns;
    /* who and what */
    const struct address *peer;
    const struct conn_facts *facts; /* of the client's connection; NULL when it is a plain one */
    struct slice client;            /* the client's address as trusted hops say, text */
    uint8_t version;                /* enum http_version */
    struct slice method, scheme, authority, path, query, user_agent, referer;
    struct slice request_id;
    struct slice trace_id;
    const char *route; /* "" when none matched */
    const char *upstream;
    const char *target; /* last tried */
    struct slice consumer;
    struct slice access; /* what was decided about who may do this, for people */
    uint16_t status;     /* sent to the client; 0 when none was */
    uint16_t up_status;
    uint8_t tries;
    uint8_t retries;
    uint8_t hedges; /* tries beside one that was still open */
    bool hedge_won; /* one of them was answered first */
    uint8_t err;    /* enum err */
    bool complete;  /* the response went out whole */
    bool tunnel;
    const char *tunnel_end;       /* of a tunnel: who or what ended it; NULL otherwise */
    bool grpc;                    /* it was a call */
    uint8_t grpc_status;          /* of a call: enum grpc_status (http/grpc.h) */
    bool reused_up;               /* the last try used an idle connection */
    uint64_t bytes_in, bytes_out; /* bodies, as the client saw them */
};
