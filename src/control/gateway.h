/*
 * The gateway: the whole running process but for its signals.  The control thread owns it: it loads, builds, publishes,
 * resolves names and serves the admin listener on a loop of its own; workers are told by letters.
 *
 *      gateway_init -> gateway_load (first) -> [privileges dropped] -> gateway_start -> loop -> gateway_drain ->
 * gateway_done
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "control/snapshot.h"
#include "control/sockets.h"
#include "control/station.h"

struct discovery;
struct ground;
struct health;
struct outliers;

/* Mistakes are the file's; refused is what the system would not give: an address that is in use. */
enum gateway_loaded { GATEWAY_LOADED, GATEWAY_MISTAKES, GATEWAY_REFUSED };
enum gateway_state { GATEWAY_STARTING, GATEWAY_READY, GATEWAY_DRAINING, GATEWAY_FAILED /* at the first snapshot */ };

struct gateway {
    struct worker control; /* its loop is the control thread's; index = worker_count */
    struct station *stations;
    unsigned worker_count;
    struct serve_shared shared;       /* clients */
    struct serve_shared admin_shared; /* of the admin listener */
    atomic_size_t memory_used;
    size_t memory_max;
    struct sockets sockets;
    struct snapshot *current; /* published last */
    struct access_log *access_log;
    struct discovery *discovery;
    struct health *health;
    struct ground *ground; /* of policies with work in the background */
    struct outliers *outliers;
    struct timer targets_timer; /* armed while the current snapshot waits for its targets to be found */
    char *config_path;          /* NULL: `config_text` is the configuration */
    char *config_text;
    struct timer secured_timer; /* looks at the files of TLS: control/secured.c */
    uint64_t keys_signature;    /* of the files of ticket keys, at the last look */
    bool keys_changing;
    bool start_failed; /* a worker could not take the first snapshot */
    bool apply_failed; /* a worker may lack what was sent to all: everything is sent again */
    unsigned applying; /* stations that have not answered yet */
    enum gateway_state state;
    uint64_t reloads, reload_failures;
    uint64_t started_wall_ns, loaded_wall_ns;
    /* main's: told once a published snapshot is in force everywhere. May be NULL. */
    void (*on_applied)(struct gateway *gateway, void *user);
    void *user;
};

/* `path` or `text` (copied); the control loop is made. 0 or -ERR_x. */
int gateway_init(struct gateway *gateway, const char *path, const char *text);
/* The first load: configuration, sockets (`inherited` may be NULL), logs. Mistakes go to stderr. */
enum gateway_loaded gateway_load(struct gateway *gateway, const char *inherited);
/* Starts the threads and publishes. 0 or -1. */
int gateway_start(struct gateway *gateway);
/* Loads again; with any mistake nothing changes and the error log says what. 0 or -1. */
int gateway_reload(struct gateway *gateway);
void gateway_drain(struct gateway *gateway, enum drain_how how);
/* The limit is over now: what is in progress is cut. Fine too after a start that failed. */
void gateway_drain_now(struct gateway *gateway);
/* Every worker's loop has ended. */
bool gateway_is_drained(const struct gateway *gateway);
/* After the control loop has ended: joins the workers, gives everything back. */
void gateway_done(struct gateway *gateway);
/* A station has a snapshot in force (or could not: rc < 0). Control thread. */
void gateway_applied(struct gateway *gateway, struct station *station, int rc);
/* Every source of targets has been answered once: a snapshot that waits for that comes into force. Control thread. */
void gateway_discovered(struct gateway *gateway);
/* Sends every worker the targets of an upstream. Control thread; a reference of the set is taken over. */
struct target_set;
void gateway_publish_targets(struct gateway *gateway, struct upstream *upstream, struct target_set *set);
unsigned gateway_default_workers(void);
