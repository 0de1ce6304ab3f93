/*
 * What gRPC adds to HTTP (the protocol's own documents: PROTOCOL-HTTP2, PROTOCOL-WEB, http-grpc-status-mapping).
 * Which requests are calls, statuses and their words, the text of grpc-timeout, the escapes of grpc-message.  Facts
 * alone: what is done with them stands in exchange/, handlers/proxy/ and policies/grpc_web/.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct arena;
struct fields;
struct message;

/* Is a request a call, and in which of the three forms is its body? */
enum grpc_form {
    GRPC_NONE,
    GRPC_CALL,     /* application/grpc, with or without +proto, +json ... */
    GRPC_WEB,      /* application/grpc-web: the trailers stand at the end of the body */
    GRPC_WEB_TEXT, /* application/grpc-web-text: the same in base64 */
};

#define GRPC_STATUS_TABLE(X)                                                                                           \
    X(OK, "ok")                                                                                                        \
    X(CANCELLED, "cancelled")                                                                                          \
    X(UNKNOWN, "unknown")                                                                                              \
    X(INVALID_ARGUMENT, "invalid_argument")                                                                            \
    X(DEADLINE_EXCEEDED, "deadline_exceeded")                                                                          \
    X(NOT_FOUND, "not_found")                                                                                          \
    X(ALREADY_EXISTS, "already_exists")                                                                                \
    X(PERMISSION_DENIED, "permission_denied")                                                                          \
    X(RESOURCE_EXHAUSTED, "resource_exhausted")                                                                        \
    X(FAILED_PRECONDITION, "failed_precondition")                                                                      \
    X(ABORTED, "aborted")                                                                                              \
    X(OUT_OF_RANGE, "out_of_range")                                                                                    \
    X(UNIMPLEMENTED, "unimplemented")                                                                                  \
    X(INTERNAL, "internal")                                                                                            \
    X(UNAVAILABLE, "unavailable")                                                                                      \
    X(DATA_LOSS, "data_loss")                                                                                          \
    X(UNAUTHENTICATED, "unauthenticated")

/* The numbers that go over the wire, and two of ours. */
enum grpc_status {
#define X(name, word) GRPC_STATUS_##name,
    GRPC_STATUS_TABLE(X)
#undef X
        GRPC_STATUS_OTHER, /* there was one, and it is none of these */
    GRPC_STATUS_ABSENT,    /* there was none */
    GRPC_STATUS_COUNT
};

/* By method and Content-Type. */
enum grpc_form grpc_form(const struct message *request);
/* The form that a media type names, whatever its parameters; `*ret_suffix` is what stands behind "+" ("proto"), empty
 * without one. */
enum grpc_form grpc_media_form(struct slice type, struct slice *ret_suffix);

const char *grpc_status_word(enum grpc_status status);   /* "unavailable"; "other", "absent" */
const char *grpc_status_digits(enum grpc_status status); /* as sent: "14"; "2" for what is no status */
/* By word; GRPC_STATUS_ABSENT when it is none. */
enum grpc_status grpc_status_from_word(struct slice word);
/* What trailers, or the head of an answer without a body, say: GRPC_STATUS_OTHER when it is no status, _ABSENT when
 * there is none. `fields` may be NULL. */
enum grpc_status grpc_status_of(const struct fields *fields);
/* What a client makes of an answer without grpc-status (http-grpc-status-mapping). */
enum grpc_status grpc_status_of_http(unsigned status);
/* What a client is told of an error of ours. */
enum grpc_status grpc_status_of_err(enum err err);

/* grpc-timeout: one to eight digits and a unit (H M S m u n), nothing else. Microseconds, rounded up. */
bool grpc_timeout_parse(struct slice text, uint64_t *ret_timeout_us);
enum { GRPC_TIMEOUT_TEXT_MAX = 9 };
/* In the finest of milliseconds, seconds, minutes and hours that eight digits hold, rounded down; not terminated.
 * Returns the length. */
size_t grpc_timeout_format(uint64_t timeout_ms, char ret_text[GRPC_TIMEOUT_TEXT_MAX]);

/* grpc-message: printable ASCII but "%" as it is, all else as %XX. at == NULL without memory. */
struct slice grpc_message_escape(struct arena *arena, struct slice text);
