/*
 * A loop, a connection under test, and a raw socket at its other end, all in one thread on the real loopback.  The test
 * plays both the peer, on `raw`, and the user of the stream: events are counted, ops are called between turns.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/memory.h"
#include "http/h1/conn.h"
#include "loop/loop.h"

enum { PATIENCE_MS = 10000, RAW_MAX = 1 << 20 };

/* What a stream's user was told. */
struct told {
    unsigned requests, heads, interims, bodies, rooms, resets, writtens, sents, idles, closeds, ends;
    enum err request_err;
};

struct world {
    struct memory memory;
    struct loop loop;
    struct http_limits limits;
    struct stream_host host;
    struct h1_conn *conn;  /* under test; NULL once it is closed (client role) */
    struct stream *stream; /* the newest */
    struct told told;
    struct message interim; /* the last one */
    int raw;                /* the peer's end; -1 when closed */
    int listener;
    struct address address; /* the listener's */
    char got[RAW_MAX];      /* what the peer has read */
    size_t got_len;
    bool got_end, got_reset;
    struct pipe body; /* to send from */
};

extern struct world w;

int world_set_up(void **state);    /* limits and loop */
int world_tear_down(void **state); /* nothing may be left */
void world_skip_ms(uint64_t ms);   /* the clock jumps, timers fire */

/* System calls since the last reset. */
struct calls {
    unsigned recvs, sends, held_sends /* more was said to follow */, splices, poll_ctls, allocs, setsockopts, clocks;
};
extern struct calls calls;

void world_listen(void);               /* once; the others do it too */
int world_accept(void);                /* the next connection to the listener */
void world_serve(void);                /* w.conn in the server role, its client at w.raw */
void world_serve_quietly(void);        /* without turning the loop */
void world_serve_or_not(void);         /* w.conn stays NULL when there was an error */
struct arena *world_open_or_not(void); /* connects and opens; w.conn, w.stream stay NULL when there was an error */
void world_connect(void);              /* w.conn in the client role, its service at w.raw */
bool world_is_usable(void);            /* w.conn is idle, and nothing has come on it */
void world_connecting(void);           /* the same, not yet told that it is connected */
void world_reconnect(void);            /* to the same address, whoever listens there now; no w.raw */
void world_open(void);                 /* a client stream in a new arena */
void world_open_in(struct arena *arena);
void world_hold_ready(void); /* w.conn's next event reaches its bits but not its handler */

/* Turns until nothing happens any more. */
void settle(void);
#define turn_until(condition)                                                                                          \
    do {                                                                                                               \
        loop_update_now(&w.loop);                                                                                      \
        uint64_t give_up_ms_ = w.loop.now_ms + PATIENCE_MS;                                                            \
        while (!(condition)) {                                                                                         \
            loop_turn(&w.loop, 50);                                                                                    \
            if (w.loop.now_ms > give_up_ms_)                                                                           \
                fail_msg("never came: %s", #condition);                                                                \
        }                                                                                                              \
    } while (0)

/* The peer sends, and the loop takes note. */
void raw_send(const char *text);
void raw_send_bytes(const void *bytes, size_t len);
/* Takes what has arrived at the peer, turning the loop until at least `len` bytes more or the end are there. */
void raw_read(size_t len);
/* All that has come since the last raw_forget equals the text, once that much has come. */
void raw_expect(const char *text);
/* The peer has got the text somewhere (waits for it). */
void raw_expect_part(const char *text);
void raw_expect_end(void);
void raw_forget(void);
void raw_close(void);
void raw_shutdown(void);
void raw_close_hard(void); /* with a reset */

/* The user of the stream. */
struct message *response(unsigned status, int64_t body_length); /* static; no fields */
struct message *request(const char *method, const char *path, int64_t body_length);
void reply(unsigned status, const char *body); /* head and body of known length */
void send_text(const char *text);              /* into w.body and on */
void end_body(void);
void assert_in(const char *text); /* takes what is in stream->in, which must be the text */
void release_stream(void);        /* and frees its arena */
