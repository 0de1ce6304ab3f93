/* The authorize policy: who may do what. docs/policies/authorize.md */
#pragma once

#include "conf/conf.h"
#include "exchange/policy.h"

extern const struct conf_struct authorize_schema;
extern const struct policy_type policy_authorize;
