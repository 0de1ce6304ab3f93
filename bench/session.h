/*
 * One HTTP/2 connection of the load generator and the requests on it. To the load a request on a stream
 * is a client, as a connection of HTTP/1 is: `struct client` is started, answers or fails, and is started again.
 *
 *     CLOSED -> OPENING -> OPEN       TCP and TLS; requests wait in CLIENT_SENDING until it is open
 *        ^----------------/           the peer's end, an error, or GOAWAY once its streams are out
 *
 * What happens is told through setup->on_event. Requests are queued when they are started and leave with
 * session_flush(), once a turn of the loop. nghttp2 is entered from there and from session_on_event() alone;
 * its callbacks may start requests.
 */
#pragma once

#include "client.h"
#include "outbox.h"
#include "wire.h"

enum session_state {
    SESSION_CLOSED,
    SESSION_OPENING,
    SESSION_OPEN,
};

/* Owned by the load, for the whole run. */
struct session {
    const struct client_setup *setup;
    struct client *clients; /* the `streams` clients that use it */
    unsigned streams;
    struct wire wire;
    enum session_state state;
    bool write_watched;
    bool blocked;    /* the socket is full */
    bool flush_due;  /* is in the list of those with something to send */
    uint64_t closed; /* how often the peer has ended it between requests */
    struct session *next;
    nghttp2_session *h2;
    struct outbox outbox;
};

/* Puts the clients, which have been initialised, on the session. */
void session_init(struct session *session, const struct client_setup *setup, struct client *clients, unsigned streams);

/* As client_start(), which calls it. */
enum client_event session_start(struct session *session, struct client *client, enum failure *ret_failure);

/* To be called for each epoll event whose data.ptr is this session. */
void session_on_event(struct session *session, uint32_t events);

/* Sends what has been queued on all sessions. */
void sessions_flush(void);
