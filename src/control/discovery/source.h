/*
 * What sources and the discovery around them share.
 */
#pragma once

#include "base/list.h"
#include "base/rng.h"
#include "control/discovery/discovery.h"
#include "control/discovery/roster.h"
#include "dns/resolver.h"
#include "loop/loop.h"

struct followed;
struct series;
struct target_conf;

enum update { UPDATE_CHANGED, UPDATE_UNCHANGED, UPDATE_FAILED, UPDATES };

/* One item of an upstream's `targets`. A kind of source puts it first in a struct of its own. */
struct source {
    const struct source_type *type;
    struct followed *followed;
    struct discovery *discovery;
    const struct target_conf *conf;
    struct roster roster; /* what it knows */
    struct series *updates[UPDATES];
    bool settled; /* it has been answered once */
    bool failing; /* it was told so */
};

struct source_type {
    const char *name; /* in logs and labels: "dns" */
    size_t size;
    bool (*takes)(const struct target_conf *conf);
    const char *(*what)(const struct source *source); /* for logs: the name, the path */
    void (*start)(struct source *source);
    void (*stop)(struct source *source);
};

extern const struct source_type source_dns, source_srv, source_file;

struct discovery {
    struct gateway *gateway;
    struct loop *loop;
    struct resolver *resolver;
    struct followed *first;
    struct file_watcher *files; /* file.c's own; NULL: there are none */
    struct rng rng;
    bool following; /* in discovery_follow */
};

/* Until the next question: a little more than the TTL, so that gateways do not ask in step; after failures in a row a
 * back-off that doubles. */
uint64_t discovery_wait_ms(struct discovery *discovery, uint32_t ttl_s, unsigned failures);
/* What it knows has changed, was confirmed, or could not be had (then `why` says why, for the log). */
void source_updated(struct source *source, enum update update, const char *why);
static inline void source_failed(struct source *source, const char *why)
{
    source_updated(source, UPDATE_FAILED, why);
}
