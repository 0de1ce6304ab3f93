/* The rate_limit policy's descriptor, for the registry. */
#pragma once

struct conf_struct;
struct policy_type;
extern const struct policy_type policy_rate_limit;
extern const struct conf_struct rate_limit_schema;
