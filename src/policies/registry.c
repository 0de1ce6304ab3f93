/*
 * The table of policies.  A new one is a folder with its descriptor and a line here.
 */
#include "policies/registry.h"

#include "conf/conf.h"
#include "policies/headers/policy_headers.h"

static const struct conf_variant variants[] = {
    { "headers", &headers_schema, &policy_headers },
    CONF_END,
};

const struct conf_registry policy_registry = { "policy", variants };
