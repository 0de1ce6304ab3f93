/*
 * Fields and checks of `outlier_detection:`.
 */
#include "balance/outlier.h"
#include "conf/conf.h"

enum { HOUR_MS = 3600000, COUNT_MAX = 1000000 };

static void check_outliers(struct conf *conf, const struct conf_node *node, void *value);

static const struct conf_field success_rate_fields[] = {
    { .name = "min_targets",
      .type = { .kind = CONF_INT, .min = 2, .max = COUNT_MAX },
      .offset = CONF_AT(outlier_success_rate, min_targets),
      .default_text = "5",
      .doc = "With fewer targets that have enough requests there is no mean to compare with." },
    { .name = "min_requests",
      .type = { .kind = CONF_INT, .min = 1, .max = COUNT_MAX },
      .offset = CONF_AT(outlier_success_rate, min_requests),
      .default_text = "100",
      .doc = "Tries in the interval that a target must have had for its rate to count." },
    { .name = "stdev_factor",
      .type = { .kind = CONF_NUMBER, .min = 0, .max = 10 },
      .offset = CONF_AT(outlier_success_rate, stdev_factor),
      .default_text = "1.9",
      .doc = "A target is ejected when its success rate is below the mean by more than so many standard deviations. "
             "`0` goes without." },
    CONF_END,
};

static const struct conf_struct success_rate_schema = {
    .name = "outlier_success_rate",
    .size = sizeof(struct outlier_success_rate),
    .fields = success_rate_fields,
    .shorthand = "stdev_factor",
    .doc = "Targets that succeed much less often than the others.",
};

static const struct conf_field failure_percentage_fields[] = {
    { .name = "min_targets",
      .type = { .kind = CONF_INT, .min = 1, .max = COUNT_MAX },
      .offset = CONF_AT(outlier_failure_percentage, min_targets),
      .default_text = "5",
      .doc = "With fewer targets that have enough requests none is ejected for it." },
    { .name = "min_requests",
      .type = { .kind = CONF_INT, .min = 1, .max = COUNT_MAX },
      .offset = CONF_AT(outlier_failure_percentage, min_requests),
      .default_text = "50",
      .doc = "Tries in the interval that a target must have had." },
    { .name = "threshold",
      .type = { .kind = CONF_PERCENT },
      .offset = CONF_AT(outlier_failure_percentage, threshold_percent),
      .default_text = "85%",
      .doc = "A target is ejected when so many of its tries failed. `0` goes without." },
    CONF_END,
};

static const struct conf_struct failure_percentage_schema = {
    .name = "outlier_failure_percentage",
    .size = sizeof(struct outlier_failure_percentage),
    .fields = failure_percentage_fields,
    .shorthand = "threshold",
    .doc = "Targets that fail too often, whatever the others do.",
};

static const struct conf_field outlier_fields[] = {
    { .name = "enabled",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(outlier_conf, on),
      .default_text = "true",
      .doc = "`outlier_detection: on` has all defaults." },
    { .name = "interval",
      .type = { .kind = CONF_DURATION, .min = 100, .max = HOUR_MS },
      .offset = CONF_AT(outlier_conf, interval_ms),
      .default_text = "10s",
      .doc = "How often rates are looked at, and over how long." },
    { .name = "consecutive_5xx",
      .type = { .kind = CONF_INT, .max = COUNT_MAX },
      .offset = CONF_AT(outlier_conf, consecutive_5xx),
      .default_text = "5",
      .doc = "Ejects after so many failures in a row: answers of 500 or more, and tries without an answer unless "
             "`split_local_failures` is on. `0` goes without." },
    { .name = "consecutive_gateway_failures",
      .type = { .kind = CONF_INT, .max = COUNT_MAX },
      .offset = CONF_AT(outlier_conf, consecutive_gateway),
      .default_text = "0",
      .doc = "The same for 502, 503 and 504 alone. They are failures of the kind above, too: it says something when it "
             "is the smaller number, or when the other is 0. `0` goes without." },
    { .name = "consecutive_local_failures",
      .type = { .kind = CONF_INT, .max = COUNT_MAX },
      .offset = CONF_AT(outlier_conf, consecutive_local),
      .default_text = "5",
      .doc = "With `split_local_failures`: ejects after so many tries in a row without an answer. `0` goes without." },
    { .name = "split_local_failures",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(outlier_conf, split_local),
      .default_text = "false",
      .doc = "Tries without an answer (connect, TLS, reset, timeout) are counted in a row of their own, not as 5xx. In "
             "rates they count either way." },
    { .name = "base_ejection",
      .type = { .kind = CONF_DURATION, .min = 1, .max = 24 * HOUR_MS },
      .offset = CONF_AT(outlier_conf, base_ejection_ms),
      .default_text = "30s",
      .doc = "How long the first ejection lasts; the second twice, the third three times as long. Each interval that "
             "the target serves takes one off." },
    { .name = "max_ejection",
      .type = { .kind = CONF_DURATION, .min = 1, .max = 24 * HOUR_MS },
      .offset = CONF_AT(outlier_conf, max_ejection_ms),
      .default_text = "5m",
      .doc = "Where that growth ends." },
    { .name = "max_ejected",
      .type = { .kind = CONF_PERCENT },
      .offset = CONF_AT(outlier_conf, max_ejected_percent),
      .default_text = "10%",
      .doc = "How many targets may be out at once: this share of them, at least one; but never the only one." },
    { .name = "success_rate",
      .type = { .kind = CONF_STRUCT, .structure = &success_rate_schema },
      .offset = CONF_AT(outlier_conf, success_rate),
      .doc = "Ejects targets that succeed much less often than the others." },
    { .name = "failure_percentage",
      .type = { .kind = CONF_STRUCT, .structure = &failure_percentage_schema },
      .offset = CONF_AT(outlier_conf, failure_percentage),
      .doc = "Ejects targets that fail too often." },
    CONF_END,
};

const struct conf_struct outlier_schema = {
    .name = "outlier_detection",
    .size = sizeof(struct outlier_conf),
    .fields = outlier_fields,
    .shorthand = "enabled",
    .validate = check_outliers,
    .doc = "Ejects targets for a while by how real requests to them go.",
    .example = "upstreams:\n"
               "  users:\n"
               "    targets: [ 10.0.0.1:9001, 10.0.0.2:9001, 10.0.0.3:9001 ]\n"
               "    outlier_detection: { consecutive_5xx: 5, base_ejection: 30s, max_ejected: 34% }\n",
};

static void check_outliers(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct outlier_conf *outlier = value;
    if (outlier->max_ejection_ms < outlier->base_ejection_ms)
        conf_error(conf, conf_get(node, "max_ejection") ? conf_get(node, "max_ejection") : node,
                   "`max_ejection` is below `base_ejection`, where the growth begins");
    if (conf_get(node, "consecutive_local_failures") && !outlier->split_local)
        conf_warn(conf, conf_get(node, "consecutive_local_failures"),
                  "of no use: failures without an answer count as 5xx unless `split_local_failures` is on");
}
