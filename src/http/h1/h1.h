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
#include "http/stream.h"
#include "net/transport.h"

struct h1_conn;

/* What the owner of a client connection is told. */
struct h1_client_owner {
    /* The response is complete and the connection may serve again: park it. Called once a stream, after release. */
    void (*on_idle)(struct h1_conn *conn, void *owner);
    /* It is gone (closed by either side, parked or not). The pointer is dead after the call. */
    void (*on_closed)(struct h1_conn *conn, void *owner);
};

/* Server role: takes the accepted descriptor. NULL (and the descriptor closed) without memory. `host`, `limits` and
 * `local` outlive it. */
struct h1_conn *h1_serve(struct loop *loop, int fd, const struct address *peer, const struct address *local,
                         struct stream_host *host, const struct http_limits *limits);
/* Ends idle connections: at once when nothing is in progress and `now` is set, else with the answer to the next
 * request. */
void h1_drain(struct h1_conn *conn, bool now);
/* Closes at once, resetting its stream with ERR_DRAINING. */
void h1_close(struct h1_conn *conn);

/* Client role. Connecting starts at once; a stream may be opened at once and waits. Returns 0 or -ERR_CONNECT_* /
 * -ERR_SYSTEM / -ERR_MEMORY. */
MUST_USE int h1_connect(struct loop *loop, const struct address *to, uint32_t connect_timeout_ms,
                        const struct http_limits *limits, const struct h1_client_owner *owner, void *owner_data,
                        struct h1_conn **ret_conn);
/* A stream on a fresh or idle connection. -ERR_UPSTREAM_UNSENT when the service has closed meanwhile (noticed before
 * any write): then the connection is gone, on_closed was called. -ERR_MEMORY: it is as it was. The events and user are
 * set before it returns. */
MUST_USE int h1_open(struct h1_conn *conn, struct arena *arena, const struct stream_events *events, void *user,
                     struct stream **ret_stream);
bool h1_is_usable(const struct h1_conn *conn); /* idle, no end seen, nothing unread */
uint64_t h1_idle_since_ms(const struct h1_conn *conn);
/* For a list of the owner's. A server connection leaves it when it closes; a client's owner unlinks it itself (in
 * on_closed at the latest). */
struct link *h1_link(struct h1_conn *conn);
struct h1_conn *h1_from_link(struct link *link);
