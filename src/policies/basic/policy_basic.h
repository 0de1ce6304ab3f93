/* The basic policy: who a user's name and password say that the client is. docs/policies/basic.md */
#pragma once

#include "conf/conf.h"
#include "exchange/policy.h"

extern const struct conf_struct basic_schema;
extern const struct policy_type policy_basic;
