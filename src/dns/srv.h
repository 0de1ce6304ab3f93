/*
 * SRV answers (RFC 2782): which hosts and ports serve a name, in which order and with which weights.
 *
 * Read from the bytes of the message, since the library's own reader drops the TTLs. Bounded in time and memory
 * whatever the bytes are: names are followed backwards only, and records past SRV_RECORDS_MAX are left out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    SRV_RECORDS_MAX = 64,
    SRV_HOST_SIZE = 254, /* 253 bytes in text form, RFC 1035 2.3.4, and an end */
};

struct srv_record {
    uint16_t priority; /* the lowest first */
    uint16_t weight;
    uint16_t port;
    char host[SRV_HOST_SIZE]; /* lower case, without a final dot */
};

struct srv_answer {
    struct srv_record v[SRV_RECORDS_MAX]; /* by priority, host, port: order on the wire is no change */
    uint32_t n;                           /* 0 with an error, and only then */
    uint32_t ttl_s;                       /* as dns_answer's; with an error, when to ask again */
    enum err err;                         /* ERR_NONE, ERR_NAME_UNRESOLVED, ERR_MEMORY */
    bool absent;                          /* with an error: there is no such service; else nobody could be asked */
    const char *why;                      /* with an error: static text */
};

/* A whole message as it came. Records whose host is no host name, or whose port is 0, are left out. */
void srv_read(const uint8_t *bytes, size_t len, struct srv_answer *ret_answer);
