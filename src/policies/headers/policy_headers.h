/* The headers policy's descriptor, for the registry. */
#pragma once

struct conf_struct;
struct policy_type;
extern const struct policy_type policy_headers;
extern const struct conf_struct headers_schema;
