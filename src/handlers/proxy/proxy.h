/*
 * The proxy handler: sends the request to a target of an upstream and hands its answer back.
 *
 *      proxy.c    the handler: settings, start, events
 *      attempt.c  one try: its events, its times, open and close
 *      retry.c    which failures are tried again, and when
 *      hedge.c    another try while one is still open
 *      deadline.c how much time is left, told to each service
 *      answer.c   which answers are tried again
 *      fallback.c what serves when the upstream cannot
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
#include "upstream/waiting.h"

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
    struct proxy *fallback;    /* the same towards the upstream that serves in its place; NULL: none */
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
    ATTEMPT_SENT = 32,
    ATTEMPT_TURN = 64 /* it waited for a permit, and is called */
};

enum attempt_state {
    ATTEMPT_IDLE,    /* not begun, or over */
    ATTEMPT_BACKOFF, /* begins at opens_at_ms */
    ATTEMPT_WAITING, /* for a permit: upstream_open said so, and will have attempt_called called */
    ATTEMPT_OPEN,    /* `try` is open */
};

/* One try at a service, or the wait before it.  When it fails and another may follow, that takes its place.  Owner: the
 * proxying, in the exchange's arena; closed by the end of the exchange. */
struct attempt {
    struct proxying *p;
    struct attempt *next; /* of all that the exchange has, whatever their state */
    struct upstream_try try;
    struct upstream_wait wait; /* for a permit, before `try` is open */
    struct interim *interims, **interims_end;
    struct pipe feed; /* what a later try takes from the replay, sent before the live body */
    uint64_t answer_by_ms, try_by_ms, opens_at_ms; /* 0: not waiting for it */
    const char *target;                            /* its name, for the log */
    uint8_t state;                                 /* enum attempt_state */
    uint8_t events;                                /* enum attempt_event */
    bool in_budget;                                /* upstream_retry_begin or upstream_hedge_begin said yes for it */
    bool hedge;                                    /* it began beside another */
};

/* State in the exchange's arena. */
struct proxying {
    struct exchange *x;
    const struct proxy *proxy;
    struct message head;    /* the request as the service gets it */
    struct attempt first;   /* and by its `next` all others */
    struct attempt *winner; /* whose answer was accepted: the only one that is open from then on */
    struct tried tried;
    struct pipe replay;   /* copies of what was taken from the body: what every further try begins with */
    uint64_t key;         /* of keyed algorithms; computed once, before the first attempt */
    uint64_t session;     /* the mark in its cookie; 0: none */
    uint64_t hedge_at_ms; /* 0: not planned */
    uint64_t next_ms;     /* the nearest of the attempts' times; 0: none */
    uint8_t under_way;    /* attempts that are not idle */
    uint8_t stale_tries;
    uint8_t retries_elsewhere; /* at upstreams that this one has taken over from */
    uint8_t hedges;            /* begun */
    bool repeats;              /* what has reached a service may be sent again */
    bool replayable;           /* what is taken from the body is kept in `replay` */
    bool body_lost;            /* something was taken that is not in `replay`: there is no other try */
    bool body_end_taken;
    bool names_target; /* the service's Host is its address: another one in the next try */
    bool counted;      /* upstream_request_begin was called */
    bool insist_fresh;
};

/* attempt.c */
void attempt_init(struct attempt *a, struct proxying *p);
void attempt_open(struct attempt *a);
void attempt_close(struct attempt *a, enum err err);
void attempt_begin_later(struct attempt *a, uint64_t delay_ms); /* or now, with 0 */
/* No try can begin: there is no target, all are full, the name does not resolve. Of a hedge it is only that hedge's
 * end. */
void attempt_not_possible(struct attempt *a, enum err err);
void attempts_close(struct proxying *p, enum err err);
void attempts_set_alarm(struct proxying *p); /* one of their times has changed */
void attempts_look_at_times(struct proxying *p);
/* Its turn has come in the queue that upstream_open put it into: it is opened once more. From an event. */
void attempt_called(struct attempt *a);
/* retry.c */
void attempt_failed(struct attempt *a, enum err err);
bool retry_is_left(const struct proxying *p);
uint64_t retry_backoff_ms(struct proxying *p);
/* In place of this one, which is closed: as it is, or as a retry, which upstream_retry_begin has said yes to. */
void attempt_repeat(struct attempt *a, uint64_t delay_ms);
void retry_begin(struct attempt *a, uint64_t delay_ms);
/* hedge.c: harmless where nothing is hedged */
void hedge_plan(struct proxying *p);  /* a try has sent all, and waits */
void hedge_begin(struct proxying *p); /* its time has come */
struct tried hedge_tried(const struct proxying *p);
void hedge_decide(struct attempt *winner); /* there were hedges: the others lose */
/* deadline.c */
MUST_USE int deadline_tell(struct proxying *p); /* before each try; 0 or -ERR_x */
/* answer.c: a head has come; true when it was dropped and another try begins. */
bool answer_is_dropped(struct attempt *a);
unsigned answer_status(const struct proxying *p, const struct message *head); /* a call's as HTTP's */
bool answer_may_repeat(const struct proxying *p); /* a request of a method that is not idempotent, for its answer */
/* fallback.c: no try can begin, or the last one failed */
void fallback_or_fail(struct attempt *a, enum err err);
/* call.c: harmless for what is no call of gRPC */
void call_start(struct proxying *p);
MUST_USE int call_prepare(struct proxying *p); /* before each try */
bool call_may_be_quiet(const struct proxying *p);
int64_t call_response_timeout_ms(const struct proxying *p); /* 0: none */
/* request.c */
void request_init(struct proxying *p);
void request_done(struct proxying *p);
MUST_USE int request_rewind(struct attempt *a); /* for the next try; 0 or -ERR_MEMORY */
void request_send(struct attempt *a);
void request_reopen(struct attempt *a);         /* the answer made a tunnel: bytes flow again */
void request_await_response(struct attempt *a); /* all of it is out: the response's time begins */
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
