/*
 * Listening sockets: which addresses are open, with which descriptors, and which were inherited from the process we
 * take over from.
 *
 * A TCP address has one SO_REUSEPORT socket a worker, so that the kernel spreads connections; a unix socket is one,
 * shared.  Sockets are never closed by a change in the number of workers: descriptor i goes to worker i modulo their
 * number, since closing one would reset what is queued on it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "conf/conf.h"
#include "net/address.h"

struct settings;

struct bound {
    struct address address;
    int *fds;
    size_t count;
    int64_t backlog, unix_mode; /* as applied; -1 with inherited ones, of which it is not known */
    bool fresh;                 /* opened for a snapshot that is not in force yet */
    bool unserved;              /* no worker has it yet: ours to close */
    bool admin;                 /* the admin listener's: no part of a snapshot, handed on like the others */
};

struct sockets {
    struct bound *v;
    size_t count;
    char **paths; /* of unix sockets, kept to the end: workers compare addresses */
    size_t path_count;
};

/* "address=fd,fd;address=fd", with ";" and "%" in an address as %3B and %25: from the environment of a process that was
 * started by an upgrade. 0 or -1 when it makes no sense. */
MUST_USE int sockets_inherit(struct sockets *sockets, const char *text);
/* The same text, for the next process; the descriptors lose close-on-exec in the child (see upgrade). In a heap buffer.
 */
char *sockets_text(const struct sockets *sockets);
/* Opens what the settings list and is not open yet; on failure conf_error says which and why, and what was opened is
 * closed again. */
MUST_USE int sockets_open(struct sockets *sockets, const struct settings *settings, struct conf *conf,
                          const struct conf_node *root, unsigned workers);
/* The snapshot is in force: what was opened for it stays; what it no longer lists is forgotten (the workers close it).
 */
void sockets_settle(struct sockets *sockets, const struct settings *settings);
void sockets_abandon(struct sockets *sockets); /* it did not come into force: closes what was opened for it */
/* The admin listener's socket: the inherited one, or a new one. The caller serves and closes it. -ERR_SYSTEM with
 * errno. */
MUST_USE int sockets_open_admin(struct sockets *sockets, const struct address *address, int *ret_fd);
/* At the end, unless another process serves on: takes the unix sockets out of the file system, as far as we may. */
void sockets_unlink(const struct sockets *sockets);
struct bound *sockets_find(const struct sockets *sockets, const struct address *address);
void sockets_done(struct sockets *sockets);
