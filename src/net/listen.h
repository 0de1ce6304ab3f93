/*
 * Listening sockets: opened by control (which may still have the right to bind low ports), handed to the workers as
 * descriptors.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "net/address.h"

struct listen_options {
    int backlog;
    bool reuse_port; /* one socket a worker */
    int unix_mode;   /* permissions of a unix socket, 0 for the default */
};
/* Opens, binds, listens; TCP_NODELAY is set for what will be accepted. A stale unix socket (nobody answers) is
 * replaced. On failure -ERR_SYSTEM, and errno. */
MUST_USE int listen_open(const struct address *address, const struct listen_options *options, int *ret_fd);
/* Whether no socket listens there, not even one that lets others of its user bind the same (SO_REUSEPORT). 0, or
 * -ERR_SYSTEM and errno. TCP only. */
MUST_USE int listen_probe(const struct address *address);
/* What to do about that errno: a text to put behind the error's own, or "". */
const char *listen_advice(int error);
