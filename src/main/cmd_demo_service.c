/*
 * maitred demo-service: a small service to put the gateway in front of.  It answers who it is and what it was sent, and
 * does on request what services do in life: be slow, fail, be large.
 *
 *      ?delay=250ms   answers after that long       ?status=503   answers with that status       ?size=64KiB   answers
 * with that many bytes
 *
 * It is made of the gateway's own parts: a server whose one route has the handler below.
 */
#include <errno.h>
#include <signal.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/sys.h"
#include "conf/conf.h"
#include "exchange/exchange.h"
#include "exchange/forwarding.h"
#include "exchange/worker.h"
#include "http/uri.h"
#include "main/command.h"
#include "main/signals.h"
#include "net/listen.h"
#include "observe/metrics.h"
#include "route/router.h"
#include "serve/server.h"

enum { SIZE_MAX_ASKED = 1 << 30, DELAY_MS_MAX = 600000, BODY_SHOWN_MAX = 4096 };

struct demo {
    struct plan plan;
    struct plan_local local;
    void *handler_local;
    struct worker worker;
    struct signals signals;
    struct serve_shared shared;
    struct forwarding_conf forwarding;
    const char *name;
    uint64_t served;
};

/* What one request asked for. */
struct demo_state {
    struct demo *demo;
    int64_t delay_ms, status, size;
    struct pipe body;
    uint64_t left; /* of `size` */
    uint64_t received;
    char shown[BODY_SHOWN_MAX]; /* the beginning of the request's body */
    size_t shown_len;
    bool answered;
};

/* ---- the query ---- */

static int64_t with_unit(struct slice value, const char *unit, int64_t factor)
{
    struct slice u = slice_from(unit);
    int64_t n;
    if (!slice_ends(value, u) || !slice_to_u63(slice_make(value.at, value.len - u.len), &n) || n > INT64_MAX / factor)
        return -1;
    return n * factor;
}

static int64_t first_fit(struct slice value, const char *const *units, const int64_t *factors)
{
    int64_t n = -1;
    for (int i = 0; units[i] && n < 0; i++)
        n = with_unit(value, units[i], factors[i]);
    return n;
}

static bool read_query(const struct message *request, struct demo_state *s)
{
    static const char *const times[] = { "ms", "s", "", NULL }, *const sizes[] = { "KiB", "MiB", "k", "m", "", NULL };
    static const int64_t time_factors[] = { 1, 1000, 1 }, size_factors[] = { 1024, 1 << 20, 1024, 1 << 20, 1 };
    struct slice rest = request->query, name, value;
    s->size = -1;
    s->status = 200;
    while (uri_next_param(&rest, &name, &value)) {
        if (slice_eq(name, SLICE("delay")))
            s->delay_ms = first_fit(value, times, time_factors);
        else if (slice_eq(name, SLICE("size")))
            s->size = first_fit(value, sizes, size_factors);
        else if (slice_eq(name, SLICE("status")) && !slice_to_u63(value, &s->status))
            s->status = -1;
        else
            continue;
        if (s->delay_ms < 0 || s->delay_ms > DELAY_MS_MAX || s->status < 200 || s->status > 599 ||
            s->size > SIZE_MAX_ASKED || (slice_eq(name, SLICE("size")) && s->size < 0))
            return false;
    }
    return true;
}

/* ---- the answer ---- */

static void write_answer(struct exchange *x, struct demo_state *s, struct json_out *out)
{
    const struct message *m = x->request;
    json_open(out, '{');
    json_name(out, "service");
    json_put_string(out, slice_from(s->demo->name));
    json_name(out, "served");
    json_put_int(out, (int64_t)s->demo->served);
    json_name(out, "method");
    json_put_string(out, m->method_name);
    json_name(out, "path");
    json_put_string(out, m->path);
    json_name(out, "query");
    json_put_string(out, m->query);
    json_name(out, "host");
    json_put_string(out, m->authority);
    json_name(out, "headers");
    json_open(out, '{');
    FIELDS_FOR_EACH (f, &m->fields) {
        struct slice name = arena_printf(x->arena, "%.*s", SLICE_ARG(f->name));
        if (!name.at)
            continue;
        json_name(out, name.at);
        json_put_string(out, f->value);
    }
    json_close(out, '}');
    json_name(out, "body_bytes");
    json_put_int(out, (int64_t)s->received);
    json_name(out, "body");
    json_put_string(out, slice_make(s->shown, s->shown_len));
    json_close(out, '}');
}

static void fill_size(struct demo_state *s)
{
    static const char line[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\n";
    while (s->left > 0 && pipe_room(&s->body) > 0) {
        char *at;
        size_t room;
        if (pipe_reserve(&s->body, &at, &room) < 0) {
            pipe_cut(&s->body, ERR_MEMORY);
            return;
        }
        size_t len = MIN(room, s->left);
        for (size_t i = 0; i < len; i += 64)
            memcpy(at + i, line, MIN(64, len - i));
        pipe_commit(&s->body, len);
        s->left -= len;
    }
    if (s->left == 0 && s->body.end == PIPE_OPEN)
        pipe_finish(&s->body, NULL);
}

static void answer_size(struct exchange *x, struct demo_state *s)
{
    struct message head = { .version = HTTP_1_1, .status = (uint16_t)s->status, .body_length = s->size };
    head.reason = slice_from(status_reason((unsigned)s->status));
    if (fields_add_id(&head.fields, x->arena, FIELD_CONTENT_TYPE, SLICE("text/plain")) < 0) {
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
        return;
    }
    if (x->request->method == METHOD_HEAD || !status_has_body((unsigned)s->status, x->request->method)) {
        head.body_length = BODY_NONE;
        exchange_respond(x, &head, NULL);
        return;
    }
    s->left = (uint64_t)s->size;
    fill_size(s);
    exchange_respond(x, &head, &s->body);
}

static void answer(struct exchange *x, struct demo_state *s)
{
    s->answered = true;
    s->demo->served++;
    if (s->size >= 0) {
        answer_size(x, s);
        return;
    }
    struct json_out out;
    json_out_init(&out, 2);
    write_answer(x, s, &out);
    out.comma = false; /* the line's end is no member */
    json_put_raw(&out, SLICE("\n"));
    if (out.failed ||
        exchange_reply(x, (unsigned)s->status, SLICE("application/json"), slice_make(out.buf, out.len)) < 0)
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
    json_out_done(&out);
}

static void answer_when_due(struct exchange *x, struct demo_state *s)
{
    if (s->answered || x->body->end == PIPE_OPEN)
        return;
    if (s->delay_ms > 0)
        exchange_set_alarm(x, x->worker->loop.now_ms + (uint64_t)s->delay_ms);
    else
        answer(x, s);
}

/* ---- the handler ---- */

static void demo_start(struct exchange *x, void *state, const void *data)
{
    struct demo_state *s = state;
    s->demo = container_of(x->plan, struct demo, plan);
    pipe_init(&s->body, &x->worker->memory, PIPE_ROOM_DEFAULT);
    if (!read_query(x->request, s)) {
        s->answered = true;
        exchange_fail(x, ERR_BAD_TARGET, SLICE("delay=250ms, status=200..599 and size=64KiB are understood"));
        return;
    }
    if (x->request->expect_continue) {
        const struct message proceed = { .version = HTTP_1_1, .status = 100, .body_length = BODY_NONE };
        exchange_interim(x, &proceed);
    }
    if (x->body->end != PIPE_OPEN && x->body->bytes == 0)
        answer_when_due(x, s);
}

static void demo_on_request_body(struct exchange *x, void *state)
{
    struct demo_state *s = state;
    struct pipe *body = exchange_body(x);
    struct iovec iov[16];
    int count;
    while ((count = pipe_peek(body, iov, (int)ARRAY_LEN(iov), SIZE_MAX)) > 0) {
        size_t taken = 0;
        for (int i = 0; i < count; i++) {
            size_t kept = MIN(iov[i].iov_len, sizeof(s->shown) - s->shown_len);
            memcpy(s->shown + s->shown_len, iov[i].iov_base, kept);
            s->shown_len += kept;
            taken += iov[i].iov_len;
        }
        s->received += taken;
        pipe_consume(body, taken);
    }
    exchange_body_taken(x);
    answer_when_due(x, s);
}

static void demo_on_response_room(struct exchange *x, void *state)
{
    struct demo_state *s = state;
    fill_size(s);
    exchange_source_more(x);
}

static void demo_on_wake(struct exchange *x, void *state)
{
    struct demo_state *s = state;
    if (!s->answered)
        answer(x, s);
}

static void demo_on_done(struct exchange *x, void *state)
{
    struct demo_state *s = state;
    pipe_done(&s->body);
}

static const struct handler_type handler_demo = {
    .name = "demo",
    .state_size = sizeof(struct demo_state),
    .start = demo_start,
    .on_request_body = demo_on_request_body,
    .on_response_room = demo_on_response_room,
    .on_wake = demo_on_wake,
    .on_done = demo_on_done,
};

/* ---- the process ---- */

static void on_signal(struct signals *signals, int number)
{
    struct demo *demo = container_of(signals, struct demo, signals);
    if (number == SIGTERM || number == SIGINT || number == SIGQUIT)
        loop_stop(&demo->worker.loop);
}

static void keep_plan(struct plan *plan)
{
    /* It is part of the demo, which lives as long as the process. */
}

/* Cuts what is in progress: nobody depends on a demo. */
static void end(struct demo *demo, struct server *server)
{
    struct worker *worker = &demo->worker;
    struct link stopping;
    list_init(&stopping);
    server_stop(server, STOP_LISTENING, &stopping);
    LIST_FOR_EACH (link, &worker->exchanges) {
        exchange_cancel(container_of(link, struct exchange, link), ERR_DRAINING);
    }
    while (worker->exchange_count > 0)
        loop_turn(&worker->loop, 0);
    servers_close_all(&stopping);
    plan_retire(&demo->plan, worker);
    loop_turn(&worker->loop, 0); /* what is still to be reclaimed */
    signals_done(&demo->signals);
    worker_done(worker);
}

static int serve(struct demo *demo, const struct address *address)
{
    static const struct http_limits limits = {
        .head_bytes_max = 65536,
        .target_bytes_max = 16384,
        .fields_max = 256,
        .body_room_bytes = 65536,
        .drain_bytes_max = 1 << 20,
        .head_timeout_ms = 60000,
        .keep_alive_ms = 3600000,
        .body_idle_ms = 60000,
        .send_idle_ms = 60000,
        .linger_ms = 2000,
        .underscores_ok = true,
    };
    const struct listen_options options = { .backlog = 1024, .reuse_port = false };
    struct conf *conf = conf_new(NULL);
    static const struct match_conf everything;
    const struct route_entry entry = { .match = &everything, .plan = &demo->plan };
    struct router *router = router_build(conf, &entry, 1);
    const struct server_settings settings = { limits, &demo->forwarding, router, conf };
    struct server *server;
    int fd;
    if (!router || listen_open(address, &options, &fd) < 0) {
        int error = errno;
        char text[ADDRESS_TEXT_MAX];
        address_format(address, true, text);
        fprintf(stderr, "maitred demo-service: cannot listen on %s: %s%s\n", text, strerror(error),
                listen_advice(error));
        return EXIT_FAULT;
    }
    if (plan_attach(&demo->plan, &demo->worker) < 0 ||
        server_start(&demo->worker, fd, address, &demo->shared, &settings, &server) < 0) {
        fprintf(stderr, "maitred demo-service: cannot serve\n");
        return EXIT_FAULT;
    }
    router_drop(router);
    conf_free(conf);
    loop_run(&demo->worker.loop);
    end(demo, server);
    return EXIT_FINE;
}

static int run(int argc, char **argv)
{
    const char *listen = NULL, *name = "demo";
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--listen") == 0)
            listen = argv[i + 1];
        else if (strcmp(argv[i], "--name") == 0)
            name = argv[i + 1];
        else
            return command_usage(&command_demo_service, "`%s` is no argument of it", argv[i]);
    }
    static struct network everyone[] = { { .base.family = AF_INET },
                                         { .base.family = AF_INET6 },
                                         { .base.family = AF_UNIX } };
    struct address address;
    const char *why = "give --listen ADDRESS";
    if (argc % 2 == 0 || !listen || address_parse(slice_from(listen), &address, &why) < 0)
        return command_usage(&command_demo_service, "where to listen? %s", why);
    hash_seed();
    metrics_init(1);
    struct demo *demo = mem_must(sizeof(*demo));
    demo->name = name;
    demo->forwarding.trusted = (struct conf_list){ everyone, ARRAY_LEN(everyone) }; /* it shows what it was sent */
    demo->plan = (struct plan){
        .refs = 1,
        .route = "demo",
        .pattern = "*",
        .handler = &handler_demo,
        .handler_per_worker = &demo->handler_local,
        .locals = &demo->local,
        .workers = 1,
        .forwarding = &demo->forwarding,
        .free = keep_plan,
    };
    if (worker_init(&demo->worker, 0, NULL, 0) < 0 || signals_init(&demo->signals, &demo->worker.loop, on_signal) < 0) {
        fprintf(stderr, "maitred demo-service: cannot start: %s\n", strerror(errno));
        return EXIT_FAULT;
    }
    int rc = serve(demo, &address);
    if (rc != EXIT_FINE)
        return rc; /* the process ends: nothing serves yet */
    metrics_done();
    mem_free(demo);
    return rc;
}

const struct command command_demo_service = {
    .name = "demo-service",
    .run = run,
    .summary = "run a small service to try the gateway with",
    .help = "Usage: maitred demo-service --listen ADDRESS [--name NAME]\n\n"
            "Answers any request with JSON: who it is and what it was sent. In the query of a request:\n"
            "  delay=250ms     answer after that long\n"
            "  status=503      answer with that status\n"
            "  size=64KiB      answer with that many bytes instead\n",
};
