/*
 * Calls of gRPC in a real exchange over a local stream: deadlines, answers of trailers alone, the status that is noted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "exchange/exchange.h"
#include "exchange/grpc.h"
#include "exchange/worker.h"
#include "http/local.h"

struct bench {
    struct worker worker;
    struct plan plan;
    struct plan_policy policies[1];
    struct plan_local local;
    void *handler_locals[1];
    struct stream_host host;
    struct arena *arena;
    struct stream *client;
    struct message *response;
    struct exchange *x;
    bool reset;
};

/* ---- what the exchange was when it ended ---- */

static struct record last;
static unsigned handled;

static enum verdict watch(struct exchange *x, void *state, const void *data)
{
    return NEXT;
}

static void keep_record(struct exchange *x, void *state, const void *data)
{
    last = x->record;
}

static const struct policy_type watcher = { .name = "watcher", .on_head = { watch, NULL }, .on_done = keep_record };

/* ---- handlers ---- */

static void say_nothing(struct exchange *x, void *state, const void *data)
{
    handled++;
}

static void take_body(struct exchange *x, void *state)
{
    struct pipe *body = exchange_body(x);
    pipe_consume(body, body->bytes);
    exchange_body_taken(x);
}

/* "abc", and a status in the trailers. */
static void answer_call(struct exchange *x, void *state, const void *data)
{
    const struct message head = { .version = HTTP_2, .status = 200, .body_length = BODY_UNKNOWN };
    struct fields *trailers = arena_zalloc(x->arena, sizeof(*trailers));
    assert_int_equal(fields_add_id(trailers, x->arena, FIELD_GRPC_STATUS, SLICE("5")), 0);
    pipe_init(state, &x->worker->memory, PIPE_ROOM_DEFAULT);
    assert_int_equal(pipe_append(state, "abc", 3), 0);
    pipe_finish(state, trailers);
    exchange_respond(x, &head, state);
}

static void break_off(struct exchange *x, void *state, const void *data)
{
    const struct message head = { .version = HTTP_2, .status = 200, .body_length = BODY_UNKNOWN };
    pipe_init(state, &x->worker->memory, PIPE_ROOM_DEFAULT);
    pipe_cut(state, ERR_UPSTREAM_CUT);
    exchange_respond(x, &head, state);
}

static void give_back_pipe(struct exchange *x, void *state)
{
    pipe_done(state);
}

static const struct handler_type silent = { .name = "silent", .start = say_nothing, .on_request_body = take_body };
static const struct handler_type answerer = { .name = "answerer",
                                              .state_size = sizeof(struct pipe),
                                              .start = answer_call,
                                              .on_request_body = take_body,
                                              .on_done = give_back_pipe };
static const struct handler_type breaker = { .name = "breaker",
                                             .state_size = sizeof(struct pipe),
                                             .start = break_off,
                                             .on_request_body = take_body,
                                             .on_done = give_back_pipe };

/* ---- the bench ---- */

static void never_free(struct plan *plan)
{
    fail_msg("the plan is the test's");
}

static void on_request(struct stream_host *host, struct stream *stream, enum err err)
{
    struct bench *b = container_of(host, struct bench, host);
    assert_int_equal(exchange_begin(&b->worker, stream, &b->plan, err, &b->x), 0);
}

static void on_connection_end(struct stream_host *host)
{
}

static void on_head(struct stream *stream)
{
    ((struct bench *)stream->user)->response = stream->head;
}

static void on_reset(struct stream *stream)
{
    ((struct bench *)stream->user)->reset = true;
}

static void on_nothing(struct stream *stream)
{
}

static const struct stream_events events = {
    .on_head = on_head,
    .on_body = on_nothing,
    .on_room = on_nothing,
    .on_reset = on_reset,
};

static void set_up(struct bench *b, const struct handler_type *handler)
{
    memset(b, 0, sizeof(*b));
    memset(&last, 0, sizeof(last));
    handled = 0;
    assert_int_equal(worker_init(&b->worker, 0, NULL, 0), 0);
    b->policies[0].type = &watcher;
    b->plan = (struct plan){ .refs = 1,
                             .handler = handler,
                             .policies = b->policies,
                             .policy_count = 1,
                             .locals = &b->local,
                             .workers = 1,
                             .route = "test",
                             .free = never_free };
    b->plan.handler_per_worker = b->handler_locals;
    assert_int_equal(plan_attach(&b->plan, &b->worker), 0);
    b->host.on_request = on_request;
    b->host.on_connection_end = on_connection_end;
    b->arena = arena_new(&b->worker.memory, SIZE_MAX);
}

static void turns(struct bench *b)
{
    for (int i = 0; i < 3; i++)
        loop_turn(&b->worker.loop, 0);
}

/* Up to two lines of grpc-timeout. */
static void call(struct bench *b, const char *type, const char *timeout, const char *another)
{
    struct message request = { .version = HTTP_2,
                               .method = METHOD_POST,
                               .method_name = SLICE("POST"),
                               .scheme = SLICE("http"),
                               .authority = SLICE("a.example"),
                               .path = SLICE("/a.B/C"),
                               .body_length = BODY_UNKNOWN };
    const char *const lines[] = { timeout, another };
    assert_int_equal(fields_add_id(&request.fields, b->arena, FIELD_CONTENT_TYPE, slice_from(type)), 0);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (lines[i])
            assert_int_equal(fields_add_id(&request.fields, b->arena, FIELD_GRPC_TIMEOUT, slice_from(lines[i])), 0);
    assert_int_equal(local_open(&b->worker.loop, b->arena, &events, b, &b->host, &b->client), 0);
    assert_int_equal(stream_send_head(b->client, &request, false), 0);
    turns(b);
}

static void tear_down(struct bench *b)
{
    if (!b->reset)
        stream_reset(b->client, ERR_CANCELLED);
    b->client->ops->release(b->client);
    turns(b);
    assert_int_equal(b->worker.exchange_count, 0);
    arena_free(b->arena);
    plan_retire(&b->plan, &b->worker);
    worker_done(&b->worker);
}

static void assert_trailers_alone(struct bench *b, const char *type, const char *status)
{
    assert_non_null(b->response);
    assert_int_equal(b->response->status, 200);
    assert_true(pipe_drained(&b->client->in) && b->client->in.end == PIPE_ENDED);
    const struct fields *fields = &b->response->fields;
    assert_true(slice_eq(fields_find(fields, FIELD_CONTENT_TYPE)->value, slice_from(type)));
    assert_true(slice_eq(fields_find(fields, FIELD_GRPC_STATUS)->value, slice_from(status)));
    assert_true(fields_find_name(fields, SLICE("grpc-message"))->value.len > 0);
}

/* ---- tests ---- */

static void time_that_is_up_is_told_with_trailers_alone(void **state)
{
    struct bench b;
    set_up(&b, &silent);
    call(&b, "application/grpc+proto", "1m", NULL);
    while (!b.response && !b.reset)
        loop_turn(&b.worker.loop, -1);
    assert_trailers_alone(&b, "application/grpc", "4");
    tear_down(&b);
    assert_true(last.grpc && last.grpc_status == GRPC_STATUS_DEADLINE_EXCEEDED && last.err == ERR_DEADLINE_EXCEEDED);
}

static void a_timeout_that_is_none_is_refused_before_anyone_works(void **state)
{
    static const struct {
        const char *timeout, *another, *status;
    } cases[] = { { "1s", NULL, "3" }, { "", NULL, "3" }, { "1S", "1S", "3" }, { "0n", NULL, "4" } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        set_up(&b, &silent);
        call(&b, "application/grpc", cases[i].timeout, cases[i].another);
        assert_trailers_alone(&b, "application/grpc", cases[i].status);
        assert_int_equal(handled, 0);
        tear_down(&b);
    }
}

static void the_nearest_deadline_counts_and_services_are_told_what_is_left(void **state)
{
    static const struct {
        const char *timeout;
        int64_t route_ms, max_ms;
        bool ignored;
        uint64_t expected_ms; /* 0: none */
        bool client;
        const char *told; /* NULL: as it was */
    } cases[] = {
        { "20S", 0, 0, false, 20000, true, "20000m" },      { "20S", 5000, 0, false, 5000, false, "5000m" },
        { "20S", 60000, 7000, false, 7000, true, "7000m" }, { NULL, 0, 7000, false, 0, false, NULL },
        { NULL, 9000, 0, false, 9000, false, "9000m" },     { "20S", 9000, 0, true, 9000, false, NULL },
        { "nonsense", 0, 0, true, 0, false, NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        set_up(&b, &silent);
        b.plan.exchange_timeout_ms = cases[i].route_ms;
        b.plan.grpc_timeout_max_ms = cases[i].max_ms;
        b.plan.grpc_ignores_timeout = cases[i].ignored;
        call(&b, "application/grpc", cases[i].timeout, NULL);
        assert_int_equal(handled, 1);
        uint64_t begun_ms = b.x->record.start_ns / 1000000;
        uint64_t left_ms = b.x->deadline_ms ? b.x->deadline_ms - begun_ms : 0;
        assert_in_range(left_ms, cases[i].expected_ms, cases[i].expected_ms + 1);
        assert_int_equal(b.x->deadline_client, cases[i].client);
        if (b.x->deadline_ms)
            b.worker.loop.now_ms = b.x->deadline_ms - cases[i].expected_ms;
        struct message head = *b.x->request;
        assert_int_equal(grpc_tell_timeout(b.x, &head), 0);
        const struct field *told = fields_find(&head.fields, FIELD_GRPC_TIMEOUT);
        const char *expected = cases[i].told ? cases[i].told : cases[i].timeout;
        assert_int_equal(told != NULL, expected != NULL);
        assert_true(!told || slice_eq(told->value, slice_from(expected)));
        tear_down(&b);
    }
}

static void other_requests_are_not_asked_for_their_timeout(void **state)
{
    struct bench b;
    set_up(&b, &silent);
    call(&b, "application/json", "nonsense", NULL);
    assert_true(handled == 1 && b.x->deadline_ms == 0 && b.x->grpc == GRPC_NONE);
    tear_down(&b);
    assert_false(last.grpc);
}

static void the_status_is_read_from_the_trailers(void **state)
{
    struct bench b;
    set_up(&b, &answerer);
    call(&b, "application/grpc", NULL, NULL);
    assert_int_equal(b.client->in.end, PIPE_ENDED);
    tear_down(&b);
    assert_int_equal(last.grpc_status, GRPC_STATUS_NOT_FOUND);
}

static void an_answer_that_was_cut_has_none(void **state)
{
    struct bench b;
    set_up(&b, &breaker);
    call(&b, "application/grpc", NULL, NULL);
    tear_down(&b);
    assert_true(last.grpc && last.grpc_status == GRPC_STATUS_ABSENT && !last.complete);
}

static void clients_of_grpc_web_get_their_own_type(void **state)
{
    static const char *const types[][2] = { { "application/grpc-web", "application/grpc-web+proto" },
                                            { "application/grpc-web-text+proto", "application/grpc-web-text+proto" } };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct bench b;
        set_up(&b, &silent);
        call(&b, types[i][0], "never", NULL);
        assert_trailers_alone(&b, types[i][1], "3");
        tear_down(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_that_is_up_is_told_with_trailers_alone),
        cmocka_unit_test(a_timeout_that_is_none_is_refused_before_anyone_works),
        cmocka_unit_test(the_nearest_deadline_counts_and_services_are_told_what_is_left),
        cmocka_unit_test(other_requests_are_not_asked_for_their_timeout),
        cmocka_unit_test(the_status_is_read_from_the_trailers),
        cmocka_unit_test(an_answer_that_was_cut_has_none),
        cmocka_unit_test(clients_of_grpc_web_get_their_own_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
