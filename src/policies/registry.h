/*
 * Every policy that a configuration can name; the variants' `type` is a struct policy_type.  Where policies are listed,
 * a set of them can stand as well (`use: NAME`): there the variant's type is NULL and its value a struct policy_use.
 */
#pragma once

#include "conf/conf.h"

struct policy_use {
    struct conf_ref set; /* to the list of struct conf_choice */
};

extern const struct conf_registry policy_registry;         /* in a set */
extern const struct conf_registry authentication_registry; /* in any_of and all_of */
extern const struct conf_registry policy_place_registry;   /* everywhere else */
