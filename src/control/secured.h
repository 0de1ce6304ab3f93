/*
 * TLS in force: what listeners and upstreams of a snapshot hold of certificates and keys, how it gets to the workers,
 * and how it follows its files.
 *
 *      files --load--> tls_material --for each worker--> tls_context --letter--> the worker's servers and pools
 *
 * A material is kept as long as its files give the same, and kept as well when they cannot be read or make no sense any
 * more while the settings that name them are as they were: what is in force goes on, and the error log says why.  The
 * files are looked at every second; what has changed and then stood still for another second is read again.
 *
 * Everything here is the control thread's.
 */
#pragma once

#include "conf/conf.h"
#include "control/listener_tls.h"

struct gateway;
struct settings;
struct snapshot;
struct snapshot_context;
struct station;
struct tls_context;

struct secured {
    uint64_t print;                /* of the settings that name the files */
    struct tls_material *material; /* held; NULL: plain */
    uint64_t signature;            /* of the files when they were last looked at */
    bool changing;                 /* the look before saw another signature */
    bool published;                /* every worker has a context of it */
};

/* For each listener of the snapshot, and once its upstreams are there for each of those; from the snapshot before where
 * nothing has changed. 0, or -1 after conf_error. */
MUST_USE int secured_build_listeners(struct snapshot *s, const struct conf_node *root,
                                     const struct snapshot_context *context);
MUST_USE int secured_build_upstream(struct snapshot *s, size_t index, const struct conf_node *node,
                                    const struct snapshot_context *context);
void secured_drop(struct snapshot *s);

/* Contexts of a snapshot for one worker: for each listener and each upstream, NULL where the worker has it already. */
struct tls_context **secured_contexts(struct gateway *gateway, struct station *station);
/* All workers were sent theirs. */
void secured_published(struct gateway *gateway);

/* The ticket keys of the settings come into force; 0, or -1 after conf_error. */
MUST_USE int secured_use_tickets(const struct settings *settings, struct conf *conf, const struct conf_node *root);
/* Begins to look after the files, and to make new ticket keys; ends with secured_rest. */
void secured_watch(struct gateway *gateway);
void secured_rest(struct gateway *gateway);

/* Every file that the settings name for TLS. */
void secured_files(const struct settings *settings, tls_file_visit *each, void *user);
