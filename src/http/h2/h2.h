/*
 * HTTP/2 (RFC 9113) on nghttp2, both roles, one codec behind http/stream.h and http/conn.h.
 *
 * nghttp2 frames, keeps HPACK and counts windows; what a message may look like is judged here, by the tables that
 * HTTP/1 uses.  nghttp2 is entered from on_ready, the timer, the two tasks and stream ops that only queue; its
 * callbacks set bits, and events are raised once it has returned.
 *
 * Owner: the connection frees itself (reclaim phase) after closing; one worker.
 */
#pragma once

#include "base/err.h"
#include "http/conn.h"
#include "http/stream.h"
#include "net/transport.h"

/* Server role: the transport, established, moves into the connection; `bytes` is what was read from it already and
 * begins with the client's preface (empty: nothing was). NULL without memory: the transport stays where it was. */
struct http_conn *h2_adopt(struct transport *from, struct slice bytes, const struct address *peer,
                           struct stream_host *host);

/* Client role, with prior knowledge, or over a layer whose ALPN has to choose "h2": else the connection fails with
 * ERR_TLS_FAILED. Streams may be opened at once and wait. -ERR_CONNECT_*, -ERR_SYSTEM, -ERR_MEMORY, -ERR_OVERLOADED. */
MUST_USE int h2_connect(struct loop *loop, const struct dial *dial, struct http_owner *owner,
                        struct http_conn **ret_conn);
