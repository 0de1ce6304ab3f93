/*
 * A server: one listening socket on one worker, and the client connections it accepted.
 *
 *      accept -> h1_serve (codec) -> on_request -> router -> exchange_begin
 *
 * The socket is level-triggered, so that another process may take over the same one.  Accepting pauses while the
 * process is at its connection limit or out of descriptors.
 *
 * Owner: control makes it by letter on the worker; after server_stop it frees itself with its last connection. One
 * worker.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/list.h"
#include "http/stream.h"
#include "loop/loop.h"
#include "net/address.h"
#include "net/proxy_header.h"

struct conf;
struct forwarding_conf;
struct router;
struct server;
struct tls_context;
struct worker;

/* Shared by all servers of the process. */
struct serve_shared {
    atomic_uint connections;
    atomic_ullong accepted, accept_errors, refused; /* refused: answered 503 by the shedding ladder */
    atomic_uint connections_max;                    /* 0: none; set by control at any time */
};

/* What a snapshot says of a listener; copied. The router and the conf are held by the server while they are in force.
 */
struct server_settings {
    struct http_limits limits;
    const struct forwarding_conf *forwarding;
    struct router *router;
    struct conf *conf;        /* owner of `forwarding`, and of the networks below */
    struct proxy_rules proxy; /* from nobody: no PROXY header comes */
    bool secure;              /* TLS; then `tls` is what new connections begin with */
    struct tls_context *tls;  /* NULL: there was no memory for it; a server that has none yet then serves nobody */
};

/* Takes the descriptor over; on failure it stays the caller's. -ERR_MEMORY, -ERR_SYSTEM. */
MUST_USE int server_start(struct worker *worker, int fd, const struct address *address, struct serve_shared *shared,
                          const struct server_settings *settings, struct server **ret_server);
/* A new snapshot: what is in progress keeps its route, the next request sees the new one. No connection is closed. */
void server_update(struct server *server, const struct server_settings *settings);
/* New certificates. */
void server_renew(struct server *server, struct tls_context *context);
enum server_stop {
    STOP_LISTENING, /* the listener went: accept what is queued, close, let connections go on until their next answer */
    STOP_HANDED,    /* another process serves the socket now: leave what is queued to it */
};
/* The server joins the list `stopping` until it frees itself. */
void server_stop(struct server *server, enum server_stop how, struct link *stopping);
/* Of a list of stopping servers: their connections have a request to come, and the plans of the snapshot before are
 * taken down. */
void servers_update(struct link *stopping, const struct server_settings *settings);
/* Of a list of stopping servers: close idle connections now. */
void servers_close_idle(struct link *stopping);
/* The drain limit is over: close everything. */
void servers_close_all(struct link *stopping);
