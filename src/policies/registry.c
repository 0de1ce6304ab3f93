/*
 * The table of policies.  A new one is a folder with its descriptor and a line here.
 */
#include "policies/registry.h"

#include "conf/conf.h"
#include "policies/all_of/policy_all_of.h"
#include "policies/any_of/policy_any_of.h"
#include "policies/api_key/policy_api_key.h"
#include "policies/authorize/policy_authorize.h"
#include "policies/basic/policy_basic.h"
#include "policies/client_certificate/policy_client_certificate.h"
#include "policies/grpc_web/policy_grpc_web.h"
#include "policies/headers/policy_headers.h"
#include "policies/jwt/policy_jwt.h"
#include "policies/rate_limit/policy_rate_limit.h"

/* clang-format off */
/* Those that say who a request comes from, and may stand within each other. */
#define AUTHENTICATION                                                                              \
    { "all_of", &all_of_schema, &policy_all_of },                                                   \
    { "any_of", &any_of_schema, &policy_any_of },                                                   \
    { "api_key", &api_key_schema, &policy_api_key },                                                \
    { "basic", &basic_schema, &policy_basic },                                                      \
    { "client_certificate", &client_certificate_schema, &policy_client_certificate },               \
    { "jwt", &jwt_schema, &policy_jwt }
#define POLICIES                                                                                    \
    AUTHENTICATION,                                                                                 \
    { "authorize", &authorize_schema, &policy_authorize },                                          \
    { "grpc_web", &grpc_web_schema, &policy_grpc_web },                                             \
    { "headers", &headers_schema, &policy_headers },                                                \
    { "rate_limit", &rate_limit_schema, &policy_rate_limit }
/* clang-format on */

static const struct conf_variant policies[] = { POLICIES, CONF_END };
const struct conf_registry policy_registry = { "policy", policies };

static const struct conf_variant authentication[] = { AUTHENTICATION, CONF_END };
const struct conf_registry authentication_registry = { "authentication policy", authentication };

static const struct conf_field use_fields[] = {
    { .name = "set",
      .type = { .kind = CONF_REF, .names = "policy_set" },
      .offset = CONF_AT(policy_use, set),
      .flags = CONF_REQUIRED,
      .doc = "A name declared under `policy_sets`." },
    CONF_END,
};

static const struct conf_struct use_schema = {
    .name = "use",
    .size = sizeof(struct policy_use),
    .fields = use_fields,
    .shorthand = "set",
    .doc = "The policies of a set, in its order. Wherever a set is used it is the same one: a limit in it counts all "
           "that passes any of these places.",
    .example = "policy_sets:\n  public:\n    - headers: { response: { remove: [Server] } }\nroutes:\n"
               "  - match: { prefix: / }\n    policies: [ { use: public } ]\n    proxy: app\n",
};

static const struct conf_variant places[] = { { "use", &use_schema, NULL }, POLICIES, CONF_END };
const struct conf_registry policy_place_registry = { "policy", places };
