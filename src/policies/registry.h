/* Every policy a route can name; the variants' `type` is a struct policy_type. */
#pragma once

struct conf_registry;
extern const struct conf_registry policy_registry;
