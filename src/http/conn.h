/*
 * A connection, whatever version of HTTP it speaks: what its owner, serve/ for clients and upstream/ for services, may
 * do with it.  First member of each codec's own connection.
 *
 *      server role: made by http_serve (http/serve.h), in the host's list until it ends
 *      client role: made by h1_connect or h2_connect, in its owner's lists; streams are opened on it
 *
 * Owner: it frees itself in the reclaim phase after it has closed; one worker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/list.h"
#include "http/stream.h"

struct http_conn;

struct http_conn_ops {
    const char *version; /* "h1", "h2" */
    /* No further streams, told to the peer as its version can: HTTP/2 sends GOAWAY at once, HTTP/1 says so in the next
     * answer. `now`: what has no stream is closed at once. */
    void (*drain)(struct http_conn *conn, bool now);
    /* At once; streams are reset with ERR_DRAINING. */
    void (*close)(struct http_conn *conn);
    /* Server role: others wait for room. One that has been served and has no stream now is closed, and that is told;
     * may be NULL. */
    bool (*shed)(struct http_conn *conn);

    /* Client role only. A stream on a connection with streams_free; it may be connecting still. The events and user are
     * set before it returns. -ERR_UPSTREAM_UNSENT when the service has closed meanwhile (noticed before any write):
     * then the connection is gone and on_closed was called. -ERR_MEMORY: it is as it was. */
    int (*open)(struct http_conn *conn, struct arena *arena, const struct stream_events *events, void *user,
                struct stream **ret_stream);
    /* How many more may be opened now: HTTP/1 one when idle; HTTP/2 what its peer allows, cautiously before it has said
     * so. 0 once it drains, either way. */
    uint32_t (*streams_free)(const struct http_conn *conn);
    uint32_t (*streams_open)(const struct http_conn *conn);  /* not released yet */
    uint64_t (*idle_since_ms)(const struct http_conn *conn); /* when the last stream was released */
};

struct http_conn {
    const struct http_conn_ops *ops;
    struct link link; /* server role: in the host's list, which it leaves when it closes. Client role: its owner's. */
};

/* What the owner of client connections is told; embedded in the owner, one for all its connections. */
struct http_owner {
    const struct http_limits *limits;
    uint32_t
        streams_seen; /* by the codec: what a peer has allowed last; the next connection starts from it. 0: unknown */
    /* A stream was given back; streams_free says whether the connection is good for another. It may be closed inside.
     * A connection that cannot serve again may close itself instead, without this. */
    void (*on_free)(struct http_owner *owner, struct http_conn *conn);
    /* It is gone, closed by either side; the pointer is dead after the call. streams_open still says how many it had,
     * which are told after this. */
    void (*on_closed)(struct http_owner *owner, struct http_conn *conn);
};

static inline struct http_conn *http_conn_of(struct link *link)
{
    return container_of(link, struct http_conn, link);
}
static inline void http_drain(struct http_conn *conn, bool now)
{
    conn->ops->drain(conn, now);
}
static inline void http_close(struct http_conn *conn)
{
    conn->ops->close(conn);
}
static inline bool http_shed(struct http_conn *conn)
{
    return conn->ops->shed && conn->ops->shed(conn);
}
static inline int http_open(struct http_conn *conn, struct arena *arena, const struct stream_events *events, void *user,
                            struct stream **ret_stream)
{
    return conn->ops->open(conn, arena, events, user, ret_stream);
}
static inline uint32_t http_streams_free(const struct http_conn *conn)
{
    return conn->ops->streams_free(conn);
}
static inline uint32_t http_streams_open(const struct http_conn *conn)
{
    return conn->ops->streams_open(conn);
}
static inline uint64_t http_idle_since_ms(const struct http_conn *conn)
{
    return conn->ops->idle_since_ms(conn);
}
