/*
 * A stream is one request and its response on one connection, seen from above.  h1, h2, h3 and local each implement
 * stream_ops once and serve both roles:
 *
 *      server role: the stream is born with a request head (stream_host.on_request); the user sends the response.
 *      client role: the user opens it (upstream/), sends the request, and gets on_head with the response.
 *
 * Events only tell; the user sets bits and queues itself.  No op calls an event of the same stream before it returns.
 * `in` is what comes from the peer.  The codec never appends beyond its room; when the user has made room it calls
 * read_more. Each half closes alone. send_* only queues; the connection flushes once a turn. A write failure closes the
 * sending half alone (sent_cut); reading goes on to its end, since an answer may already be there. reset is synchronous
 * and final: no event follows it. release gives the stream back; it must have been told on_sent (server), have ended in
 * both halves (client), or been reset.
 *
 * Owner: the codec allocates it in the arena given by (client) or made for (server) the exchange; one worker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pipe.h"
#include "http/message.h"
#include "loop/loop.h"

struct stream;
struct arena;
struct address;
struct conn_facts;
struct proxy_rules;
struct transport_layer;

enum sent {
    SENT,    /* all that was in the pipe, and its end if it has ended */
    EMPTY,   /* all that was in the pipe; it is still open: call again when more came */
    BLOCKED, /* the connection holds enough: on_room will come */
};

struct stream_ops {
    /* `end`: no body follows. The message is serialised before the call returns. A server sends one final head; 101 and
     * a 2xx to CONNECT turn the stream into a tunnel: from then `in` carries raw bytes both ways. -ERR_MEMORY;
     * -ERR_CLIENT_CLOSED/-ERR_UPSTREAM_RESET when the sending half is gone. */
    int (*send_head)(struct stream *stream, const struct message *head, bool end);
    /* 1xx other than 101; server role only, before the final head. Dropped for an HTTP/1.0 client. */
    int (*send_interim)(struct stream *stream, const struct message *head);
    /* Carries the end too. A body that may not be (HEAD, 204) or that nobody can get any more (sent_cut) is dropped, so
     * the caller need not ask. A CUT pipe, or one with more or fewer bytes than the head declared, ends in SENT with
     * sent_cut set and end_sent not: the connection is then closed so that the peer sees it. */
    enum sent (*send_body)(struct stream *stream, struct pipe *pipe);
    void (*read_more)(struct stream *stream);
    void (*reset)(struct stream *stream, enum err err);
    void (*release)(struct stream *stream);
    /* Server role: the user will read no more of the request. The codec drains a bounded amount or closes lingering
     * once the response is out. */
    void (*stop_reading)(struct stream *stream);
};

struct stream_events {
    /* client role: the final response head is in stream->head; `ended` in stream->in when no body follows */
    void (*on_head)(struct stream *stream);
    /* client role: an interim head; valid during the call only unless copied (it lives in the arena, so it stays) */
    void (*on_interim)(struct stream *stream, const struct message *head);
    void (*on_body)(struct stream *stream); /* bytes or the end reached stream->in */
    void (*on_room)(struct stream *stream); /* after BLOCKED */
    /* The stream is over, from the peer's side: stream->err says why; `in` may still hold bytes. A response that had
     * begun is CUT in `in` as well. */
    void (*on_reset)(struct stream *stream);
    /* Someone wrote or the connection is up: the first byte of the request has been written to the kernel (client
     * role). May be NULL. */
    void (*on_written)(struct stream *stream);
    /* Server role: all that was sent, its end (or its cut) included, has reached the kernel. Comes once, from the
     * flush, never inside an op; the stream may be released now. (Not after reset or on_reset.)
     * Client role: in a tunnel, the same; may be NULL. */
    void (*on_sent)(struct stream *stream);
};

struct stream {
    const struct stream_ops *ops;
    const struct stream_events *events; /* set by the user before control goes back to the codec */
    void *user;
    struct arena *arena;
    struct message *head; /* the peer's: request (server role) or final response (client role, NULL until on_head) */
    struct pipe in;
    const struct address *peer;  /* the address at the other end of the connection */
    const struct address *local; /* ours; server role */
    struct conn_facts *facts; /* of the connection; NULL when it is a plain one. Held by the stream until its release */
    struct task
        reclaim; /* the user's, server role: to free the arena when the turn in which it released the stream ends */
    uint64_t bytes_in, bytes_out; /* on the wire, heads and framing included, as far as the codec can tell */
    uint8_t err;                  /* enum err, with on_reset */
    bool reused;                  /* client role: the connection had been opened for another stream */
    bool unsent;                  /* client role: nothing of the request has reached the kernel yet */
    bool reset_alone;             /* client role, with on_reset: the service reset this one; its connection serves on */
    bool head_sent;
    bool end_sent; /* our half is complete */
    bool sent_cut; /* our half broke: nothing more can be sent */
    bool tunnel;
    bool splices;      /* what it sends may come from a kernel pipe */
    bool body_waits;   /* set by the user, client role: bytes of the body will follow on_written at once */
    bool splice_in_ok; /* set by the user: no one reads this body's bytes, so they may stay in the kernel */
    bool last;         /* set by the user, server role: the connection is to end once its streams are out */
    bool untrusted;    /* set by the user, server role: where messages share one byte stream, what follows this one is
                          not to be taken for a request */
    bool secure;       /* TLS */
    bool quiet_ok;     /* set by the user: the peer may be silent within its body for as long as it likes */
};

static inline int stream_send_head(struct stream *s, const struct message *head, bool end)
{
    return s->ops->send_head(s, head, end);
}
static inline enum sent stream_send_body(struct stream *s, struct pipe *pipe)
{
    return s->ops->send_body(s, pipe);
}
static inline void stream_read_more(struct stream *s)
{
    s->ops->read_more(s);
}
static inline void stream_reset(struct stream *s, enum err err)
{
    s->ops->reset(s, err);
}

/* What a server-role codec asks of the room above it. One host a listener and worker; it outlives its connections, and
 * what it points to may change while they are open. */
struct stream_host {
    const struct http_limits *limits;
    const struct address *local;         /* the listener's */
    const struct transport_layer *layer; /* TLS; NULL: plain */
    const struct proxy_rules *proxy;     /* who brings a PROXY header (net/proxy_header.h); NULL: nobody */
    struct link conns;                   /* struct http_conn; the codecs put them in and take them out */
    /* A request head is complete, or so broken that it is answered locally: then err is not ERR_NONE and the head holds
     * what was understood (method OTHER and empty slices at worst). The receiver sets stream->events and user; the
     * arena is the receiver's from here. */
    void (*on_request)(struct stream_host *host, struct stream *stream, enum err err);
    /* A connection ended (all its streams have been released before). */
    void (*on_connection_end)(struct stream_host *host);
    /* A stream, or a connection, was refused before there was a request to answer: to be counted. May be NULL. */
    void (*on_dropped)(struct stream_host *host, enum err err);
    bool draining; /* no new requests: answers carry Connection: close / GOAWAY */
};

/* Limits and timeouts of one connection, shared by all of a listener; immutable. */
struct http_limits {
    uint32_t head_bytes_max;       /* request line and fields, or status line and fields: 431/414, 502 */
    uint32_t target_bytes_max;     /* 414 */
    uint16_t fields_max;           /* 431, 502 */
    uint32_t body_room_bytes;      /* of stream->in */
    uint32_t drain_bytes_max;      /* of an unread request body before the connection is closed instead */
    uint32_t splice_bytes_min;     /* splice when more than this is left; 0 never */
    uint32_t requests_max;         /* on one connection; 0 no limit */
    uint32_t handshake_timeout_ms; /* accept to what comes in front of HTTP (PROXY header, TLS) being done */
    uint32_t head_timeout_ms;      /* first byte (or accept) to the head's end */
    uint32_t keep_alive_ms;        /* idle between requests */
    uint32_t body_idle_ms;         /* the peer owes body bytes and sends none */
    uint32_t send_idle_ms;         /* we owe bytes and the peer takes none */
    uint32_t linger_ms;            /* after our end, waiting for theirs */
    uint32_t streams_max;          /* HTTP/2: open at once on one connection; 0: its default */
    uint32_t connection_bytes_max; /* HTTP/2: held of all its bodies, each way; 0: its default */
    bool underscores_ok;           /* keep fields with "_" in their name; else they are dropped */
    bool escaped_slashes_ok;       /* in paths: struct uri_rules, for whoever routes */
    bool empty_segments_ok;        /* the same */
};
