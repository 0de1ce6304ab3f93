/* The client_certificate policy: who a certificate says that the client is. docs/policies/client_certificate.md */
#pragma once

#include "conf/conf.h"
#include "exchange/policy.h"

extern const struct conf_struct client_certificate_schema;
extern const struct policy_type policy_client_certificate;
