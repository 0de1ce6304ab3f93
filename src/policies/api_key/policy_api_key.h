/* The api_key policy: who a key says that the client is. docs/policies/api_key.md */
#pragma once

#include "conf/conf.h"
#include "exchange/policy.h"

extern const struct conf_struct api_key_schema;
extern const struct policy_type policy_api_key;
