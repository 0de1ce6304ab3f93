/*
 * Two ends of one connection over the loopback, in one loop: `server` was accepted, `client` connects.  Each has its
 * layer.  A pair shakes hands, exchanges bytes, and ends without anything left.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "certificates.h"
#include "net/facts.h"
#include "net/transport.h"
#include "tls/tls.h"

extern struct loop loop;
extern struct memory memory;
extern struct tls_worker *workers[2];
extern char reports[8192]; /* one line each: "error: ..." or "warning: ..." */
extern const struct tls_reporter reporter;

struct end {
    struct transport t;
    int established; /* 1: not yet; 0 or an error */
    enum tls_reason reason;
    char failure[128];
};

struct pair {
    struct end server, client;
};

int pair_set_up(void **state);
int pair_tear_down(void **state);

/* A server's layer with certificates of those names, on a worker, and a client's for a name. To be dropped. */
struct tls_layer *server_layer(int worker, const struct tls_settings *settings);
struct tls_layer *client_layer(int worker, const struct tls_settings *settings, const char *name);
/* Settings with the certificates named ("a b"), ALPN h2 and http/1.1. Valid until the next call for the same role. */
struct tls_settings server_settings(const char *names);
struct tls_settings client_settings(void); /* trusts "ca" */

/* Connects, and lets both shake hands until each has come to an end. */
void pair_connect(struct pair *pair, struct tls_layer *server, struct tls_layer *client);
void pair_close(struct pair *pair);
/* The same where calls may fail: false when it did not come to a connection. Then close_tried. */
bool try_connect(struct pair *pair, struct tls_layer *server, struct tls_layer *client);
void close_tried(struct pair *pair);
/* As receive, but gives up: -EAGAIN. */
ssize_t try_receive(struct transport *t, void *buf, size_t len);
/* A peer that speaks what it likes: its descriptor (blocking). The server's end is `t`. */
int raw_connect(struct transport *t, struct tls_layer *server);
int establish_alone(struct transport *t); /* until it is not 1 */
/* Sends the text and reads it at the other end. */
void pair_say(struct transport *from, struct transport *to, const char *text);
/* Reads until something comes: bytes, 0 or an error. */
ssize_t receive(struct transport *t, void *buf, size_t len);
bool text_is(struct slice got, const char *expected);
