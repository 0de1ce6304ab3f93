/* The jwt policy: who a signed token says that the client is. docs/policies/jwt.md */
#pragma once

#include "conf/conf.h"
#include "exchange/policy.h"

extern const struct conf_struct jwt_schema;
extern const struct policy_type policy_jwt;
