/*
 * The configuration of an upstream's queue.
 */
#include "conf/conf.h"
#include "upstream/waiting.h"

enum { SIZE_MAX_ALLOWED = 1000000, HOUR_MS = 3600000 };

static const struct conf_field queue_fields[] = {
    { .name = "enabled",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(queue_conf, on),
      .default_text = "true",
      .doc = "Whether requests wait. `queue: on` takes the defaults." },
    { .name = "size",
      .type = { .kind = CONF_INT, .min = 1, .max = SIZE_MAX_ALLOWED },
      .offset = CONF_AT(queue_conf, size),
      .default_text = "1000",
      .doc = "How many may wait at once, over all workers. The next one is answered with 503 (`queue_full`) at once." },
    { .name = "timeout",
      .type = { .kind = CONF_DURATION, .min = 1, .max = HOUR_MS },
      .offset = CONF_AT(queue_conf, timeout_ms),
      .default_text = "5s",
      .doc = "How long one may wait. Then the answer is 503 (`queue_timeout`)." },
    CONF_END,
};

const struct conf_struct queue_schema = {
    .name = "queue",
    .size = sizeof(struct queue_conf),
    .fields = queue_fields,
    .shorthand = "enabled",
    .doc = "Requests that find a limit reached wait for their turn, first come first served over all workers.",
    .example = "queue: { size: 200, timeout: 2s }\n",
};
