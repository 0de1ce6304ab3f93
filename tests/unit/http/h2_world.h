/*
 * A loop, an HTTP/2 connection under test, and a raw socket at its other end that frames by hand.  As world.h, but with
 * many streams: `w2.streams` are those told of, in their order.  Heads are sent as literals without Huffman codes, and
 * what arrives is read with nghttp2's decoder, so that tests speak of fields and not of bytes.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/memory.h"
#include "http/h2/conn.h"
#include "loop/loop.h"

enum { STREAMS = 64, FRAMES = 4096, RAW_BYTES = 1 << 21 };

struct user {
    struct stream *stream; /* NULL once given back */
    enum err request_err, reset_err;
    unsigned heads, interims, bodies, rooms, resets, writtens, sents;
    uint64_t taken; /* bytes that user_take has read */
    char body[256];
    struct pipe out;
};

/* A frame that the peer has got. */
struct got_frame {
    uint8_t type, flags;
    uint32_t id;
    const char *payload;
    uint32_t len;
    char fields[1024]; /* HEADERS: "name: value\n" each */
};

struct h2_world {
    struct memory memory;
    struct loop loop;
    struct http_limits limits;
    struct stream_host host;
    struct http_owner owner;
    struct h2_conn *conn;
    struct user users[STREAMS];
    unsigned user_count, ends, closeds, frees, drops;
    enum err drop_err;
    int raw, listener;
    struct address address;
    char bytes[RAW_BYTES]; /* what the peer has read */
    size_t bytes_len, parsed;
    bool got_end;
    struct got_frame frames[FRAMES];
    unsigned frame_count;
    nghttp2_hd_inflater *inflater;
};

extern struct h2_world w2;

int h2_world_set_up(void **state);
int h2_world_tear_down(void **state); /* nothing may be left */

void h2_serve(void);      /* w2.conn in the server role; its client at w2.raw has sent preface and SETTINGS */
void h2_serve_bare(void); /* without them */
void h2_client(void);     /* w2.conn in the client role, connected; its service at w2.raw has said nothing */
void h2_client_settled(void);
void h2_settle(void);
void h2_skip_ms(uint64_t ms);

/* ---- the peer ---- */

void peer_bytes(const void *bytes, size_t len); /* and the loop takes note */
void peer_frame(unsigned type, unsigned flags, uint32_t id, const void *payload, size_t len);
/* HEADERS: pairs of names and values, NULL at the end. */
void peer_head(uint32_t id, unsigned flags, ...);
void peer_get(uint32_t id, const char *path); /* a whole request */
void peer_data(uint32_t id, unsigned flags, const char *text);
void peer_rst(uint32_t id, uint32_t code);
void peer_settings(unsigned id, uint32_t value);
void peer_window(uint32_t id, uint32_t more);
void peer_preface(void);
void peer_close(void);
/* All that is to come has come. */
void peer_read(void);
/* The n-th (from 0) frame of that type on that stream that has come; NULL when there is none. */
struct got_frame *peer_got(unsigned type, uint32_t id, unsigned n);
struct got_frame *peer_want(unsigned type, uint32_t id); /* the first one, which must be there */
uint32_t frame_u32(const struct got_frame *frame, unsigned at);
bool frame_has(const struct got_frame *frame, const char *line);
size_t peer_body_len(uint32_t id);
/* A head block as h2_peer writes it, for fuzz corpora and attacks: its length. */
size_t peer_block(char *to, const char *const *pairs);

/* ---- the user ---- */

struct user *user_of(unsigned n); /* the n-th stream told of; must be there */
struct message *h2_response(unsigned status, int64_t body_length);
struct message *h2_request(const char *method, const char *path, int64_t body_length);
void user_reply(struct user *u, unsigned status, const char *body);
enum sent user_send(struct user *u, const void *bytes, size_t len);
enum sent user_end(struct user *u, struct fields *trailers);
void user_take(struct user *u); /* all that is in `in` */
void user_release(struct user *u);
struct user *user_open(void); /* client role */
/* With calls that may fail: w2.conn, the stream stay NULL then. */
struct user *h2_client_or_not(void);
