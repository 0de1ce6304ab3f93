/*
 * A station is a worker thread's post: the worker, its thread, the servers it runs and the snapshot in force on it.
 * Control speaks to it by letters alone.
 *
 *      station_apply   a new snapshot, and the listening sockets that came with it
 *      station_drain   no new connections; ends by itself when idle, or cuts what is left at the deadline
 *
 * Owner: the gateway (control thread); everything but the letters' queue belongs to the station's thread while that
 * runs.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "control/snapshot.h"
#include "exchange/worker.h"

struct gateway;
struct tls_context;
struct upstream;

/* One listening socket on one station. */
struct post {
    struct address address;
    int fd;
};

struct served {
    struct post post;
    struct server *server;
};

/* What new connections to a TLS listener begin with. */
struct listener_context {
    struct address address;
    struct tls_context *context; /* a reference; NULL: there was no memory for it */
};

struct station {
    struct worker worker;
    pthread_t thread;
    bool running;
    atomic_bool ended; /* its loop has: nothing more comes from it */
    struct gateway *gateway;
    struct snapshot *snapshot; /* in force; the station's reference */
    struct served *served;
    size_t served_count;
    struct tls_worker *tls;
    struct listener_context *contexts; /* of the TLS listeners of the snapshot in force */
    size_t context_count;
    struct link stopping; /* servers that end with their last connection */
    bool draining;
    uint64_t drain_deadline_ms;
    struct timer drain_timer;
};

enum drain_how {
    DRAIN_STOP,   /* the process ends: idle connections are closed at once */
    DRAIN_HANDED, /* another process has the sockets: idle connections end with the answer to their next request */
};

int station_init(struct station *station, struct gateway *gateway, unsigned index);
/* Starts the thread, pinned to nothing. 0 or -ERR_SYSTEM. */
int station_start(struct station *station);
/* Control thread. Takes over a reference of the snapshot, the contexts (control/secured.h) and the descriptors in
 * `posts` (those of addresses that are served already are ignored; copied). Answers by gateway_applied on the control
 * thread. */
void station_apply(struct station *station, struct snapshot *snapshot, struct tls_context **contexts,
                   const struct post *posts, size_t post_count);
/* Control thread: new certificates of a listener or of an upstream (the other is NULL) that is in force. The context is
 * taken over. */
void station_renew(struct station *station, const struct address *listener, struct upstream *upstream,
                   struct tls_context *context);
/* Control thread. */
void station_drain(struct station *station, enum drain_how how, uint64_t limit_ms);
/* Control thread, after its loop has ended: waits for the thread, gives everything back. */
void station_join(struct station *station);
