/*
 * A handler out of the registry, loaded from a route in YAML, that answers requests in a real exchange over a local
 * stream.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "conf/conf.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "http/stream.h"

struct answering {
    struct conf *conf;
    struct worker worker;
    struct plan plan;
    struct plan_local local;
    struct stream_host host;
    const struct handler_type *type; /* NULL when it was refused */
    struct capture captures[2];
    unsigned capture_count;
    struct arena *arena; /* of the client's end */
    struct stream *client;
    struct message request;
    struct message *response; /* after answering_ask */
    struct slice body;
    bool reset;
};

/* `yaml`: a route, such as "{ match: { path: /a }, respond: 204 }". */
void answering_load(struct answering *a, const char *yaml);
void answering_done(struct answering *a);
/* "GET /path?query" with Host "gateway.example:8080": sends it and waits for the whole answer. */
void answering_ask(struct answering *a, const char *line);
/* The value of a field of the response; "(none)" without. */
struct slice answering_field(const struct answering *a, const char *name);
bool answering_told(const struct answering *a, const char *text);

#define assert_slice_equal(got, text)                                                                                  \
    do {                                                                                                               \
        struct slice got_ = (got);                                                                                     \
        if (!slice_eq(got_, slice_from(text)))                                                                         \
            fail_msg("expected `%s`, got `%.*s`", text, SLICE_ARG(got_));                                              \
    } while (0)
