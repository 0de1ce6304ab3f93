/*
 * The proxy handler: sends the request to a target of an upstream and hands its answer back.
 *
 *      proxy.c    the handler: settings, start, events
 *      attempt.c  one try after the other: open, judge a failure, retry
 *      answer.c   which answers are tried again
 *      call.c     what is different for gRPC
 *      request.c  the request's body, with a bounded replay for the next try
 *      target.c   the path and host that the service sees
 *      key.c      what the upstream's algorithm places requests by
 *      session.c  sticky sessions: the cookie
 *
 * An answer is *accepted* when its final head is handed to the spine; retries end there, or once more of the body has
 * gone out than the replay holds.  No one else in the program retries.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/pipe.h"
#include "exchange/exchange.h"
#include "http/template.h"
#include "upstream/upstream.h"

enum {
    REPLAY_BYTES_MAX = 65536, /* of a request body that a further try may need */
    COPIED_BYTES_MAX = 16384, /* of one that is worth copying although it cannot be sent twice once it has gone */
    STALE_TRIES_MAX = 2,      /* reused connections that the service had closed, before we insist on a fresh one */
};

enum host_mode { HOST_PRESERVE, HOST_TARGET, HOST_LITERAL };

struct path_part {
    struct slice text; /* literal, or a capture's name */
    bool capture;
};

struct proxy_conf {
    struct conf_ref upstream;
    const char *path;
    const char *host;
};
extern const struct conf_struct proxy_schema;

/* Loaded: immutable. */
struct proxy {
    struct upstream *upstream; /* held */
    struct path_part *parts;   /* NULL: the path stays as it is */
    unsigned part_count;
    enum host_mode host_mode;
    bool keyed; /* the algorithm goes by `key` */
    struct slice host;
    struct template key;
};

struct interim {
    struct interim *next;
    const struct message *head;
};

enum attempt_event {
    ATTEMPT_HEAD = 1,
    ATTEMPT_BODY = 2,
    ATTEMPT_ROOM = 4,
    ATTEMPT_RESET = 8,
    ATTEMPT_WRITTEN = 16,
    ATTEMPT_SENT = 32
};

/* State in the exchange's arena. One attempt at a time. */
struct proxying {
    struct exchange *x;
    const struct proxy *proxy;
    struct message head; /* the request as the service gets it */
    struct upstream_try try;
    struct tried tried;
    struct interim *interims, **interims_end;
    struct pipe replay;                         /* copies of what was taken from the body */
    struct pipe feed;                           /* a later try sends this first */
    uint64_t response_deadline_ms, retry_at_ms; /* 0: not waiting for it */
    uint64_t key;                               /* of keyed algorithms */
    uint64_t session;                           /* the mark in its cookie; 0: none */
    uint8_t events;                             /* enum attempt_event */
    uint8_t stale_tries;
    bool trying; /* `try` is open */
    bool accepted;
    bool repeats;    /* what has reached a service may be sent again */
    bool replayable; /* what is taken from the body is kept in `replay` */
    bool body_lost;  /* something was taken that is not in `replay`: there is no other try */
    bool body_end_taken;
    bool names_target; /* the service's Host is its address: another one in the next try */
    bool counted;      /* upstream_request_begin was called */
    bool in_budget;    /* upstream_retry_begin said yes for this try */
    bool insist_fresh;
};

/* attempt.c */
void attempt_open(struct proxying *p);
void attempt_failed(struct proxying *p, enum err err);
void attempt_close(struct proxying *p, enum err err);
void attempt_retry(struct proxying *p, uint64_t delay_ms); /* the next try, now or later */
uint64_t attempt_backoff_ms(struct proxying *p);
bool attempt_has_tries_left(const struct proxying *p);
/* answer.c: a head has come; true when it was dropped and another try begins. */
bool answer_is_dropped(struct proxying *p);
unsigned answer_status(const struct proxying *p, const struct message *head); /* a call's as HTTP's */
bool answer_may_repeat(const struct proxying *p); /* a request of a method that is not idempotent, for its answer */
/* call.c: harmless for what is no call of gRPC */
void call_start(struct proxying *p);
MUST_USE int call_prepare(struct proxying *p); /* before each try */
bool call_may_be_quiet(const struct proxying *p);
int64_t call_response_timeout_ms(const struct proxying *p); /* 0: none */
/* request.c */
void request_init(struct proxying *p);
void request_done(struct proxying *p);
MUST_USE int request_rewind(struct proxying *p); /* for the next try; 0 or -ERR_MEMORY */
void request_send(struct proxying *p);
void request_reopen(struct proxying *p);         /* the answer made a tunnel: bytes flow again */
void request_await_response(struct proxying *p); /* all of it is out: the response's time begins */
/* target.c: compiled when the configuration loads */
int target_compile(struct conf *conf, const struct conf_node *node, const struct proxy_conf *settings,
                   struct proxy *ret_proxy);
MUST_USE int target_shape(struct proxying *p);
/* key.c: compiled when the configuration loads; 0 or -1 after conf_error. `node` is the handler's. */
int key_compile(struct conf *conf, const struct conf_node *node, const struct upstream_conf *upstream,
                struct proxy *ret_proxy);
void key_done(struct proxy *proxy);
MUST_USE int key_compute(struct proxying *p); /* 0 or -ERR_MEMORY */
/* session.c: harmless for upstreams without sticky sessions */
MUST_USE int session_read(struct proxying *p); /* behind target_shape; 0 or -ERR_MEMORY */
void session_set(struct proxying *p, struct message *head);
