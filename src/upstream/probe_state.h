/*
 * The inside of a probe, for its own files alone.
 */
#pragma once

#include "base/pipe.h"
#include "base/slice.h"
#include "http/conn.h"
#include "net/proxy_header.h"
#include "net/transport.h"
#include "upstream/probe.h"

enum { GRPC_ANSWER_MAX = 1024, GRPC_REQUEST_MAX = 512 };

struct probe {
    struct loop *loop;
    struct probe_order order;
    void (*on_done)(void *user, const struct probe_report *report);
    void *user;
    struct probe_report report;
    bool over;             /* the report stands */
    struct timer timer;    /* of the whole */
    struct task work;      /* looks at what there is; then tells */
    struct task reclaim;   /* the memory goes */
    struct address to;     /* what is dialled */
    struct transport wire; /* a TCP check's */
    bool wire_open, established;
    /* of an agent */
    bool asked;
    char line[AGENT_LINE_MAX];
    size_t line_len;
    /* of HTTP and gRPC */
    struct http_owner owner;
    struct http_limits limits;
    struct http_conn *conn; /* NULL: none, or gone */
    struct stream *stream;
    struct arena *arena;
    struct pipe out; /* gRPC's request */
    bool sending;
    char *window; /* the end of the body so far, in the arena; gRPC: all of it */
    size_t window_len, window_size, body_len;
};

/* The first report stands; the rest is done by the task. */
void probe_report(struct probe *probe, enum probe_result result, const char *why_format, ...)
    __attribute__((format(printf, 3, 4)));
/* By an error of the connection or the stream. */
void probe_failed(struct probe *probe, enum err err);

/* ---- probe_agent.c ---- */

/* The connection stands, and there may be news. */
void probe_agent_work(struct probe *probe);

/* ---- probe_http.c ---- */

void probe_http_begin(struct probe *probe, const struct dial *dial);
void probe_http_work(struct probe *probe);
void probe_http_end(struct probe *probe);

/* ---- probe_grpc.c: bytes of grpc.health.v1 (the health checking protocol of gRPC) ---- */

/* HealthCheckRequest in its frame; the service's name is at most GRPC_SERVICE_MAX. Returns the length. */
size_t grpc_health_request(struct slice service, char ret_bytes[GRPC_REQUEST_MAX]);
enum grpc_health { GRPC_HEALTH_UNKNOWN, GRPC_HEALTH_SERVING, GRPC_HEALTH_NOT_SERVING, GRPC_HEALTH_SERVICE_UNKNOWN };
/* The body of an answer: one frame with a HealthCheckResponse. -ERR_UPSTREAM_BAD_BODY. */
MUST_USE int grpc_health_parse(struct slice body, enum grpc_health *ret_health);
/* What a complete answer says: its status (of HTTP) and trailers, and the body. */
void probe_grpc_judge(struct probe *probe);
