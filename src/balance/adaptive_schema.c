/*
 * The configuration of adaptive concurrency.
 */
#include "balance/adaptive.h"
#include "conf/conf.h"

enum { LIMIT_HIGHEST = 1000000 };

static void check_adaptive(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct adaptive_conf *adaptive = value;
    if (adaptive->min > adaptive->max)
        conf_error(conf, conf_get(node, "min") ? conf_get(node, "min") : node, "`min` is above `max`");
}

static const struct conf_field adaptive_fields[] = {
    { .name = "min",
      .type = { .kind = CONF_INT, .min = 1, .max = LIMIT_HIGHEST },
      .offset = CONF_AT(adaptive_conf, min),
      .default_text = "4",
      .doc = "It is never lower." },
    { .name = "max",
      .type = { .kind = CONF_INT, .min = 1, .max = LIMIT_HIGHEST },
      .offset = CONF_AT(adaptive_conf, max),
      .default_text = "1000",
      .doc = "It is never higher." },
    { .name = "initial",
      .type = { .kind = CONF_INT, .min = 1, .max = LIMIT_HIGHEST },
      .offset = CONF_AT(adaptive_conf, initial),
      .default_text = "20",
      .doc = "Where it begins, before anything is known of the service." },
    CONF_END,
};

const struct conf_struct adaptive_schema = {
    .name = "adaptive_concurrency",
    .size = sizeof(struct adaptive_conf),
    .fields = adaptive_fields,
    .doc = "A limit on the upstream's requests that finds itself, from how long answers take.",
    .validate = check_adaptive,
    .example = "adaptive_concurrency: { min: 4, max: 500 }\n",
};
