/*
 * Which captures a route gives, asked when the configuration loads: a handler that names one that its route does not
 * have is a mistake with a place, not an empty string at three in the morning.
 */
#pragma once

#include <stdbool.h>

#include "base/slice.h"
#include "http/template.h"

struct conf_node;

/* `node` is the handler's mapping or value in its route, or a member of it. True as well where the route is not at
 * hand. */
bool capture_known(const struct conf_node *node, struct slice name);
