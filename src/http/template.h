/*
 * Templates: text with parts that a request fills in, compiled when the configuration loads.
 *
 *      "{client.network}"    "{header.X-Tenant}:{cookie.sid}"    "/files/{id}"    "a {{literal}} brace"
 *
 * What a name in braces means stands in one table (template.c); a bare name that is not in it is a capture of the
 * route's path. Names are checked here, once; evaluating (exchange/template.h) cannot fail but for memory. The text
 * belongs to the configuration and outlives the template.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct conf;
struct conf_node;

enum template_source {
    SOURCE_TEXT,
    SOURCE_METHOD,
    SOURCE_SCHEME,
    SOURCE_HOST,
    SOURCE_PATH,
    SOURCE_QUERY,
    SOURCE_URI,
    SOURCE_CLIENT_ADDRESS,
    SOURCE_CLIENT_NETWORK,
    SOURCE_CLIENT_PORT,
    SOURCE_ROUTE,
    SOURCE_CONSUMER, /* of the identity, which an authentication policy has found: empty without one */
    SOURCE_SUBJECT,
    SOURCE_HEADER, /* and these by a name */
    SOURCE_COOKIE,
    SOURCE_PARAM,
    SOURCE_CLAIM,
    SOURCE_CAPTURE,
};

struct template_part {
    uint8_t source;    /* enum template_source */
    uint16_t field;    /* SOURCE_HEADER: enum field_id */
    struct slice text; /* SOURCE_TEXT: as it stands; by a name: that name */
};

struct template
{
    struct template_part *parts;
    unsigned count; /* 0: the text was empty */
};

enum { TEMPLATE_PARTS_MAX = 64 };

/* A name of letters, digits and "_" that begins with no digit. */
bool capture_name_valid(struct slice name);
/* Is it a capture of the route that `node` stands in? NULL: routes are not at hand, and any capture may be meant. */
typedef bool template_capture_known(const struct conf_node *node, struct slice name);

/* 0, or -1 after conf_error at `node`. `text` must outlive the template, which template_done gives back. */
MUST_USE int template_compile(struct conf *conf, const struct conf_node *node, struct slice text,
                              template_capture_known *known, struct template *ret_template);
void template_done(struct template *template);
/* The same mistakes, and nothing kept: for schemas that check a text before anyone compiles it. */
void template_check(struct conf *conf, const struct conf_node *node, struct slice text);
