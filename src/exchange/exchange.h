/*
 * The spine: one request, its policies, its handler, its answer.
 *
 *      down->in --[stages of policies]--> exchange_body(x) --> handler
 *      down    <--[stages in reverse]--- the pipe of exchange_respond <-- handler
 *
 * Events set bits and queue the exchange; exchange_run, called by the worker's run queue alone and never nested,
 * advances it.  Each direction has one cursor and at most one op.  See ARCHITECTURE.md, "The contract".
 *
 * Owner: itself, from exchange_begin to its end; its memory is the arena of its down stream, freed in the reclaim phase
 * of the turn it ended in. One worker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/list.h"
#include "exchange/handler.h"
#include "exchange/plan.h"
#include "exchange/policy.h"
#include "http/message.h"
#include "http/stream.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "observe/record.h"

struct identity;
struct worker;
struct stage;
struct tunnel;

struct capture {
    struct slice name;
    struct slice value; /* decoded: never goes into a path or a field unescaped */
    struct slice raw;   /* as in the normalised path: may stand in a path as it is */
};

enum exchange_event {
    EVENT_BEGIN = 1,
    EVENT_RESUME_REQUEST = 2, /* << direction */
    EVENT_RESUME_RESPONSE = 4,
    EVENT_REQUEST_BODY = 8, /* bytes or the end in down->in, or the handler made room */
    EVENT_DOWN_ROOM = 16,
    EVENT_DOWN_RESET = 32,
    EVENT_DOWN_SENT = 64,
    EVENT_HANDLER = 128,
    EVENT_RESPONSE_BODY = 256, /* the handler put bytes or the end in the response's source */
    EVENT_TIMER = 512,
    EVENT_CANCEL = 1024, /* the parent ended, or the worker shuts down */
};

struct cursor {
    struct op op;        /* at most one pending */
    uint8_t next;        /* request: the policy whose hook runs next; response: that index + 1, counting down */
    uint8_t phase;       /* enum cursor_phase */
    bool waiting;        /* a hook said WAIT */
    struct stage *whole; /* the stage whose body is being read whole */
};

enum cursor_phase { CURSOR_IDLE, CURSOR_HEADS, CURSOR_WHOLE, CURSOR_DONE };

/* What a 401 further down asks for: of policies that let a request without a credential go on. In the arena. */
struct challenge {
    struct slice text;
    struct challenge *next;
};

/* A policy that holds others (any_of) runs them one at a time: `type` with its worker's part. With `tries` a refusal
 * (ERR_UNAUTHENTICATED) is noted instead of answered, and x->response holds nothing but the fields added after it. */
struct inner {
    const struct policy_type *type;
    void *local;
    bool tries, refused;
};

struct exchange {
    uint32_t magic;
    uint32_t events; /* enum exchange_event */
    struct worker *worker;
    struct arena *arena;
    struct stream *down;
    struct message *request; /* down->head: policies shape it in place */
    struct message response; /* the final one, once there is one */
    struct plan *plan;       /* pinned; NULL for a request that met no route */
    struct cursor cursor[DIR_COUNT];
    struct stage *stages[DIR_COUNT]; /* policies that take the body, in the order it flows */
    void **states;                   /* of policies, by index */
    void *handler_state;
    struct pipe *source; /* where the response's body comes from: the handler's pipe or local_body */
    struct pipe local_body;
    struct tunnel *passage;         /* with `tunnel` */
    const struct stream_host *host; /* where it came in; NULL for a child. It may end before */
    struct capture *captures;       /* of the route's pattern, in the arena */
    struct slice rest;  /* of a route by prefix: the path behind it, empty or from its "/"; at == NULL otherwise */
    struct slice allow; /* with ERR_METHOD_NOT_ALLOWED: what the route takes */
    uint8_t capture_count;
    uint8_t started; /* policies whose request on_head was called */
    uint8_t
        acting; /* whose hook is running: a policy's index, or the plan's policy_count for the handler and the spine */
    uint8_t want;      /* enum body_need that the running on_head asked for */
    uint64_t want_max; /* with BODY_WHOLE */
    bool handler_started, handler_over;
    bool responded;       /* a final response is set */
    bool head_down;       /* and its head went to the client: no reply can replace it */
    uint8_t grpc;         /* enum grpc_form: what the client's request is */
    bool deadline_client; /* deadline_ms is the client's own */
    bool in_run, ended, tunnel, request_stopped, source_cut, body_taken, request_sent;
    uint8_t depth;                   /* a child's: at most CHILD_DEPTH_MAX */
    struct inner *inner;             /* while a policy runs another one; NULL otherwise */
    struct challenge *challenges;    /* of what nobody showed; NULL: none */
    const struct identity *identity; /* NULL: nobody has said who it is (identity.h) */
    struct slice peer;               /* the peer's address as text: what X-Forwarded-For gets */
    uint64_t deadline_ms;            /* of the whole exchange, or of a tunnel's silence; 0 none */
    uint64_t alarm_ms;               /* the handler's; 0 none */
    struct timer timer;              /* armed, lazily, for the nearer of the two */
    struct task run_task;
    struct pipe *body;       /* the request's body behind all policies */
    struct link link;        /* worker->exchanges */
    struct exchange *parent; /* of a child */
    struct link children, sibling;
    struct record record;
};

/* ---- for serve/ ---- */

/* Takes over the stream and its arena. `plan` (pinned) may be NULL; with an `err` it is answered and nothing else is
 * done (ERR_NO_ROUTE, a parse error ...). -ERR_MEMORY: the stream was reset and released. Captures are set by the
 * caller between begin and the next run phase; when it cannot, it sets record.err, which is answered the same way. */
MUST_USE int exchange_begin(struct worker *worker, struct stream *down, struct plan *plan, enum err err,
                            struct exchange **ret_x);
enum { TUNNEL_SPREAD_MS = 4000 }; /* long enough for clients not to come back all at once, short beside a drain */
/* The tunnels of a host (NULL: of the worker) are to end, spread over this time: a WebSocket is told so, others go on
 * until they are cancelled. */
void exchanges_drain(struct worker *worker, const struct stream_host *host, uint64_t spread_ms);
/* Ends it now, cutting what is not complete (worker shutdown). */
void exchange_cancel(struct exchange *x, enum err err);

/* ---- for policies and handlers ---- */

/* The op of a direction: start exactly one wait on it, then return WAIT. Completion queues the exchange. */
struct op *exchange_op(struct exchange *x, enum direction direction);
/* In on_head: this policy wants the body of the message it is looking at. `bytes_max` bounds WHOLE (0: the gateway's
 * default). */
void exchange_want_body(struct exchange *x, enum direction direction, enum body_need need, uint64_t bytes_max);
/* What is known of the client's connection, NULL of a plain one; a child's is its parent's. */
static inline const struct conn_facts *exchange_facts(const struct exchange *x)
{
    while (x->parent)
        x = x->parent;
    return x->down->facts;
}
/* Its on_body of that direction shall be called again, for bytes that it left in `in`: from a timer of its own, which
 * its on_done clears. */
void exchange_body_again(struct exchange *x, enum direction direction);
/* A local answer: the head is x->response with this status and no fields but those added after the call; `body` is
 * copied. Then return REPLIED (a policy). Invalid once head_down. -ERR_MEMORY: fall back to exchange_fail. */
MUST_USE int exchange_reply(struct exchange *x, unsigned status, struct slice content_type, struct slice body);
/* The answer to an error: problem+json (RFC 9457) or plain text as Accept prefers, with the status of the table; cuts
 * the stream when the head is down already. `detail` may be empty. Sets record.err. */
void exchange_fail(struct exchange *x, enum err err, struct slice detail);
/* The worker's part of a policy's or handler's data. */
void *exchange_local(const struct exchange *x, const struct policy_type *type);
void *exchange_handler_local(const struct exchange *x);
const struct capture *exchange_capture(const struct exchange *x, struct slice name);
/* Who changes a body drops digests, strong validators and ranges. */
void message_drop_digests(struct message *message);

/* ---- for handlers ---- */

/* The request's body behind all policies: consume from it, then call exchange_body_taken so that the client may send
 * more. */
struct pipe *exchange_body(struct exchange *x);
void exchange_body_taken(struct exchange *x);
/* No policy reads the request (response) body and both ends are plain: its bytes may stay in the kernel. */
bool exchange_body_passes(const struct exchange *x, enum direction direction);
/* The final response: `head` is moved into x->response; `source` is where its body will come (NULL when there is none);
 * it stays the handler's and must live until on_done. */
void exchange_respond(struct exchange *x, const struct message *head, struct pipe *source);
/* Bytes or the end came into the source. */
void exchange_source_more(struct exchange *x);
/* 1xx: goes down at once, past the policies; dropped for HTTP/1.0 and once the final head is down. */
void exchange_interim(struct exchange *x, const struct message *head);
/* From an event of something the handler waits for: on_wake will be called. */
void exchange_wake(struct exchange *x);
/* on_wake will be called once the loop has reached this time, unless it is set anew; 0 clears. One alarm an exchange.
 */
void exchange_set_alarm(struct exchange *x, uint64_t at_ms);
/* In a tunnel: the handler's side has sent the client's last byte and its end. */
static inline void exchange_request_sent(struct exchange *x)
{
    x->request_sent = true;
}
/* The handler will read no more of the request. */
void exchange_stop_request(struct exchange *x);

/* ---- children ---- */

enum { CHILD_DEPTH_MAX = 4 };

/* A child exchange on a plan of its own (attached on this worker), answering `request` without a socket: it gets
 * policies, retries and every protocol. The returned client stream is used as any upstream stream: send_body,
 * read_more, reset or release. The parent's end cancels it. -ERR_TOO_DEEP, -ERR_MEMORY. */
MUST_USE int exchange_spawn(struct exchange *parent, struct plan *plan, const struct message *request,
                            const struct stream_events *events, void *user, struct stream **ret_stream);
