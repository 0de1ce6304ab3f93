/*
 * The table of policies.  A new one is a folder with its descriptor and a line here.
 */
#include "policies/registry.h"

#include "conf/conf.h"
#include "policies/grpc_web/policy_grpc_web.h"
#include "policies/headers/policy_headers.h"

static const struct conf_variant variants[] = {
    { "grpc_web", &grpc_web_schema, &policy_grpc_web },
    { "headers", &headers_schema, &policy_headers },
    CONF_END,
};

const struct conf_registry policy_registry = { "policy", variants };
