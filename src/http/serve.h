/*
 * A client's connection, from accept on: whichever version of HTTP it turns out to speak.
 *
 *      plain        HTTP/1 at once; a client that begins with HTTP/2's preface is handed over
 *      PROXY, TLS   a birth first (http/birth.c): the header, the handshake, then what ALPN chose
 */
#pragma once

#include "http/conn.h"

struct loop;

/* Takes the accepted descriptor. The connection is in host->conns until it ends, and on_connection_end is told then.
 * NULL: there was no memory, the descriptor is closed, and nobody is told. */
struct http_conn *http_serve(struct loop *loop, int fd, const struct address *peer, struct stream_host *host);
