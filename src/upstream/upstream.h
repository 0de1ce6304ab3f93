/*
 * An upstream: a named group of targets, how to choose among them (balance/), and how to talk to them: connections,
 * protocols, per-worker pools of idle connections.
 *
 *      struct upstream         process-wide, counted, immutable but for its current target_set
 *      struct upstream_worker  one a worker: balancer, pools; touched by that worker only
 *
 *      upstream_open: pick -> idle connection of that target, or a new one -> stream
 *
 * The stream may be used at once, while connecting. Its on_reset says ERR_CONNECT_* when that fails; stream->unsent and
 * stream->reused tell the proxy whether the request can have been processed.
 */
#pragma once

#include "balance/balance.h"
#include "conf/conf.h"
#include "http/stream.h"
#include "upstream/retry.h"

struct fallback_conf;
struct health_check_conf;
struct hedge_conf;
struct loop;
struct queue_conf;
struct sticky_conf;
struct tls_context;
struct tls_material;
struct tls_reporter;
struct upstream;
struct upstream_wait;
struct upstream_worker;

struct target_conf {
    struct address address; /* AF_UNSPEC when a name */
    struct slice host;      /* name to resolve, terminated; empty for an address */
    uint16_t port;
    int64_t weight, priority;
    bool backup;
    const char *zone;                      /* NULL: none */
    int64_t max_requests, max_connections; /* its own; 0: as the upstream has it for each */
    const char *srv;                       /* SRV records instead of an address; NULL: none */
    const char *file;                      /* a file of targets instead; NULL: none */
};
struct upstream_timeouts {
    int64_t connect_timeout_ms, idle_timeout_ms;
    int64_t response_timeout_ms, body_idle_timeout_ms, send_idle_timeout_ms; /* 0: none */
    bool response_set, body_idle_set;                                        /* the file says so */
};
struct upstream_retry {
    int64_t attempts;      /* tries in all, the first included */
    double budget_percent; /* of active requests */
    int64_t budget_min;    /* and always so many */
    int64_t backoff_ms, backoff_max_ms;
    struct conf_list on;  /* as in the file */
    struct retry_set set; /* compiled from it */
    int64_t per_try_ms;   /* from a try's begin to its answer's head; 0: no limit */
    int64_t wait_max_ms;  /* of what an answer asks to be waited for */
};
struct upstream_tls_conf {
    bool on, verify;
    const char *ca;          /* PEM; NULL: the system's bundle */
    const char *server_name; /* for SNI and the check; NULL: each target's host */
    const char *cert, *key;  /* ours; NULL: none; a key may stand in the certificate's file */
    int min_version;         /* enum tls_version */
};
extern const struct conf_word tls_version_words[];
struct upstream_conf {
    struct balance_conf balance;
    struct conf_list targets; /* of struct target_conf */
    struct upstream_timeouts timeouts;
    int64_t max_connections, max_requests; /* of all targets together; 0: none */
    int64_t max_connections_per_target;    /* 0: none */
    int64_t max_requests_per_target;       /* 0: none */
    const struct queue_conf *queue;        /* upstream/waiting.h; NULL: nobody waits */
    int64_t keep_alive_connections;        /* idle ones kept to each target, over all workers */
    int64_t max_requests_per_connection;   /* 0: none */
    int proxy_protocol;                    /* the version of the header; 0: none */
    int protocol;                          /* enum upstream_protocol */
    struct upstream_retry retry;
    const struct hedge_conf *hedge; /* upstream/hedge.h; NULL: none */
    const char *deadline_header;    /* tells services how much time is left; NULL: none does */
    struct upstream_tls_conf *tls;  /* NULL or not `on`: plain */
    struct health_check_conf *health_check, *readiness_check, *agent_check; /* upstream/health_conf.h; NULL: none */
    struct sticky_conf *sticky;                                             /* upstream/sticky.h; NULL: none */
    const char *own_zone;                 /* the gateway's; by control, not a field of it; NULL: none */
    const struct fallback_conf *fallback; /* upstream/fallback.h; NULL: none */
    struct upstream *built; /* by control, before the handlers that refer to it are loaded; not a field of the file */
};
extern const struct conf_struct upstream_schema; /* of upstream_conf */
extern const struct conf_word proxy_protocol_words[];
enum upstream_protocol { UPSTREAM_HTTP1, UPSTREAM_H2 };
extern const struct conf_struct upstream_retry_schema;

/* Control thread. `conf_owner` (may be NULL) is held, and keeps `conf` and its strings alive. Targets that are names
 * start empty: control resolves them and calls upstream_set_targets with a set of all targets. `workers`: their indices
 * are below it; caps are shared by those attached. NULL without memory. */
struct upstream *upstream_new(const char *name, const struct upstream_conf *conf, struct conf *conf_owner,
                              unsigned workers);
/* Before the first attach: how large an answer's head may be, what is held of its body and when that is spliced, as
 * these limits say. Without a call: defaults of our own. */
void upstream_limit(struct upstream *upstream, const struct http_limits *limits);
struct upstream *upstream_hold(struct upstream *upstream);
/* Any thread. With the last reference: per-worker parts must have been detached. Connections still busy then hold a
 * reference of their own. */
void upstream_drop(struct upstream *upstream);
const char *upstream_name(const struct upstream *upstream);
const struct upstream_conf *upstream_settings(const struct upstream *upstream);
struct cluster *upstream_cluster(const struct upstream *upstream); /* borrowed: what workers share of it */
/* Until its circuit breaker may let a request through, in milliseconds; 0: now. */
uint64_t upstream_open_again_ms(const struct upstream *upstream, uint64_t now_ns);
/* From a worker: until a target whose own circuit is open may be tried again; 0: there is none. */
uint64_t upstream_targets_again_ms(const struct upstream *upstream, unsigned worker, uint64_t now_ns);
struct target_set *upstream_targets(const struct upstream *upstream); /* borrowed, control thread */
/* Control thread: makes `set` (a reference is taken over) the current one, for workers that attach later. Those
 * attached get it by upstream_worker_update on their thread. */
void upstream_set_targets(struct upstream *upstream, struct target_set *set);

/* On the worker. attach is idempotent and counted. 0 or -ERR_MEMORY. */
MUST_USE int upstream_attach(struct upstream *upstream, unsigned worker, struct loop *loop);
void upstream_detach(struct upstream *upstream,
                     unsigned worker); /* the last closes idle connections; busy ones close when idle */
/* A reference is taken; nothing when not attached. Without memory the old set serves on, and the new one is tried again
 * at the next upstream_open. */
void upstream_worker_update(struct upstream *upstream, unsigned worker, struct target_set *set);

/* On the worker: a target is given up, and connections to it that nobody uses are closed. Nothing when not attached. */
void upstream_close_idle(struct upstream *upstream, unsigned worker, const struct target *target);

/* ---- TLS towards the targets (tls.c) ---- */

static inline bool upstream_wants_tls(const struct upstream_conf *conf)
{
    return conf->tls && conf->tls->on;
}
/* Control thread: reads and checks the files that the settings name. As tls_material_load. */
MUST_USE int upstream_load_material(const struct upstream_conf *conf, const struct tls_reporter *reporter,
                                    struct tls_material **ret_material);
/* Control thread: the material in force; a reference is taken over. Workers get contexts of it. */
void upstream_set_material(struct upstream *upstream, struct tls_material *material);
struct tls_material *upstream_material(const struct upstream *upstream); /* borrowed; NULL: plain */
/* On the worker, before the plans of a snapshot attach: it comes into force. `context` is taken over; NULL: the one
 * that is there is good. Without one, an upstream that wants TLS cannot be attached. */
void upstream_secure(struct upstream *upstream, unsigned worker, struct tls_context *context);
/* On the worker: newer certificates. Connections go on with those that they began with. Taken over. */
void upstream_renew(struct upstream *upstream, unsigned worker, struct tls_context *context);
/* On the worker: a snapshot goes out of force. */
void upstream_unsecure(struct upstream *upstream, unsigned worker);

/* One try. Filled by upstream_open, given back by upstream_close. Embedded in the proxy's attempt. */
struct upstream_try {
    struct upstream *upstream;
    struct target *target;
    struct stream *stream;
    uint64_t started_ms, started_ns;
    bool answered;     /* a head came and was judged */
    enum limit lacked; /* after -ERR_UPSTREAM_FULL, and when a wait ended: what stood in the way */
    unsigned worker;
    struct upstream_worker *local; /* upstream/'s own; outlives a detach until upstream_close */
};
/* What a request asks of the choice of a target and of the connection. */
struct upstream_wish {
    uint64_t key;               /* of consistent algorithms */
    uint64_t sticky;            /* what its session's cookie says; 0: nothing */
    const struct tried *tried;  /* targets tried before: taken again only when there is no other. May be NULL */
    const struct stream *down;  /* the client's, for a PROXY header; NULL: it is our own request */
    bool fresh;                 /* no idle connection will do */
    struct upstream_wait *wait; /* upstream/waiting.h; NULL: it does not wait for a permit */
    bool untried;               /* rather none than one of `tried` */
};
enum { UPSTREAM_WAITS = 1 };
/* 0; UPSTREAM_WAITS: it stands in a queue, whoever asked hears when to ask once more, and upstream_close leaves the
 * queue; or -ERR_BREAKER_OPEN, -ERR_NO_TARGET, -ERR_UPSTREAM_FULL, -ERR_CONNECT_*, -ERR_OVERLOADED, -ERR_SYSTEM,
 * -ERR_MEMORY, -ERR_NAME_UNRESOLVED (no target has an address). After -ERR_CONNECT_*, -ERR_SYSTEM and -ERR_MEMORY
 * try->target says which was tried; then upstream_close is due, and it is harmless after the others. Stale idle
 * connections are skipped silently. */
MUST_USE int upstream_open(struct upstream *upstream, unsigned worker, const struct upstream_wish *wish,
                           struct arena *arena, const struct stream_events *events, void *user,
                           struct upstream_try *ret_try);
/* An answer's head came, with this status (gRPC's as HTTP's): what the target is judged by, now rather than when the
 * body has come. */
void upstream_judge(struct upstream_try *try_, unsigned status);
/* Releases the stream (resetting it when it has not ended), tells the balancer (of a failure of the service's, too),
 * drops the target. Harmless when done twice. */
void upstream_close(struct upstream_try *try_, enum err err);

/* Retry budget (on by default): may one more retry start now? Counted until upstream_retry_end. Process-wide, relaxed
 * atomics. */
bool upstream_retry_begin(struct upstream *upstream);
void upstream_retry_end(struct upstream *upstream);
void upstream_request_begin(struct upstream *upstream); /* one active request, whatever its tries: the budget's base */
void upstream_request_end(struct upstream *upstream);

struct upstream_stats {
    uint64_t connects, connect_failures, reused, stale, retries, hedges, hedges_won;
    uint32_t idle, busy, active_requests, active_retries;
};
void upstream_stats(const struct upstream *upstream, struct upstream_stats *ret_stats); /* any thread */
