/*
 * The first moments of a client's connection on a listener where something comes in front of HTTP:
 *
 *      accept -> PROXY header -> TLS handshake -> h1_adopt or h2_adopt
 *                (where the listener asks for it)  (as ALPN chose)
 *
 * It is a connection like others for its host (in the list, closed and drained by it) until the codec's own takes its
 * place.  A plain listener's connections have none.
 */
#pragma once

#include <stdbool.h>

struct address;
struct http_conn;
struct loop;
struct stream_host;

/* Whether a connection from there has to be born first: else h1_serve can have it at once. */
bool birth_needed(const struct stream_host *host, const struct address *peer);
/* As http_serve. */
struct http_conn *birth_begin(struct loop *loop, int fd, const struct address *peer, struct stream_host *host);
