/*
 * What a try says of the service that it was sent to: a question that outlier detection and circuit breakers share.
 *
 * A failure that the service cannot help, or that a client could bring about at will, says nothing: a deadline that the
 * client set itself, the limit on a whole exchange (a slow upload uses it up), an answer that is larger than a policy
 * of ours reads, a request that this version of HTTP cannot carry. Else one client could take targets out for all.
 */
#pragma once

#include "balance/balance.h"

enum blame {
    BLAME_UNSAID, /* it says nothing */
    BLAME_PRAISE, /* an answer below 500 */
    BLAME_STATUS, /* an answer of 500 or more */
    BLAME_LOCAL,  /* no answer, or none that is whole: connect, TLS, reset, timeout, broken protocol */
};

enum blame outcome_blame(const struct outcome *outcome);
/* The status that stands for it: the answer's, or what the client gets for the error. */
unsigned outcome_status(const struct outcome *outcome);
