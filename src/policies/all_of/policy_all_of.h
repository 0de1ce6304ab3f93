/* The all_of policy: several credentials are needed. docs/policies/all_of.md */
#pragma once

#include "conf/conf.h"
#include "exchange/policy.h"

extern const struct conf_struct all_of_schema;
extern const struct policy_type policy_all_of;
