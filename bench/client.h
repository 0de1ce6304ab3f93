/*
 * One client connection of the load generator: sends a request, reads the answer to its end,
 * checks it, and either keeps the connection or waits for the other side to close it.
 *
 *     CLOSED -> SENDING -> HEAD -> BODY -> IDLE        kept alive, until the next client_start()
 *                                     \-> CLOSING      one request a connection: until the peer's FIN
 *
 * Level-triggered epoll, registered for reading once; writing is only watched while the socket
 * is full or the handshake is under way. Bodies are discarded inside the kernel (MSG_TRUNC): their length is
 * checked, their content is not.
 */
#pragma once

#include "tally.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CLIENT_HEAD_MAX = 4096 };

enum client_state {
    CLIENT_CLOSED,
    CLIENT_SENDING,
    CLIENT_HEAD,
    CLIENT_BODY,
    CLIENT_IDLE,
    CLIENT_CLOSING,
};

/* One request as it is sent. Owned by the load. */
struct request {
    char *bytes;
    size_t length;
};

/* What all clients of a run share. Owned by the load, constant during the run. */
struct client_setup {
    struct sockaddr_in address;
    int epoll_fd;
    bool close;            /* one request a connection */
    uint64_t upload_bytes; /* sent behind the head */
    uint64_t expect_bytes; /* the body's length, UINT64_MAX for any */
};

/* One connection. Lives in the load's array for the whole run. */
struct client {
    const struct client_setup *setup;
    int fd;
    enum client_state state;
    bool write_watched;
    bool last;           /* the answer said "Connection: close" */
    bool proven;         /* has had one good answer */
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

enum client_event {
    CLIENT_PENDING,  /* nothing to tell */
    CLIENT_ANSWERED, /* a whole, good answer; the state says what the connection does */
    CLIENT_ENDED,    /* the peer closed an idle or closing connection */
    CLIENT_FAILED,   /* *ret_failure says how; the connection is closed */
};

void client_init(struct client *client, const struct client_setup *setup);

/* Sends the next request, on a new connection if there is none. The answer's latency counts
 * from started_ns. Returns CLIENT_PENDING or CLIENT_FAILED. */
enum client_event client_start(struct client *client, const struct request *request, uint64_t started_ns,
                               enum failure *ret_failure);

/* To be called for each epoll event whose data.ptr is this client. */
enum client_event client_on_event(struct client *client, uint32_t events, enum failure *ret_failure);

void client_close(struct client *client);
