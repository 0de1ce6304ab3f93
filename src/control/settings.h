/*
 * The whole configuration as C structs; the schema that loads it is the one that `maitred schema` and `maitred
 * reference` print.
 */
#pragma once

#include "conf/conf.h"
#include "control/consumers_conf.h"
#include "control/listener_tls.h"
#include "exchange/forwarding.h"
#include "exchange/grpc.h"
#include "net/address.h"
#include "observe/access_log.h"

struct limits_conf {
    int64_t connections;  /* of clients, in the process */
    int64_t memory_bytes; /* what clients and services can make us hold; 0 no limit */
    int64_t head_bytes, target_bytes, fields;
    int64_t body_bytes;        /* of a request; 0 no limit */
    int64_t body_buffer_bytes; /* held of one body, each way */
    int64_t drain_bytes;       /* of an unread request body, before the connection is closed instead */
    int64_t requests_per_connection;
    int64_t streams;                 /* at once on one HTTP/2 connection */
    int64_t connection_buffer_bytes; /* held of all bodies of one, each way */
    int64_t splice_bytes;            /* bodies with more than this left stay in the kernel; 0 never */
    bool underscores, escaped_slashes, empty_segments;
};

struct timeouts_conf {
    int64_t handshake_ms;
    int64_t request_head_ms, body_idle_ms, send_idle_ms, keep_alive_ms, exchange_ms, tunnel_idle_ms, tunnel_lifetime_ms,
        linger_ms, drain_ms;
};

/* net/proxy_header.h has what it comes to. */
struct proxy_conf {
    struct conf_list from; /* of struct network */
    bool required;
};
extern const struct conf_struct proxy_protocol_schema;

struct listener_conf {
    struct address address;
    int64_t backlog;
    int64_t unix_mode;
    struct listener_tls_conf *tls; /* NULL: plain */
    struct proxy_conf *proxy;      /* NULL: no PROXY header comes */
    struct conf_list policies;     /* of struct conf_choice, behind the gateway's */
};

struct route_conf {
    const char *name;
    void *match;               /* struct match_conf, NULL: everything */
    struct conf_list policies; /* of struct conf_choice */
    struct conf_choice handler;
    int64_t body_bytes;                                     /* meant only when the file says so: see plans.c */
    int64_t timeout_ms, tunnel_idle_ms, tunnel_lifetime_ms; /* likewise */
    struct grpc_conf grpc;
};

struct admin_conf {
    struct address address;
};

struct resolver_conf {
    struct conf_list servers; /* of const char * */
};

struct settings {
    int64_t workers; /* 0: one a core */
    const char *user;
    const char *zone;             /* NULL: none */
    struct conf_list listeners;   /* of struct listener_conf */
    struct conf_list upstreams;   /* map to struct upstream_conf */
    struct conf_list policies;    /* of struct conf_choice: on every route, before its own */
    struct conf_list policy_sets; /* map to a list of struct conf_choice */
    struct conf_list routes;      /* of struct route_conf */
    struct conf_list consumers;   /* map to struct consumer_conf */
    struct revoked_conf revoked;
    struct admin_conf *admin;
    struct access_log_conf access_log;
    int log_level;
    struct limits_conf limits;
    struct timeouts_conf timeouts;
    struct forwarding_conf forwarding;
    struct resolver_conf resolver;
    struct session_tickets_conf session_tickets;
};
extern const struct conf_struct settings_schema;
extern const struct conf_type upstream_type, listener_type, route_type, policy_place_type, policy_set_type;

/* Parses, loads and resolves a file. `*ret_root` is its tree. 0, or -1 with the mistakes in the conf's diagnostics. */
MUST_USE int settings_load(struct conf *conf, const char *path, struct settings *ret_settings,
                           const struct conf_node **ret_root);
/* The same from text, under a name for messages. */
MUST_USE int settings_load_text(struct conf *conf, const char *name, struct slice text, struct settings *ret_settings,
                                const struct conf_node **ret_root);
