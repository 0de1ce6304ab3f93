/*
 * Errors and statuses as blame.
 */
#include "balance/blame.h"

static bool is_ours_or_the_clients(enum err err)
{
    return err == ERR_DEADLINE_EXCEEDED || err == ERR_EXCHANGE_TIMEOUT || err == ERR_UPSTREAM_BODY_TOO_LARGE ||
           err == ERR_NO_EXTENDED_CONNECT || err == ERR_HTTP_1_1_REQUIRED;
}

enum blame outcome_blame(const struct outcome *outcome)
{
    if (outcome->err == ERR_NONE)
        return outcome->status >= 500 ? BLAME_STATUS : BLAME_PRAISE;
    if (err_info(outcome->err)->side != SIDE_UPSTREAM || is_ours_or_the_clients(outcome->err))
        return BLAME_UNSAID;
    return BLAME_LOCAL;
}

unsigned outcome_status(const struct outcome *outcome)
{
    return outcome->err == ERR_NONE ? outcome->status : err_info(outcome->err)->status;
}
