/*
 * What the spine does for gRPC: a request is recognised once, its grpc-timeout becomes the exchange's deadline, local
 * answers have the form that its clients understand, and the status it ended with is noted (docs/grpc.md).
 *
 * The client's form decides: a call in gRPC-Web keeps x->grpc when a policy has translated it for the service.
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"
#include "conf/conf.h"
#include "http/grpc.h"

struct exchange;
struct message;

struct grpc_conf {
    int64_t timeout_max_ms; /* of what clients ask for; 0: no limit */
    bool ignore_timeout;
};
extern const struct conf_struct grpc_schema;

/* In exchange_begin. */
void grpc_recognise(struct exchange *x);
/* As the exchange begins, behind the route's own timeout. ERR_BAD_GRPC_TIMEOUT, ERR_DEADLINE_EXCEEDED. */
MUST_USE enum err grpc_read_timeout(struct exchange *x);
/* What is left of the deadline, for the next service: sets grpc-timeout of `head`. 0 or -ERR_x of fields_set. */
MUST_USE int grpc_tell_timeout(const struct exchange *x, struct message *head);
/* An error as an answer that is trailers alone. -ERR_MEMORY and the like: nothing can be said but a status. */
MUST_USE int grpc_reply(struct exchange *x, enum err err, struct slice detail);
/* From a head or the trailers of the answer; the first that says something counts. `fields` may be NULL. */
void grpc_note_status(struct exchange *x, const struct fields *fields);
/* As the exchange ends. */
void grpc_count(struct exchange *x);
