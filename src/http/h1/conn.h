/*
 * One HTTP/1 connection, inside the codec.
 *
 *      conn.c     birth, kept bytes, timer, death       receive.c  heads and bodies in
 *      server.c, respond.c, client.c   the roles        send.c     bodies out, the flush
 *
 * A connection has at most one stream.  What only a request in progress needs is in the stream, which lives in the
 * exchange's arena; what has to outlive it (bytes read too far, the rest of a body to be dropped) is taken from the
 * worker's memory for as long as it is needed.  Events are raised from on_ready, the timer and the two tasks alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"
#include "http/h1/h1.h"
#include "http/h1/parse.h"
#include "http/stream.h"
#include "loop/loop.h"
#include "net/transport.h"

enum {
    H1_MAGIC = 0x6831,
    READ_BYTES = 16384,      /* asked for where a head may begin: most messages are in one piece */
    HEAD_BYTES = 2048,       /* the same behind a large body, which mostly comes before another one: that is left to be
                                spliced, or read where it stays */
    LARGE_BYTES = 24576,     /* a body from which on that is better, as measured */
    TURN_BYTES_MAX = 262144, /* read of one body in one turn, so that others get theirs */
    OUT_MAX = 65536,         /* queued for sending; more is BLOCKED */
    OUT_LOW = OUT_MAX / 2,   /* on_room when no more than this is left */
    QUEUE_MIN = 4096,        /* beyond it: no tiny chunks near it, and a body of its size goes with its head */
    IOV_MAX_SENT = 64,
    BLANK_LINES_MAX = 2, /* empty lines in front of a request line (RFC 9112 2.2) */
    INTERIM_MAX = 32,    /* 1xx heads in front of one response */
    KEPT_MIN = 1024,
};

enum h1_state { H1_CONNECTING, H1_OPEN, H1_LINGERING, H1_CLOSED };

/* Why bytes go out or come in as they do. */
enum h1_kind { KIND_NONE, KIND_LENGTH, KIND_CHUNKED, KIND_CLOSE, KIND_TUNNEL };

/* What the connection waits for with `due_ms`. */
enum h1_wait { WAIT_NOTHING, WAIT_CONNECT, WAIT_HEAD, WAIT_IDLE, WAIT_DRAIN, WAIT_LINGER };

/* The body that comes in. */
struct h1_body {
    uint64_t left; /* KIND_LENGTH: bytes still to come */
    struct h1_chunks chunks;
    uint8_t kind; /* enum h1_kind */
    bool done;    /* its end was reached, or it broke */
    bool broken;  /* nothing that follows on this connection can be understood */
};

/* Bytes read and not used up: a head in pieces, what came behind a request, a body that found no room. */
struct h1_kept {
    uint32_t size, begin, end;
    uint32_t scanned; /* from begin: h1_scan's */
    char data[];
};

/* A body that no one reads any more; outlives its stream. */
struct h1_drain {
    struct h1_body body;
    uint64_t left; /* bytes we are willing to read */
};

struct h1_stream {
    struct stream base;   /* first */
    struct h1_conn *conn; /* NULL when it is gone, or the stream released */
    struct pipe out;
    struct h1_body body;
    int64_t owed;         /* KIND_LENGTH: body bytes declared and not yet queued */
    uint64_t body_due_ms; /* the peer owes body bytes; 0: not waited for */
    uint64_t send_due_ms; /* the peer should take bytes */
    struct slice asked;   /* client: the protocols of `asked_upgrade` */
    struct slice key;     /* client: of a WebSocket, when it was made here: then the answer is checked here too */
    uint64_t turn;        /* which turn_bytes counts */
    uint64_t drain_left;  /* with `discard` */
    uint32_t turn_bytes;
    uint8_t out_kind;   /* enum h1_kind */
    uint8_t method;     /* enum method: of the request */
    uint8_t interims;   /* client: 1xx heads seen */
    uint8_t fault;      /* enum err found inside an op: told from the flush */
    bool keep_alive;    /* both sides are willing to have another request behind this one */
    bool awaits_head;   /* client: the response's head has not come */
    bool asked_upgrade; /* the request asked for a tunnel by Upgrade */
    bool last;          /* client: the service may have taken the request's body for something else */
    bool expects;       /* server: the client waits for a 100 before it sends the body */
    bool want_room;     /* BLOCKED was said */
    bool written_told, sent_told;
    bool discard;               /* server: the body is read and dropped */
    bool cut_out;               /* what is queued is the last: then the connection is closed, visibly short */
    uint8_t cut_err;            /* enum err, why */
    struct address peer, local; /* copies: the stream may outlive the connection */
};

struct h1_conn {
    struct http_conn base; /* first */
    struct transport transport;
    struct timer timer;
    struct task flush_task; /* PHASE_FLUSH; PHASE_RECLAIM once closed */
    struct task read_task;  /* PHASE_RUN */
    struct h1_stream *stream;
    struct h1_kept *kept; /* NULL when there are no such bytes */
    uint64_t due_ms;      /* 0: not waiting; what for is in `wait` */
    union {
        struct {
            struct stream_host *host;
            struct h1_drain *drain;
        } server;
        struct {
            struct http_owner *owner;
            uint64_t idle_since_ms;
        } client;
    };
    struct address peer;
    uint32_t requests; /* streams it has served */
    uint16_t magic;
    uint16_t state : 3; /* enum h1_state */
    uint16_t wait : 3;  /* enum h1_wait */
    uint16_t blank_lines : 2;
    uint16_t is_client : 1;
    uint16_t fin : 1;      /* the peer's end was read */
    uint16_t draining : 1; /* no request after the next answer */
    uint16_t large : 1;    /* the last body that came in was */
};

/* What an idle connection costs, with its transport: 232 bytes are 240 of the heap, under half of what nginx takes. */
_Static_assert(sizeof(struct h1_conn) <= 232, "an idle connection and its transport fit 232 bytes");

static inline struct h1_conn *h1_conn_of(const struct http_conn *conn)
{
    return (struct h1_conn *)conn;
}
static inline const struct http_limits *conn_limits(const struct h1_conn *conn)
{
    return conn->is_client ? conn->client.owner->limits : conn->server.host->limits;
}
static inline struct loop *conn_loop(const struct h1_conn *conn)
{
    return conn->transport.loop;
}
static inline struct h1_stream *h1_stream_of(struct stream *stream)
{
    return (struct h1_stream *)stream;
}
static inline bool conn_can(const struct h1_conn *conn, enum io_bits bits)
{
    return (conn->transport.io.ready & bits) != 0;
}
static inline struct memory *conn_memory(const struct h1_conn *conn)
{
    return conn->transport.loop->memory;
}

/* ---- conn.c ---- */

struct h1_conn *conn_new(struct loop *loop, const struct http_conn_ops *ops, bool is_client);
/* What both roles do for their owner (struct http_conn_ops). */
void h1_drain(struct http_conn *conn, bool now);
void h1_close(struct http_conn *conn);
/* Before the transport is open, or when opening it failed. */
void conn_free(struct h1_conn *conn);
/* At once; the memory goes in the reclaim phase. `hard`: with a reset, so that the peer cannot take what it got for the
 * whole. The stream must have been detached. */
void conn_close(struct h1_conn *conn, bool hard);
/* The transport has moved on to another codec: the memory goes in the reclaim phase, and nobody is told. */
void conn_vanish(struct h1_conn *conn);
/* The connection forgets its stream and the stream its connection. */
struct h1_stream *conn_detach(struct h1_conn *conn);
/* Common beginnings of a stream, zeroed by the caller. */
void conn_attach(struct h1_conn *conn, struct h1_stream *s, struct arena *arena);
void conn_wait_for(struct h1_conn *conn, enum h1_wait wait, uint64_t timeout_ms);
/* Makes the timer fire in time for whatever is waited for. */
void conn_rearm(struct h1_conn *conn);

static inline struct slice kept_bytes(const struct h1_conn *conn)
{
    const struct h1_kept *kept = conn->kept;
    return kept ? slice_make(kept->data + kept->begin, kept->end - kept->begin) : SLICE_EMPTY;
}
/* Takes bytes from the front; the buffer goes when it is empty. */
void kept_consume(struct h1_conn *conn, size_t len);
/* There is no buffer: makes one. -ERR_MEMORY. Nothing for no bytes. */
MUST_USE int kept_store(struct h1_conn *conn, struct slice bytes);
/* Room for at least one byte more at the end. -ERR_MEMORY. */
MUST_USE int kept_room(struct h1_conn *conn, char **ret_at, size_t *ret_len);
void kept_drop(struct h1_conn *conn);

/* ---- receive.c ---- */

enum h1_next { NEXT_WAIT, NEXT_HEAD, NEXT_END, NEXT_LOST, NEXT_TOO_LARGE, NEXT_MEMORY };
/* Reads until a head is complete: *ret_bytes begins with its *ret_len bytes and stands in the scratch buffer, or is
 * kept_bytes. */
enum h1_next conn_next_head(struct h1_conn *conn, struct slice *ret_bytes, size_t *ret_len);
/* More bytes: behind the kept ones, or up to `max` (of READ_BYTES) into the scratch buffer when none are kept.
 * NEXT_HEAD, _WAIT, _END, _LOST or _MEMORY. */
enum h1_next conn_read_bytes(struct h1_conn *conn, size_t max, struct slice *ret_bytes);
/* What stands behind the head given by conn_next_head: goes to the body as far as it finds room, the rest is kept. 0 or
 * -ERR_x (of the body, or memory). */
MUST_USE int conn_took_head(struct h1_conn *conn, struct slice bytes, size_t head_len);
/* Reads the stream's body while it finds room and the turn's budget lasts. Tells on_body; failures go to the role's
 * _body_failed. */
void conn_read_body(struct h1_conn *conn);
/* Reads and drops. 1: the body's end is reached; 0: later; -ERR_x: it will not be (`left` is used up too). */
int conn_read_drain(struct h1_conn *conn, struct h1_body *body, uint64_t *left);
/* Begins or stops waiting for body bytes, as the state says. `progress`: some came. */
void stream_await_body(struct h1_stream *s, bool progress);
/* Reading may go on: from the run queue, later in this turn. */
void conn_read_later(struct h1_conn *conn);
/* The body behind a head is the stream's. */
void conn_begin_body(struct h1_conn *conn, const struct h1_head *head);

/* ---- send.c ---- */

/* Sends what is queued and tells what follows from it. The connection may be closed after it. */
void conn_flush(struct h1_conn *conn);
void conn_flush_later(struct h1_conn *conn);
enum sent h1_send_body(struct stream *stream, struct pipe *pipe);
/* Our half is complete. */
void stream_end_sent(struct h1_stream *s);
/* Takes back what of a head was written before memory ran out; false when other bytes stand before it, and the stream
 * is lost. */
void stream_unwrite(struct h1_stream *s, uint32_t bytes_before);
void stream_become_tunnel(struct h1_stream *s);

/* ---- the roles ---- */

void server_on_read(struct h1_conn *conn);
void server_on_due(struct h1_conn *conn);
void server_body_failed(struct h1_conn *conn, enum err err);
/* The client is lost: closes, tells the stream. */
void server_failed(struct h1_conn *conn, enum err err);

void client_on_read(struct h1_conn *conn);
void client_on_due(struct h1_conn *conn);
/* The connection is of no use any more: closes it, tells the stream. */
void client_failed(struct h1_conn *conn, enum err err);
void client_send_failed(struct h1_conn *conn, enum err err);
