/* Between the two files of the server role: server.c (connections, requests in) and respond.c (responses out). */
#pragma once

#include "http/h1/conn.h"

extern const struct stream_ops h1_server_ops;

/* May the client be told that the connection stays? */
bool server_may_serve_more(const struct h1_conn *conn);
/* The response is out and the stream detached: the next request, what is left of this one's body, or the end. */
void server_request_over(struct h1_conn *conn, const struct h1_stream *s);

/* What is left of the body is too much to be worth the connection, or has no end. */
static inline bool server_body_is_too_much(const struct h1_body *body, uint64_t max)
{
    return body->kind == KIND_TUNNEL || (body->kind == KIND_LENGTH && body->left > max);
}
