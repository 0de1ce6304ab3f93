/*
 * The little that a load generator must know about a response head: is it all there, is it a
 * success, how long is the body, and does the connection go on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct response {
    size_t head_len; /* the empty line included; 0: more bytes are needed */
    unsigned status;
    bool has_length; /* a Content-Length was there */
    bool last;       /* "Connection: close" */
    uint64_t length;
};

/* Reads a head from the bytes received so far. Returns 0, also when the head is not complete
 * yet, or -1 when this is not an HTTP/1.1 response. */
int response_parse(const char *bytes, size_t length, struct response *ret_response) __attribute__((warn_unused_result));
