/*
 * Messages to nghttp2's fields, and the frames that carry them.  nghttp2 copies what it is given, but for what is there
 * for good, and lowers the names that it copies. What could split a message once it is HTTP/1 again is refused with
 * ERR_INTERNAL, as in h1/write.c.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "http/message.h"

struct h2_stream;

/* Once for the process, before anything else here. */
void h2_write_init(void);

/* A response's head; `tunnel`: 101 is sent as 200. `date`: as in h1_write_response. */
MUST_USE int h2_submit_response(struct h2_stream *s, const struct message *head, bool end, bool tunnel,
                                struct slice date);
MUST_USE int h2_submit_interim(struct h2_stream *s, const struct message *head);
/* Gives the stream its id. -ERR_UPSTREAM_REFUSED when the connection has none left. */
MUST_USE int h2_submit_request(struct h2_stream *s, const struct message *head, bool end, bool extended);
MUST_USE int h2_submit_trailers(struct h2_stream *s);
