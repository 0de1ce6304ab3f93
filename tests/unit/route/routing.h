/*
 * A router built from YAML (a list of matches), and requests to it, for the tests of this room.  Routes are told apart
 * by their place in the list.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/memory.h"
#include "conf/conf.h"
#include "exchange/plan.h"
#include "http/message.h"
#include "route/router.h"

enum { ROUTING_MAX = 32, NO_ROUTE = -1 };

struct routing {
    struct conf *conf;
    struct router *router; /* NULL after errors */
    struct plan plans[ROUTING_MAX];
    size_t count;
    struct memory memory;
    struct arena *arena;
    struct message request; /* the one being asked about */
    struct route_match match;
};

/* Fails the test when the YAML itself is wrong by the schema. */
void routing_build(struct routing *r, const char *yaml);
/* Drops all and checks that no plan is held any more. */
void routing_done(struct routing *r);
/* "GET http://host/path?query": sets r->request, without fields. */
void routing_request(struct routing *r, const char *line);
void routing_field(struct routing *r, const char *name, const char *value);
/* Asks: the index of the route taken, or NO_ROUTE; r->match tells more. */
int routing_match(struct routing *r);
int routing_ask(struct routing *r, const char *line);
/* The value of a capture of the last match; "(none)" without. */
struct slice routing_capture(const struct routing *r, const char *name);
/* Does a diagnostic of that severity hold the text? */
bool routing_told(const struct routing *r, enum conf_severity severity, const char *text);

#define assert_slice_equal(got, text)                                                                                  \
    do {                                                                                                               \
        struct slice got_ = (got);                                                                                     \
        assert_int_equal(got_.len, strlen(text));                                                                      \
        assert_memory_equal(got_.at ? got_.at : "", text, strlen(text));                                               \
    } while (0)
