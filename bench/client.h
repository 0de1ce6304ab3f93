/*
 * One client connection of the load generator: sends a request, reads the answer to its end,
 * checks it, and either keeps the connection or waits for the other side to close it.
 *
 *     CLOSED -> (HANDSHAKE ->) SENDING -> HEAD -> BODY -> IDLE      kept alive, until the next client_start()
 *                                                    \-> CLOSING    one request a connection: until the peer's end
 *
 * Level-triggered epoll, registered for reading once; writing is only watched while the socket
 * is full or a handshake is under way. Bodies are discarded, in clear inside the kernel (MSG_TRUNC):
 * their length is checked, their content is not.
 *
 * With HTTP/2 a client is a stream after the other on a session (session.h): CLIENT_SENDING while it waits for the
 * connection, CLIENT_HEAD until it is answered, CLIENT_IDLE. Events of the connection then come in through the session.
 */
#pragma once

#include "tally.h"
#include "wire.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CLIENT_HEAD_MAX = 4096,
    GRPC_PREFIX = 5, /* before each message: one byte of flags, four of length */
};

struct client;
struct session;

enum client_state {
    CLIENT_CLOSED,
    CLIENT_HANDSHAKE,
    CLIENT_SENDING,
    CLIENT_HEAD,
    CLIENT_BODY,
    CLIENT_IDLE,
    CLIENT_CLOSING,
};

/* One request as it is sent. Owned by the load. */
struct request {
    char *bytes; /* of HTTP/1 */
    size_t length;
    const char *path;
    size_t path_len;
};

enum client_event {
    CLIENT_PENDING,  /* nothing to tell */
    CLIENT_ANSWERED, /* a whole, good answer; the state says what the connection does */
    CLIENT_ENDED,    /* the peer closed an idle or closing connection */
    CLIENT_FAILED,   /* *ret_failure says how; the connection, or the stream, is closed */
};

/* What all clients of a run share. Owned by the load, constant during the run. */
struct client_setup {
    struct sockaddr_in address;
    int epoll_fd;
    const struct tls_setup *tls; /* NULL: in clear */
    bool h2;
    bool grpc;             /* unary calls; what is sent and expected includes the prefix of the message */
    bool close;            /* one request a connection */
    uint64_t upload_bytes; /* sent behind the head */
    uint64_t expect_bytes; /* the body's length, UINT64_MAX for any */
    /* HTTP/2: an answer or a failure of a client that a session carries. */
    void (*on_event)(struct client *client, enum client_event event, enum failure failure);
};

/* One connection. Lives in the load's array for the whole run. */
struct client {
    const struct client_setup *setup;
    struct session *session; /* NULL: HTTP/1, on the wire below */
    struct wire wire;
    enum client_state state;
    bool write_watched;
    bool last;           /* the answer said "Connection: close" */
    bool proven;         /* has had one good answer */
    bool grpc_ok;        /* HTTP/2: the trailers said grpc-status 0 */
    unsigned status;     /* HTTP/2: as received */
    uint64_t started_ns; /* when the request was sent, or should have been */
    uint64_t upload_left;
    uint64_t body_left;
    uint64_t body_bytes;
    const struct request *request;
    size_t request_left;
    size_t in_len;
    struct client *next; /* in the load's queue of idle ones */
    char in[CLIENT_HEAD_MAX];
};

void client_init(struct client *client, const struct client_setup *setup);

/* Sends the next request, on a new connection if there is none. The answer's latency counts
 * from started_ns. Returns CLIENT_PENDING or CLIENT_FAILED. */
enum client_event client_start(struct client *client, const struct request *request, uint64_t started_ns,
                               enum failure *ret_failure);

/* To be called for each epoll event whose data.ptr is this client. */
enum client_event client_on_event(struct client *client, uint32_t events, enum failure *ret_failure);

void client_close(struct client *client);
