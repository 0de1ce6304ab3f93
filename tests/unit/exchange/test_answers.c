/*
 * Answers on their way down: policies of this test's own around a handler of its own, in a real exchange over a local
 * stream.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "http/local.h"

struct bench {
    struct worker worker;
    struct plan plan;
    struct plan_policy policies[2];
    struct plan_local local;
    void *handler_locals[1];
    struct stream_host host;
    struct arena *arena;
    struct stream *client;
    struct message *response;
    struct exchange *x;
    bool reset;
};

/* ---- policies ---- */

static enum verdict want_whole(struct exchange *x, void *state, const void *data)
{
    exchange_want_body(x, DIR_RESPONSE, BODY_WHOLE, 0);
    return NEXT;
}

static enum verdict want_stream(struct exchange *x, void *state, const void *data)
{
    exchange_want_body(x, DIR_RESPONSE, BODY_STREAM, 0);
    return NEXT;
}

static enum verdict want_request(struct exchange *x, void *state, const void *data)
{
    exchange_want_body(x, DIR_REQUEST, BODY_STREAM, 0);
    return NEXT;
}

static enum verdict pass_body(struct exchange *x, void *state, const void *data, struct pipe *in, struct pipe *out)
{
    pipe_move(in, out, SIZE_MAX);
    if (pipe_drained(in))
        pipe_finish(out, in->trailers);
    return NEXT;
}

static enum verdict shout_body(struct exchange *x, void *state, const void *data, struct pipe *in, struct pipe *out)
{
    struct iovec iov[8];
    int count = pipe_peek(in, iov, ARRAY_LEN(iov), SIZE_MAX);
    for (int i = 0; i < count; i++)
        for (size_t j = 0; j < iov[i].iov_len; j++)
            ((char *)iov[i].iov_base)[j] = (char)toupper(((char *)iov[i].iov_base)[j]);
    return pass_body(x, state, data, in, out);
}

/* Lets nothing go before the end. */
static enum verdict keep_body(struct exchange *x, void *state, const void *data, struct pipe *in, struct pipe *out)
{
    return in->end == PIPE_ENDED ? pass_body(x, state, data, in, out) : NEXT;
}

static enum verdict stamp(struct exchange *x, void *state, const void *data)
{
    assert_int_equal(fields_set(&x->response.fields, x->arena, SLICE("X-Stamp"), SLICE("yes")), 0);
    return NEXT;
}

static enum verdict take_back_tunnel(struct exchange *x, void *state, const void *data)
{
    if (x->response.status != 101)
        return NEXT;
    assert_int_equal(exchange_reply(x, 403, SLICE_EMPTY, SLICE_EMPTY), 0);
    return REPLIED;
}

static const struct policy_type whole = {
    .name = "whole", .need = { BODY_PASS, BODY_WHOLE }, .on_head = { NULL, want_whole }, .on_body = { NULL, pass_body }
};
static const struct policy_type shout = { .name = "shout",
                                          .need = { BODY_PASS, BODY_STREAM },
                                          .on_head = { NULL, want_stream },
                                          .on_body = { NULL, shout_body } };
static const struct policy_type keeper = { .name = "keeper",
                                           .need = { BODY_STREAM, BODY_PASS },
                                           .on_head = { want_request, NULL },
                                           .on_body = { keep_body, NULL } };
static const struct policy_type stamper = { .name = "stamper", .on_head = { NULL, stamp } };
static const struct policy_type guard = { .name = "guard", .on_head = { NULL, take_back_tunnel } };

/* ---- handlers ---- */

static void say_hello(struct exchange *x, void *state, const void *data)
{
    struct pipe *body = state;
    const struct message head = { .version = HTTP_1_1, .status = 200, .body_length = BODY_UNKNOWN };
    pipe_init(body, &x->worker->memory, PIPE_ROOM_DEFAULT);
    assert_int_equal(pipe_append(body, "hello", 5), 0);
    pipe_finish(body, NULL);
    exchange_respond(x, &head, body);
}

static void give_back_pipe(struct exchange *x, void *state)
{
    pipe_done(state);
}

static void accept_upgrade(struct exchange *x, void *state, const void *data)
{
    const struct message head = { .version = HTTP_1_1, .status = 101, .body_length = BODY_NONE };
    pipe_init(state, &x->worker->memory, PIPE_ROOM_DEFAULT);
    exchange_respond(x, &head, state);
}

static void say_nothing(struct exchange *x, void *state, const void *data)
{
}

static void take_body(struct exchange *x, void *state)
{
    struct pipe *body = exchange_body(x);
    pipe_consume(body, body->bytes);
    exchange_body_taken(x);
}

static const struct handler_type greeter = {
    .name = "greeter", .state_size = sizeof(struct pipe), .start = say_hello, .on_done = give_back_pipe
};
static const struct handler_type upgrader = { .name = "upgrader",
                                              .state_size = sizeof(struct pipe),
                                              .start = accept_upgrade,
                                              .on_request_body = take_body,
                                              .on_done = give_back_pipe };
static const struct handler_type silent = { .name = "silent", .start = say_nothing, .on_request_body = take_body };
static const struct handler_type deaf = { .name = "deaf", .start = say_nothing };

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

static void set_up(struct bench *b, const struct handler_type *handler, const struct policy_type *first,
                   const struct policy_type *second)
{
    memset(b, 0, sizeof(*b));
    assert_int_equal(worker_init(&b->worker, 0, NULL, 0), 0);
    b->policies[0].type = first;
    b->policies[1].type = second;
    b->plan = (struct plan){ .refs = 1,
                             .handler = handler,
                             .policies = b->policies,
                             .policy_count = second  ? 2
                                             : first ? 1
                                                     : 0,
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

static void ask(struct bench *b, enum method method, bool end)
{
    const struct message request = { .version = HTTP_1_1,
                                     .method = (uint8_t)method,
                                     .method_name = method == METHOD_GET ? SLICE("GET") : SLICE("POST"),
                                     .scheme = SLICE("http"),
                                     .authority = SLICE("a.example"),
                                     .path = SLICE("/"),
                                     .body_length = end ? BODY_NONE : BODY_UNKNOWN };
    assert_int_equal(local_open(&b->worker.loop, b->arena, &events, b, &b->host, &b->client), 0);
    assert_int_equal(stream_send_head(b->client, &request, end), 0);
    for (int i = 0; i < 3; i++)
        loop_turn(&b->worker.loop, 0);
}

static void tear_down(struct bench *b)
{
    if (!b->reset)
        stream_reset(b->client, ERR_CANCELLED);
    b->client->ops->release(b->client);
    for (int i = 0; i < 3; i++)
        loop_turn(&b->worker.loop, 0);
    assert_int_equal(b->worker.exchange_count, 0);
    arena_free(b->arena);
    plan_retire(&b->plan, &b->worker);
    worker_done(&b->worker);
}

static void assert_body(struct bench *b, const char *wanted)
{
    struct iovec iov[1];
    assert_non_null(b->response);
    assert_int_equal(b->client->in.end, PIPE_ENDED);
    assert_int_equal(pipe_peek(&b->client->in, iov, 1, SIZE_MAX), 1);
    if (!slice_eq(slice_make(iov[0].iov_base, iov[0].iov_len), slice_from(wanted)))
        fail_msg("got %.*s", (int)iov[0].iov_len, (char *)iov[0].iov_base);
}

/* ---- tests ---- */

static void a_body_read_whole_goes_on_through_the_stages_in_front_of_it(void **state)
{
    static const struct policy_type *const orders[][2] = { { &shout, &whole }, { &whole, &shout }, { &shout, NULL } };
    for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
        struct bench b;
        set_up(&b, &greeter, orders[i][0], orders[i][1]);
        ask(&b, METHOD_GET, true);
        assert_body(&b, "HELLO");
        tear_down(&b);
    }
}

static void two_policies_may_read_the_same_body_whole(void **state)
{
    struct bench b;
    set_up(&b, &greeter, &whole, &whole);
    ask(&b, METHOD_GET, true);
    assert_body(&b, "hello");
    tear_down(&b);
}

static void a_timeout_is_seen_by_all_policies_whichever_hook_ran_last(void **state)
{
    struct bench b;
    set_up(&b, &silent, &keeper, &stamper);
    b.plan.exchange_timeout_ms = 1;
    ask(&b, METHOD_POST, false);
    struct pipe body;
    pipe_init(&body, &b.worker.memory, PIPE_ROOM_DEFAULT);
    assert_int_equal(pipe_append(&body, "x", 1), 0);
    stream_send_body(b.client, &body);
    while (!b.response && !b.reset)
        loop_turn(&b.worker.loop, -1);
    assert_non_null(b.response);
    assert_int_equal(b.response->status, 504);
    assert_non_null(fields_find_name(&b.response->fields, SLICE("X-Stamp")));
    pipe_done(&body);
    tear_down(&b);
}

static void an_upgrade_that_a_policy_takes_back_is_a_plain_exchange_again(void **state)
{
    struct bench b;
    set_up(&b, &upgrader, &guard, NULL);
    ask(&b, METHOD_GET, true);
    assert_non_null(b.response);
    assert_int_equal(b.response->status, 403);
    assert_int_equal(b.worker.exchange_count, 0);
    tear_down(&b);
}

static void a_body_that_the_handler_has_no_use_for_is_not_read(void **state)
{
    struct bench b;
    set_up(&b, &deaf, NULL, NULL);
    ask(&b, METHOD_POST, false);
    assert_true(b.x->request_stopped);
    tear_down(&b);
    set_up(&b, &silent, NULL, NULL);
    ask(&b, METHOD_POST, false);
    assert_false(b.x->request_stopped);
    tear_down(&b);
}

static bool takes_with_settings(const void *data, enum direction direction)
{
    return data != NULL;
}

static void a_body_passes_a_policy_whose_settings_do_not_take_it(void **state)
{
    const struct policy_type type = { .name = "seldom",
                                      .need = { [DIR_RESPONSE] = BODY_STREAM },
                                      .takes_body = takes_with_settings };
    struct plan_policy policy = { .type = &type };
    struct plan plan = { .policies = &policy, .policy_count = 1 };
    const struct exchange x = { .plan = &plan };
    assert_true(exchange_body_passes(&x, DIR_RESPONSE));
    policy.data = &plan;
    assert_false(exchange_body_passes(&x, DIR_RESPONSE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_passes_a_policy_whose_settings_do_not_take_it),
        cmocka_unit_test(a_body_read_whole_goes_on_through_the_stages_in_front_of_it),
        cmocka_unit_test(two_policies_may_read_the_same_body_whole),
        cmocka_unit_test(a_timeout_is_seen_by_all_policies_whichever_hook_ran_last),
        cmocka_unit_test(an_upgrade_that_a_policy_takes_back_is_a_plain_exchange_again),
        cmocka_unit_test(a_body_that_the_handler_has_no_use_for_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
