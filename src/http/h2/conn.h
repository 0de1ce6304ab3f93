/*
 * One HTTP/2 connection, inside the codec.
 *
 *      session.c  nghttp2: its memory, its options        conn.c     birth, timer, death
 *      receive.c  its callbacks: frames to news           send.c     bodies out, the flush
 *      head.c     judging heads, field by field           write.c    messages to fields
 *      server.c, client.c   the roles                     codes.c    error codes, both ways
 *
 * nghttp2's callbacks touch nothing but streams' bits and the connection's lists.  What they found is told once nghttp2
 * has returned: a stream with news stands in `news`, and h2_tell raises its events in their order.  An event may give
 * any stream back, or close the connection, so whoever tells looks at `current` and at the state again after each.
 *
 * What a connection holds when it is idle: this struct, and nghttp2's session with its two HPACK tables; the frame
 * buffer of a server's session is shared by all (session.c).
 */
#pragma once

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"
#include "http/h2/h2.h"
#include "http/h2/head.h"
#include "http/stream.h"
#include "loop/loop.h"
#include "net/transport.h"

enum {
    H2_MAGIC = 0x6832,
    FRAME_HEADER_BYTES = 9,
    READS_A_TURN = 4,                   /* of SCRATCH_BYTES, before other connections get theirs */
    STREAM_OUT_MAX = 65536,             /* queued of one body; more is BLOCKED */
    STREAM_OUT_LOW = 32768,             /* on_room when no more than this is left */
    OUT_MAX = 65536,                    /* framed and not yet sent: what stands in front of a small answer */
    FLUSHES_A_TURN = 4,                 /* of OUT_MAX each */
    QUEUE_SLACK = 4096,                 /* beyond STREAM_OUT_MAX, so that no tiny chunks are made where it is near */
    IOV_MAX_SENT = 64,                  /* transport_sendv's limit */
    INTERIM_MAX = 32,                   /* 1xx heads in front of one response */
    EARLY_HEADS_MAX = 8,                /* requests sent before the service's SETTINGS have come */
    STREAMS_DEFAULT = 100,              /* http_limits.streams_max when it is 0 */
    CONNECTION_BYTES_DEFAULT = 1 << 20, /* http_limits.connection_bytes_max when it is 0 */
    WINDOW_FIRST = 65535,               /* what a peer may send before it has seen our SETTINGS (RFC 9113 6.9.2) */
    COST_RESET = 50, /* of a client's patience: a stream that it resets, or makes us reset: 200 at once, 20 a second */
    LATE_RESETS_MAX = 8, /* answered streams whose request goes on; more are reset at once */
    DATA_WORTH = 4,      /* in patience: a DATA frame that the peer has made room for */
    OUTBOUND_MAX = 512,  /* frames that wait for a peer that does not read, before it is not listened to either */
};

enum h2_state { H2_CONNECTING, H2_OPEN, H2_ENDING /* our last words are on their way */, H2_LINGERING, H2_CLOSED };

enum h2_wait { H2_WAIT_NOTHING, H2_WAIT_CONNECT, H2_WAIT_FIRST, H2_WAIT_IDLE, H2_WAIT_LINGER };

/* What is to be told of a stream, in this order. */
enum h2_news {
    NEWS_REQUEST = 1,
    NEWS_INTERIM = 2,
    NEWS_HEAD = 4,
    NEWS_BODY = 8,
    NEWS_ROOM = 16,
    NEWS_WRITTEN = 32,
    NEWS_SENT = 64,
    NEWS_FAULT = 128,  /* found in a callback: the stream fails with `fault` */
    NEWS_CLOSED = 256, /* nghttp2 knows it no longer */
};

/* What a frame asked for that has to wait until nghttp2 has returned. */
enum h2_todo { TODO_SETTLED = 1, TODO_LAST_ID = 2, TODO_GONE = 4, TODO_CALM = 8, TODO_RESETS = 16 };

/* What a PING of ours is to tell by coming back. */
enum h2_ping { PING_GOAWAY_READ = 1, PING_ANSWER_READ = 2 };

/* How a body is framed: DATA all the same; what may follow differs. */
enum h2_out { OUT_NONE /* may not be */, OUT_COUNTED /* `owed` bytes */, OUT_OPEN };

struct h2_interim {
    struct h2_interim *next;
    const struct message *head;
};

struct h2_stream {
    struct stream base;   /* first */
    struct h2_conn *conn; /* NULL when it is gone, or the stream released */
    struct link link;     /* of the connection's */
    struct link news_link, mark_link, room_link, wait_link, end_link, body_link, send_link;
    struct pipe out;
    struct pipe *early; /* bytes of a tunnel that has not been accepted yet */
    struct h2_head *head;
    struct h2_interim *interims, **interims_end;
    struct fields *trailers;      /* of what goes out */
    struct message *final;        /* client: the answer's head, not told yet */
    struct slice asked;           /* client: the protocol of `asked_upgrade` */
    struct message *unsent_head;  /* client: waits for the service's SETTINGS */
    uint64_t returned;            /* of in.total, to the peer's windows */
    uint64_t dropped;             /* bytes that came and that nobody takes */
    int64_t expected;             /* content-length: body bytes still to come; -1 unknown */
    int64_t owed;                 /* OUT_COUNTED */
    uint64_t head_mark, end_mark; /* places in the connection's `out`; 0: none */
    uint64_t body_due_ms, send_due_ms;
    int32_t id; /* -1: not known to nghttp2 yet */
    uint32_t close_code;
    uint16_t news;    /* enum h2_news */
    uint8_t out_kind; /* enum h2_out */
    uint8_t method;   /* enum method: of the request */
    uint8_t interim_count;
    uint8_t fault;       /* enum err, with NEWS_FAULT or when nghttp2 was made to reset the stream */
    uint8_t request_err; /* enum err, with NEWS_REQUEST */
    uint8_t out_end;     /* enum pipe_end */
    uint8_t cut_err;     /* enum err, with out_end PIPE_CUT */
    bool known;          /* nghttp2 has it: submitted, and not closed */
    bool forgotten;      /* nghttp2 has closed it */
    bool remote_done;    /* the peer's half has ended */
    bool peer_reset;
    bool awaits_head;   /* client: the final head has not come */
    bool asked_tunnel;  /* the request was CONNECT, or extended CONNECT */
    bool asked_upgrade; /* extended CONNECT */
    bool early_end;     /* the peer's half ended before the tunnel was accepted */
    bool expects;       /* server: the client waits for a 100 before it sends the body */
    bool held;          /* server: Content-Length is 0, and the end has not come */
    bool malformed;     /* server: answered with a reset, whatever the user says */
    bool discard;       /* what comes is dropped */
    bool deferred;      /* nghttp2 asked for body bytes and there were none */
    bool end_framed;    /* END_STREAM, or the reset that ends a cut body, is in `out` */
    bool want_room, written_told, sent_told;
    bool early_sent;            /* client: counts among EARLY_HEADS_MAX */
    struct address peer, local; /* copies: the stream may outlive the connection */
};

/* Cheap frames are paid from a budget that time and work done refill. */
struct h2_patience {
    uint64_t at_ms; /* when `left` was right */
    int32_t left;
};

struct h2_kept {
    uint32_t size;
    char data[];
};

struct h2_conn {
    struct http_conn base; /* first */
    struct transport transport;
    struct timer timer;
    struct task flush_task; /* PHASE_FLUSH; PHASE_RECLAIM once closed */
    struct task read_task;  /* PHASE_RUN */
    nghttp2_session *session;
    struct link streams; /* attached ones, oldest first */
    struct link news, marked, rooms, waits, endings;
    struct link body_waits, send_waits; /* by their deadlines, which are as long for all */
    struct pipe out;                    /* whole frames */
    struct h2_stream *found;            /* whom nghttp2 spoke of last */
    struct h2_stream *current;          /* being told; NULL once it was given back */
    struct h2_stream *incoming;         /* whose header block is coming */
    struct h2_stream *fresh;            /* whose last frame is about to be appended to `out` */
    struct h2_kept *kept;               /* read before the connection was ours */
    uint64_t due_ms;                    /* 0: not waiting; what for is in `wait` */
    uint64_t head_due_ms;               /* a header block is coming in pieces */
    uint64_t write_due_ms;              /* the peer takes nothing */
    union {
        struct {
            struct stream_host *host;
        } server;
        struct {
            struct http_owner *owner;
            uint64_t idle_since_ms;
        } client;
    };
    struct h2_patience patience;
    uint32_t count;                /* streams attached */
    uint32_t requests;             /* ever */
    uint32_t early_heads;          /* client: sent before SETTINGS came */
    uint32_t block_bytes;          /* of the header block that is coming, decoded */
    size_t queued_bytes;           /* in all streams' out */
    size_t dropped_bytes;          /* of bodies that nobody takes: to be returned to the window */
    int32_t last_id;               /* server: the highest that the client has used */
    int32_t reset_low;             /* the lowest id that we have reset; 0: none */
    int32_t gap_begin, gap_end;    /* between these, exclusively, the latest ids that it passed over */
    int32_t late[LATE_RESETS_MAX]; /* server: ids that are reset once the answer has been read */
    uint32_t abort_code;           /* set in a callback that then fails */
    struct address peer;
    uint16_t magic;
    uint8_t state;     /* enum h2_state */
    uint8_t wait;      /* enum h2_wait */
    uint8_t abort_err; /* enum err */
    uint8_t todo;      /* enum h2_todo */
    bool is_client;
    bool spoken;      /* bytes have come */
    bool settled;     /* client: the service's SETTINGS have come */
    bool draining;    /* no new streams */
    bool notice_sent; /* server: GOAWAY with 2^31-1; the last id follows a round trip later */
    uint8_t late_count;
    bool late_pinged; /* PING_ANSWER_READ is on its way, for all of them */
    bool ping_due;    /* it has to go behind that GOAWAY, which nghttp2 would send later */
    bool goaway_sent;
    bool fin;         /* the peer's end was read */
    bool paused;      /* nghttp2 has more to send */
    bool layered;     /* client: ALPN has to choose */
    bool data_passed; /* since the last PING */
    bool choked;      /* reading stopped until the peer reads */
    bool broken;      /* client: nothing can be written any more */
    bool terminated;  /* GOAWAY with an error has been framed */
    bool in_session;  /* within nghttp2: nothing may be entered again */
    bool sharing;     /* the next large block that nghttp2 asks for is the shared frame buffer */
};

static inline struct h2_conn *h2_conn_of(const struct http_conn *conn)
{
    return (struct h2_conn *)conn;
}
static inline struct h2_stream *h2_stream_of(struct stream *stream)
{
    return (struct h2_stream *)stream;
}
static inline const struct http_limits *h2_limits(const struct h2_conn *conn)
{
    return conn->is_client ? conn->client.owner->limits : conn->server.host->limits;
}
static inline struct loop *h2_loop(const struct h2_conn *conn)
{
    return conn->transport.loop;
}
static inline struct memory *h2_memory(const struct h2_conn *conn)
{
    return conn->transport.loop->memory;
}
static inline bool h2_can(const struct h2_conn *conn, enum io_bits bits)
{
    return (conn->transport.io.ready & bits) != 0;
}
static inline uint32_t h2_streams_max(const struct h2_conn *conn)
{
    return h2_limits(conn)->streams_max ? h2_limits(conn)->streams_max : STREAMS_DEFAULT;
}
static inline uint32_t h2_bytes_max(const struct h2_conn *conn)
{
    return h2_limits(conn)->connection_bytes_max ? h2_limits(conn)->connection_bytes_max : CONNECTION_BYTES_DEFAULT;
}

/* ---- session.c ---- */

/* The session, with our SETTINGS queued. -ERR_MEMORY. */
MUST_USE int h2_session_begin(struct h2_conn *conn);

/* ---- conn.c ---- */

struct h2_conn *h2_conn_new(struct loop *loop, const struct http_conn_ops *ops, bool is_client);
/* Before it is anybody's. */
void h2_conn_free(struct h2_conn *conn);
void h2_wait_for(struct h2_conn *conn, enum h2_wait wait, uint64_t timeout_ms);
void h2_rearm(struct h2_conn *conn);
/* Ends it at once: every stream is told `err`; the memory goes in the reclaim phase. */
void h2_conn_end(struct h2_conn *conn, enum err err);
/* The peer breaks the protocol, or exceeds what we bear: GOAWAY, and the end. */
void h2_conn_abort(struct h2_conn *conn, uint32_t code, enum err err);
/* All has been said: our half is closed, and what still comes is dropped for a while. */
void h2_conn_finish(struct h2_conn *conn, enum err err);
/* GOAWAY: soft with a notice first (server), or final. */
void h2_conn_drain(struct h2_conn *conn, bool final);
void h2_drain(struct http_conn *conn, bool now);
void h2_close(struct http_conn *conn);
void h2_attach(struct h2_conn *conn, struct h2_stream *s, struct arena *arena);
/* The connection forgets the stream and the stream the connection; its owner is told of the room (client). */
void h2_detach(struct h2_stream *s);
/* RST_STREAM, if nghttp2 still has it. */
void h2_rst(struct h2_stream *s, uint32_t code);
/* The stream is over because of `err`: reset towards the peer, and the user is told. */
void h2_stream_fail(struct h2_stream *s, enum err err);
/* Not in time. */
void h2_body_overdue(struct h2_stream *s);

/* ---- receive.c ---- */

void h2_set_callbacks(nghttp2_session_callbacks *callbacks);
void h2_read(struct h2_conn *conn);
void h2_read_later(struct h2_conn *conn);
/* nghttp2's stream: several callbacks in a row speak of one. NULL when it is given back, or was never ours. */
static inline struct h2_stream *h2_find(struct h2_conn *conn, int32_t id)
{
    if (conn->found == NULL || conn->found->id != id)
        conn->found = nghttp2_session_get_stream_user_data(conn->session, id);
    return conn->found;
}
/* Raises what stands in `news`. */
void h2_tell(struct h2_conn *conn);
static inline void h2_add_news(struct h2_stream *s, enum h2_news news)
{
    s->news |= (uint16_t)news;
    if (s->news_link.next == &s->news_link)
        list_push_back(&s->conn->news, &s->news_link);
}
void h2_read_more(struct stream *stream);
/* Begins or stops waiting for body bytes. `progress`: some came. */
void h2_await_body(struct h2_stream *s, bool progress);
/* Pays for something that costs us more than the peer; false when the budget is used up. */
bool h2_spend(struct h2_conn *conn, int32_t cost);
void h2_earn(struct h2_conn *conn, int32_t worth);
/* Tunnel bytes that had to wait come into `in`. false without memory. */
bool h2_open_tunnel(struct h2_stream *s);

/* ---- send.c ---- */

void h2_set_send_callbacks(nghttp2_session_callbacks *callbacks);
void h2_flush(struct h2_conn *conn);
void h2_flush_later(struct h2_conn *conn);
/* Last words, as far as the kernel takes them at once; nothing is told. */
void h2_send_last(struct h2_conn *conn);
/* The connection is about to be closed: what is ready to be said is, with GOAWAY, as far as it goes. */
void h2_say_goodbye(struct h2_conn *conn);
enum sent h2_send_body(struct stream *stream, struct pipe *pipe);
ssize_t h2_give_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                     nghttp2_data_source *source, void *user);
static inline nghttp2_data_provider h2_body_of(struct h2_stream *s)
{
    return (nghttp2_data_provider){ .source.ptr = s, .read_callback = h2_give_body };
}
/* What of a body was queued goes nowhere. */
void h2_drop_out(struct h2_stream *s);

/* ---- the roles ---- */

/* A header block begins; nghttp2 has the stream. NULL: ignore what comes. */
struct h2_stream *server_begin_stream(struct h2_conn *conn, int32_t id);
void server_head_done(struct h2_stream *s, bool end);
/* A request that was held back is told of: its body has ended, or it has one although it said that there is none. */
void server_let_go(struct h2_stream *s, enum err err);
void server_tell(struct h2_stream *s, enum h2_news news);
void server_lost(struct h2_conn *conn, struct h2_stream *s, enum err err);
void client_head_done(struct h2_stream *s, bool end);
void client_tell(struct h2_stream *s, enum h2_news news);
void client_lost(struct h2_conn *conn, struct h2_stream *s, enum err err);
void client_settled(struct h2_conn *conn);
/* What it is called that the peer's bytes make no frames. */
enum err h2_nonsense(const struct h2_conn *conn);
/* GOAWAY came. */
void client_gone(struct h2_conn *conn);
/* The answers are known to have been read. */
void server_reset_late(struct h2_conn *conn);
/* The request goes to nghttp2, which sends it. ERR_NONE, or why not. */
enum err client_submit(struct h2_stream *s, const struct message *head);

/* -ERR_MEMORY. */
MUST_USE int h2_submit_ping(struct h2_conn *conn, enum h2_ping what);

/* ---- codes.c ---- */

/* What RST_STREAM says when we give a stream up. */
uint32_t h2_code_of(const struct h2_stream *s, enum err err);
/* What a peer's RST_STREAM means; `begun`: client role, the answer's head had come. */
enum err h2_err_of(const struct h2_conn *conn, uint32_t code, bool peer);
