/* The any_of policy: one of several credentials is enough. docs/policies/any_of.md */
#pragma once

#include "conf/conf.h"
#include "exchange/policy.h"

extern const struct conf_struct any_of_schema;
extern const struct policy_type policy_any_of;
