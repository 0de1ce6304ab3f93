/* The grpc_web policy's descriptor, for the registry. */
#pragma once

struct conf_struct;
struct policy_type;
extern const struct policy_type policy_grpc_web;
extern const struct conf_struct grpc_web_schema;
