/*
 * Header and trailer fields.  Names and values are slices into the arena that holds the head; the well-known names
 * carry an id, so that no one on the hot path compares text.  Names keep the case they came with (HTTP/2 and 3 send
 * lower case). A removed field has an empty name and is skipped by FIELDS_FOR_EACH.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct arena;

/* id, canonical name. The list is what the code asks for by id; anything else is FIELD_OTHER. */
#define FIELD_TABLE(X)                                                                                                 \
    X(HOST, "Host")                                                                                                    \
    X(CONTENT_LENGTH, "Content-Length")                                                                                \
    X(TRANSFER_ENCODING, "Transfer-Encoding")                                                                          \
    X(CONNECTION, "Connection")                                                                                        \
    X(KEEP_ALIVE, "Keep-Alive")                                                                                        \
    X(PROXY_CONNECTION, "Proxy-Connection")                                                                            \
    X(UPGRADE, "Upgrade")                                                                                              \
    X(TE, "TE")                                                                                                        \
    X(TRAILER, "Trailer")                                                                                              \
    X(EXPECT, "Expect")                                                                                                \
    X(VIA, "Via")                                                                                                      \
    X(DATE, "Date")                                                                                                    \
    X(SERVER, "Server")                                                                                                \
    X(FORWARDED, "Forwarded")                                                                                          \
    X(X_FORWARDED_FOR, "X-Forwarded-For")                                                                              \
    X(X_FORWARDED_PROTO, "X-Forwarded-Proto")                                                                          \
    X(X_FORWARDED_HOST, "X-Forwarded-Host")                                                                            \
    X(X_FORWARDED_PORT, "X-Forwarded-Port")                                                                            \
    X(X_REAL_IP, "X-Real-IP")                                                                                          \
    X(ACCEPT, "Accept")                                                                                                \
    X(ACCEPT_ENCODING, "Accept-Encoding")                                                                              \
    X(AUTHORIZATION, "Authorization")                                                                                  \
    X(CONTENT_TYPE, "Content-Type")                                                                                    \
    X(CONTENT_ENCODING, "Content-Encoding")                                                                            \
    X(COOKIE, "Cookie")                                                                                                \
    X(SET_COOKIE, "Set-Cookie")                                                                                        \
    X(LOCATION, "Location")                                                                                            \
    X(RETRY_AFTER, "Retry-After")                                                                                      \
    X(USER_AGENT, "User-Agent")                                                                                        \
    X(REFERER, "Referer")                                                                                              \
    X(ALLOW, "Allow")                                                                                                  \
    X(WWW_AUTHENTICATE, "WWW-Authenticate")                                                                            \
    X(PROXY_AUTHENTICATE, "Proxy-Authenticate")                                                                        \
    X(PROXY_AUTHORIZATION, "Proxy-Authorization")                                                                      \
    X(ETAG, "ETag")                                                                                                    \
    X(RANGE, "Range")                                                                                                  \
    X(CACHE_CONTROL, "Cache-Control")                                                                                  \
    X(VARY, "Vary")                                                                                                    \
    X(AGE, "Age")                                                                                                      \
    X(ORIGIN, "Origin")                                                                                                \
    X(HTTP2_SETTINGS, "HTTP2-Settings")                                                                                \
    X(X_REQUEST_ID, "X-Request-ID")                                                                                    \
    X(TRACEPARENT, "traceparent")                                                                                      \
    X(GRPC_STATUS, "grpc-status")                                                                                      \
    X(GRPC_TIMEOUT, "grpc-timeout")                                                                                    \
    X(PROXY_STATUS, "Proxy-Status")

enum field_id {
    FIELD_OTHER,
#define X(id, name) FIELD_##id,
    FIELD_TABLE(X)
#undef X
        FIELD_COUNT
};

struct field {
    struct slice name, value;
    uint16_t id; /* enum field_id */
};

struct fields {
    struct field *v; /* in the arena */
    uint16_t count, size;
};

/* Without case; FIELD_OTHER when it is none of the table. */
enum field_id field_id(struct slice name);
struct slice field_name(enum field_id id); /* canonical */

#define FIELDS_FOR_EACH(f, fields)                                                                                     \
    for (struct field *f = (fields)->v, *f##_end = (fields)->count ? f + (fields)->count : f; f < f##_end; f++)        \
        if (f->name.len == 0) {                                                                                        \
        } else

/* First with the id or name (without case); NULL when there is none. */
struct field *fields_find(const struct fields *fields, enum field_id id);
struct field *fields_find_name(const struct fields *fields, struct slice name);
/* Appends; name and value must live as long as the arena. -ERR_MEMORY, -ERR_HEAD_TOO_LARGE past FIELDS_MAX, or
 * -ERR_BAD_FIELD when the name or value could not be sent (so that no policy can be made to split a message). */
MUST_USE int fields_add(struct fields *fields, struct arena *arena, struct slice name, struct slice value);
MUST_USE int fields_add_id(struct fields *fields, struct arena *arena, enum field_id id, struct slice value);
/* Replaces all of that name by one. Errors as fields_add. */
MUST_USE int fields_set(struct fields *fields, struct arena *arena, struct slice name, struct slice value);
MUST_USE int fields_set_id(struct fields *fields, struct arena *arena, enum field_id id, struct slice value);
/* Makes v larger than count; for codecs that append fields they have checked. Errors as fields_add. */
MUST_USE int fields_grow(struct fields *fields, struct arena *arena);
/* Returns how many were removed. */
unsigned fields_remove(struct fields *fields, enum field_id id);
unsigned fields_remove_name(struct fields *fields, struct slice name);
static inline void field_remove(struct field *field)
{
    field->name.len = 0;
    field->id = FIELD_OTHER;
}
/* Does a comma-separated field of that id (all its lines) list the token, without case? */
bool fields_list_has(const struct fields *fields, enum field_id id, struct slice token);

/* RFC 9110: what a name and a value may be made of. Value: no CR, LF, NUL or other control but tab. */
bool field_name_valid(struct slice name);
/* "X-Forwarded-..." of any kind or "X-Real-IP", without case and with "_" for "-", which many services read as the
 * same: who writes one claims to know what hops before it saw. */
bool field_tells_the_way(struct slice name);
bool field_value_valid(struct slice value);

enum { FIELDS_MAX = 1024 };
