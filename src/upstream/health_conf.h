/*
 * The settings of a health check: what is asked of each target, how often, and which answers will do.
 *
 * Part of an upstream's configuration; immutable, in the arena of the configuration that it was read from.
 */
#pragma once

#include "balance/health.h"
#include "balance/status_range.h"
#include "conf/conf.h"
#include "net/address.h"

struct upstream_conf;

/* By what is written when `type` is not: see health_schema.c. */
enum probe_type { PROBE_UNSAID, PROBE_TCP, PROBE_HTTP, PROBE_GRPC, PROBE_AGENT };
enum probe_protocol { PROBE_AS_UPSTREAM, PROBE_HTTP1, PROBE_H2 };

enum { EXPECT_BODY_MAX = 1024, GRPC_SERVICE_MAX = 255 };

struct health_check_conf {
    struct health_pace pace;
    int type;                       /* enum probe_type, decided */
    int protocol;                   /* enum probe_protocol */
    const char *path;               /* with its query */
    const char *method;             /* NULL: GET */
    const char *host;               /* NULL: the target's host and port */
    const char *service;            /* of gRPC; NULL: the server as a whole */
    const char *send;               /* to an agent; NULL: nothing */
    const char *expect_body;        /* NULL: any */
    struct conf_list headers;       /* a map of const char * */
    struct conf_list expect_status; /* of struct status_range */
    struct address address;         /* another than the target's, without port; AF_UNSPEC: the target's */
    int64_t port;                   /* 0: the target's */
    bool tls;                       /* as the upstream; else plain */
    bool proxy_protocol;            /* as the upstream; else none */
};

extern const struct conf_struct health_check_schema; /* of health_check_conf */
extern const struct conf_struct agent_check_schema;  /* of the same, for an agent */
extern const struct conf_type health_header_type;    /* of a value in `headers` */

/* The errors that only show beside the rest of the upstream. `name` is the field; `check` may be NULL. */
void health_check_fits(struct conf *conf, const struct conf_node *upstream_node, const char *name,
                       const struct health_check_conf *check, const struct upstream_conf *upstream);
/* For the schemas: an IP address; times that fit into the interval. */
int health_parse_ip(struct conf *conf, const struct conf_node *node, void *ret_value);
void health_check_pace(struct conf *conf, const struct conf_node *node, struct health_pace *pace);
/* What a probe speaks. */
bool health_check_uses_tls(const struct health_check_conf *check, const struct upstream_conf *upstream);
bool health_check_uses_h2(const struct health_check_conf *check, const struct upstream_conf *upstream);
bool health_check_expects(const struct health_check_conf *check, unsigned status);
