/* The handler behind every path of the admin listener. Its data is the gateway. */
#pragma once

struct handler_type;
extern const struct handler_type handler_admin;
