/*
 * The words of limits.
 */
#include "balance/permits.h"

const char *limit_text(enum limit limit)
{
    static const char *const texts[] = {
        [LIMIT_NONE] = "",
        [LIMIT_REQUESTS] =
            "The upstream has as many requests in progress as it may (`max_requests`, `adaptive_concurrency`).",
        [LIMIT_TARGET_REQUESTS] = "Each target has as many requests in progress as it may.",
        [LIMIT_CONNECTIONS] = "The upstream has `max_connections` connections.",
        [LIMIT_TARGET_CONNECTIONS] = "Each target has as many connections as it may.",
    };
    return texts[limit];
}
