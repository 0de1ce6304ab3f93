/*
 * Local answers: problem details (RFC 9457) or plain text, as the client's Accept prefers.
 */
#pragma once

#include "base/err.h"
#include "base/slice.h"

struct arena;
struct message;

enum reply_form { REPLY_PROBLEM, REPLY_TEXT };
/* From Accept: plain text only when it is preferred to application/problem+json and application/json. */
enum reply_form reply_choose(const struct message *request);
/* The body for an error; at == NULL without memory. */
struct slice reply_body(struct arena *arena, enum reply_form form, enum err err, unsigned status, struct slice detail,
                        struct slice instance);
