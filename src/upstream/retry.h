/*
 * What is tried again: `retry.on` as bits.  Immutable once loaded.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "http/grpc.h"

enum { RETRY_STATUS_MIN = 400, RETRY_STATUS_MAX = 599 };

struct retry_set {
    uint64_t http[4];    /* by status - RETRY_STATUS_MIN */
    uint32_t calls;      /* by enum grpc_status */
    bool any;            /* answers are listed */
    bool statuses;       /* HTTP statuses are */
    bool resets;         /* connections that broke before an answer are */
    bool timeouts;       /* answers that did not come in time are */
    bool non_idempotent; /* what is listed counts for every method */
};

bool retry_set_has_status(const struct retry_set *set, unsigned status);
bool retry_set_has_call(const struct retry_set *set, enum grpc_status status);
