/*
 * The version-neutral form of a request or response head.  Codecs make and send it; everything between speaks only
 * this. What belongs to one connection (Connection, Keep-Alive, TE, Transfer-Encoding, Upgrade, Proxy-Connection and
 * whatever Connection names) never gets into `fields`, nor does Host, which is `authority`; framing is `body_length`
 * alone.  Content-Length stands among the fields only as metadata of a response without a body (to HEAD, 304).
 *
 * Lives in an arena with all that its slices point to; one worker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "http/fields.h"

struct arena;

#define METHOD_TABLE(X) X(GET) X(HEAD) X(POST) X(PUT) X(DELETE) X(PATCH) X(OPTIONS) X(CONNECT) X(TRACE)

enum method {
    METHOD_OTHER,
#define X(name) METHOD_##name,
    METHOD_TABLE(X)
#undef X
        METHOD_COUNT
};

enum http_version { HTTP_1_0 = 10, HTTP_1_1 = 11, HTTP_2 = 20, HTTP_3 = 30 };

enum target_form { TARGET_ORIGIN, TARGET_ABSOLUTE, TARGET_ASTERISK, TARGET_AUTHORITY };

enum { BODY_NONE = -2, BODY_UNKNOWN = -1 }; /* else the number of bytes */

struct message {
    uint8_t version;      /* enum http_version it came with */
    uint8_t method;       /* enum method */
    uint8_t target_form;  /* enum target_form */
    bool has_query;       /* "/a?" differs from "/a" */
    bool expect_continue; /* Expect: 100-continue was there (and is not among the fields) */
    bool trailers_ok;     /* the sender takes trailers (TE: trailers) */
    uint16_t status;      /* response */
    int64_t body_length;  /* BODY_NONE, BODY_UNKNOWN or bytes */
    struct slice method_name;
    struct slice scheme;    /* "http", "https": what the connection is, whatever the target says */
    struct slice authority; /* Host: without user info, as sent */
    struct slice path;      /* still encoded, begins with "/" ("*" for TARGET_ASTERISK); as sent, settled once routed */
    struct slice query;     /* without "?" */
    struct slice reason;    /* response, HTTP/1 */
    struct slice
        upgrade; /* request: the protocols asked for; 101: the one accepted; a CONNECT tunnel has METHOD_CONNECT */
    struct fields fields;
};

enum method method_from(struct slice name); /* case-sensitive */
/* RFC 9110 9.2: may be sent again without harm. */
bool method_is_idempotent(enum method method);
bool method_is_safe(enum method method);
/* The usual phrase, "" for an unknown status. */
const char *status_reason(unsigned status);
/* May a response with that status to that method have content (RFC 9110 6.4.1)? */
bool status_has_body(unsigned status, enum method request_method);

/* All of it, with what its slices point to. NULL without memory. */
struct message *message_copy(struct arena *arena, const struct message *from);
/* Fields alone (trailers). -ERR_MEMORY. */
MUST_USE int message_copy_fields(struct arena *arena, const struct fields *from, struct fields *ret_fields);
