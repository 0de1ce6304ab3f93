/*
 * What the files of this room share.
 *
 *      accept.c    the listening socket
 *      server.c    life of a server and its connections
 *      dispatch.c  a request head to a route to an exchange
 */
#pragma once

#include "serve/server.h"

enum { SERVER_MAGIC = 0x53525652 }; /* "SRVR" */

struct server {
    uint32_t magic;
    struct worker *worker;
    struct serve_shared *shared;
    struct address address;
    struct io io;
    struct timer pause_timer;
    struct task free_task;
    struct stream_host host;
    struct http_limits limits;
    struct proxy_rules proxy;
    const struct forwarding_conf *forwarding;
    struct router *router;
    struct conf *conf;
    struct tls_layer *tls; /* NULL: plain */
    struct link link;      /* in the list given to server_stop */
    unsigned connections;
    bool paused, stopping;
};

/* accept.c */
void accept_on_ready(struct io *io);
void accept_on_pause_over(struct timer *timer);
void accept_resume(struct server *server);
void accept_rest(struct server *server);
/* server.c */
void server_connection_ended(struct server *server);
/* dispatch.c */
void dispatch_request(struct stream_host *host, struct stream *stream, enum err err);
