/* The respond handler's descriptor, for the registry. */
#pragma once

struct conf_struct;
struct handler_type;
extern const struct handler_type handler_respond;
extern const struct conf_struct respond_schema;
