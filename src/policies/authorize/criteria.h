/*
 * What a rule asks of a request: every criterion that is given has to fit, and of a list one of its items (of the
 * `all_` lists each).
 */
#pragma once

#include <stdbool.h>

#include "conf/conf.h"

struct exchange;

struct criteria_conf {
    struct conf_list consumers, groups, all_groups, scopes, all_scopes; /* const char * */
    struct conf_list claims;                                            /* MAP of conf_list of const char * */
    struct conf_list methods, paths;                                    /* const char * */
    struct conf_list addresses;                                         /* struct network */
};
extern const struct conf_struct criteria_schema;

struct criteria;

/* Control thread. The strings and networks stay the settings'. NULL after conf_error. */
struct criteria *criteria_compile(struct conf *conf, const struct conf_node *node,
                                  const struct criteria_conf *settings);
void criteria_free(struct criteria *criteria); /* NULL is fine */

enum fit {
    FIT_NO,
    FIT_UNKNOWN, /* there was no memory to find out */
    FIT_YES,
    FIT_ANONYMOUS, /* all but the identity, which nobody has told: it might fit with one */
};
enum fit criteria_fit(const struct criteria *criteria, struct exchange *x);
