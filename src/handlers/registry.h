/* Every handler a route can name; the variants' `type` is a struct handler_type. */
#pragma once

struct conf_registry;
extern const struct conf_registry handler_registry;
