/* The redirect handler's descriptor, for the registry. */
#pragma once

struct conf_struct;
struct handler_type;
extern const struct handler_type handler_redirect;
extern const struct conf_struct redirect_schema;
