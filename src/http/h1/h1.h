/*
 * HTTP/1.0 and 1.1 (RFC 9112), both roles, one codec.
 *
 *      bytes -> h1_scan (where does the head end?) -> copied to the arena -> h1_parse (in place) -> message
 *      message -> h1_write -> out pipe -> one sendmsg a turn
 *
 * A connection reads into the worker's scratch buffer and keeps one of its own only for a head that came in pieces or
 * for bytes behind a pipelined request; idle, it holds neither buffer nor stream: at most 232 bytes with its transport,
 * by static assertion.
 *
 * Owner: the connection frees itself (reclaim phase) after closing; one worker.
 */
#pragma once

#include "base/err.h"
#include "http/conn.h"
#include "http/stream.h"
#include "net/transport.h"

/* Server role: takes an accepted, plain descriptor. NULL (and the descriptor closed) without memory. */
struct http_conn *h1_serve(struct loop *loop, int fd, const struct address *peer, struct stream_host *host);
/* The same on a transport that is established already, which moves into the connection. NULL: it stays where it was. */
struct http_conn *h1_adopt(struct transport *from, const struct address *peer, struct stream_host *host);

/* Client role. Connecting starts at once; a stream may be opened at once and waits. Returns 0 or -ERR_CONNECT_* /
 * -ERR_SYSTEM / -ERR_MEMORY / -ERR_OVERLOADED. */
MUST_USE int h1_connect(struct loop *loop, const struct dial *dial, struct http_owner *owner,
                        struct http_conn **ret_conn);
