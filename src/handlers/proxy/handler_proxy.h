/* The proxy handler's descriptor, for the registry. */
#pragma once

struct handler_type;
extern const struct handler_type handler_proxy;
