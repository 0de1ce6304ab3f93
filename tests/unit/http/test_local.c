/* Local streams: a parent's end and a child's end, without a socket. */
#include "parsing.h"

#include "base/pipe.h"
#include "http/local.h"
#include "loop/loop.h"

struct end {
    struct stream *stream;
    unsigned heads, interims, bodies, rooms, resets, writtens, sents;
};

static struct loop loop;
static struct end client, server;
static struct pipe body;

static struct end *end_of(struct stream *stream)
{
    return stream->user;
}

static void on_head(struct stream *s)
{
    end_of(s)->heads++;
}
static void on_interim(struct stream *s, const struct message *m)
{
    assert_int_equal(end_of(s)->heads, 0);
    assert_int_equal(m->status, 103);
    end_of(s)->interims++;
}
static void on_body(struct stream *s)
{
    end_of(s)->bodies++;
}
static void on_room(struct stream *s)
{
    end_of(s)->rooms++;
}
static void on_reset(struct stream *s)
{
    end_of(s)->resets++;
}
static void on_written(struct stream *s)
{
    end_of(s)->writtens++;
}
static void on_sent(struct stream *s)
{
    end_of(s)->sents++;
}

static const struct stream_events events = { on_head, on_interim, on_body, on_room, on_reset, on_written, on_sent };

static void on_request(struct stream_host *h, struct stream *stream, enum err err)
{
    assert_int_equal(err, ERR_NONE);
    server.stream = stream;
    stream->events = &events;
    stream->user = &server;
}

static struct stream_host host = { .on_request = on_request };

static int set_up(void **state)
{
    if (parsing_set_up(state) < 0 || loop_init(&loop, &memory) < 0)
        return -1;
    memset(&client, 0, sizeof(client));
    memset(&server, 0, sizeof(server));
    pipe_init(&body, &memory, UINT32_MAX);
    return local_open(&loop, arena, &events, &client, &host, &client.stream);
}

static void release(struct end *end)
{
    struct stream *stream = end->stream;

    if (stream == NULL)
        return;
    end->stream = NULL;
    stream->ops->release(stream);
    if (stream->arena != arena)
        arena_free(stream->arena);
}

static int tear_down(void **state)
{
    release(&server);
    release(&client);
    pipe_done(&body);
    loop_done(&loop);
    return parsing_tear_down(state);
}

static void ask(enum method method, int64_t length)
{
    struct message m = { .version = HTTP_1_1, .method = (uint8_t)method, .path = SLICE("/p"), .body_length = length };

    m.method_name = method == METHOD_HEAD ? SLICE("HEAD") : SLICE("POST");
    assert_int_equal(fields_add(&m.fields, arena, SLICE("A"), SLICE("b")), 0);
    assert_int_equal(stream_send_head(client.stream, &m, length == BODY_NONE), 0);
    assert_null(server.stream); /* no event within an op */
    loop_turn(&loop, 0);
    assert_non_null(server.stream);
}

static void answer(unsigned status, int64_t length, bool end)
{
    struct message m = { .version = HTTP_1_1, .status = (uint16_t)status, .body_length = length };

    assert_int_equal(stream_send_head(server.stream, &m, end), 0);
    loop_turn(&loop, 0);
}

static enum sent send_text(struct stream *stream, const char *text)
{
    assert_int_equal(pipe_append(&body, text, strlen(text)), 0);
    enum sent sent = stream_send_body(stream, &body);
    loop_turn(&loop, 0);
    return sent;
}

static enum sent end_body(struct stream *stream)
{
    enum sent sent;

    pipe_finish(&body, NULL);
    sent = stream_send_body(stream, &body);
    loop_turn(&loop, 0);
    pipe_done(&body);
    pipe_init(&body, &memory, UINT32_MAX);
    return sent;
}

static void a_request_and_its_answer_go_through(void **state)
{
    ask(METHOD_POST, 5);
    assert_int_equal(client.writtens, 1);
    assert_slice(server.stream->head->path, "/p");
    assert_ptr_not_equal(server.stream->head->fields.v[0].value.at, NULL);
    assert_int_equal(send_text(client.stream, "hello"), EMPTY);
    assert_int_equal(end_body(client.stream), SENT);
    assert_int_equal(server.stream->in.bytes, 5);
    assert_int_equal(server.stream->in.end, PIPE_ENDED);
    struct message hints = { .status = 103 };
    assert_int_equal(server.stream->ops->send_interim(server.stream, &hints), 0);
    answer(200, BODY_UNKNOWN, false);
    assert_int_equal(client.interims, 1);
    assert_int_equal(client.heads, 1);
    assert_int_equal(client.stream->head->status, 200);
    send_text(server.stream, "bye");
    assert_int_equal(end_body(server.stream), SENT);
    assert_int_equal(server.sents, 1);
    release(&server);
    assert_int_equal(client.stream->in.bytes, 3);
    assert_int_equal(client.stream->in.end, PIPE_ENDED);
    release(&client);
    loop_turn(&loop, 0);
    assert_int_equal(client.resets + server.resets, 0);
}

static void a_full_pipe_blocks_until_it_is_read(void **state)
{
    static char block[100000];

    ask(METHOD_POST, BODY_UNKNOWN);
    assert_int_equal(pipe_append(&body, block, sizeof(block)), 0);
    assert_int_equal(stream_send_body(client.stream, &body), BLOCKED);
    loop_turn(&loop, 0);
    assert_int_equal(server.stream->in.bytes, PIPE_ROOM_DEFAULT);
    assert_int_equal(client.rooms, 0);
    pipe_consume(&server.stream->in, PIPE_ROOM_DEFAULT);
    stream_read_more(server.stream);
    assert_int_equal(client.rooms, 0);
    loop_turn(&loop, 0);
    assert_int_equal(client.rooms, 1);
    assert_int_equal(end_body(client.stream), SENT);
    assert_int_equal(server.stream->in.total, sizeof(block));
}

static void a_cut_answer_is_a_reset(void **state)
{
    ask(METHOD_POST, BODY_NONE);
    answer(200, 10, false);
    send_text(server.stream, "abc");
    end_body(server.stream); /* short */
    assert_int_equal(client.resets, 1);
    assert_int_equal(client.stream->err, ERR_UPSTREAM_CUT);
    assert_int_equal(client.stream->in.end, PIPE_CUT);
    assert_int_equal(server.sents, 1);
    assert_true(server.stream->sent_cut);
}

static void a_cut_request_is_a_cut_body(void **state)
{
    ask(METHOD_POST, BODY_UNKNOWN);
    pipe_cut(&body, ERR_CLIENT_CLOSED);
    assert_int_equal(stream_send_body(client.stream, &body), SENT);
    loop_turn(&loop, 0);
    assert_int_equal(server.stream->in.end, PIPE_CUT);
    assert_int_equal(server.stream->in.err, ERR_CLIENT_CLOSED);
    assert_int_equal(server.bodies, 1);
}

static void who_leaves_early_resets_the_other(void **state)
{
    ask(METHOD_POST, BODY_UNKNOWN);
    stream_reset(client.stream, ERR_CANCELLED);
    loop_turn(&loop, 0);
    assert_int_equal(server.resets, 1);
    assert_int_equal(server.stream->err, ERR_CLIENT_CLOSED);
    assert_int_equal(client.resets, 0);
    release(&server);
    assert_int_equal(local_open(&loop, arena, &events, &client, &host, &client.stream), 0);
    ask(METHOD_POST, BODY_NONE);
    release(&server);
    loop_turn(&loop, 0);
    assert_int_equal(client.resets, 1);
    assert_int_equal(client.stream->err, ERR_UPSTREAM_RESET);
}

static void a_client_may_leave_before_the_server_is_born(void **state)
{
    struct message m = {
        .version = HTTP_1_1, .method_name = SLICE("GET"), .path = SLICE("/"), .body_length = BODY_NONE
    };

    assert_int_equal(stream_send_head(client.stream, &m, true), 0);
    stream_reset(client.stream, ERR_CANCELLED);
    loop_turn(&loop, 0);
    assert_null(server.stream);
}

static void bodies_that_may_not_be_are_dropped(void **state)
{
    ask(METHOD_HEAD, BODY_NONE);
    answer(200, 3, false);
    send_text(server.stream, "abc");
    assert_int_equal(end_body(server.stream), SENT);
    assert_int_equal(client.stream->in.bytes, 0);
    assert_int_equal(client.stream->in.end, PIPE_ENDED);
    assert_int_equal(server.sents, 1);
}

static void an_unread_request_does_not_hold_the_answer(void **state)
{
    static char block[100000];

    ask(METHOD_POST, BODY_UNKNOWN);
    assert_int_equal(pipe_append(&body, block, sizeof(block)), 0);
    assert_int_equal(stream_send_body(client.stream, &body), BLOCKED);
    server.stream->ops->stop_reading(server.stream);
    answer(413, 0, true);
    assert_int_equal(client.rooms, 1);
    assert_int_equal(stream_send_body(client.stream, &body), EMPTY);
    release(&server);
    assert_int_equal(client.stream->head->status, 413);
    assert_int_equal(client.stream->in.end, PIPE_ENDED);
    loop_turn(&loop, 0);
    assert_int_equal(client.resets, 0);
}

static void trailers_are_copied(void **state)
{
    struct fields trailers = { 0 };

    ask(METHOD_POST, BODY_NONE);
    answer(200, BODY_UNKNOWN, false);
    assert_int_equal(fields_add(&trailers, server.stream->arena, SLICE("T"), SLICE("u")), 0);
    pipe_finish(&body, &trailers);
    assert_int_equal(stream_send_body(server.stream, &body), SENT);
    loop_turn(&loop, 0);
    release(&server);
    assert_slice(client.stream->in.trailers->v[0].value, "u");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_request_and_its_answer_go_through),
        TEST(a_full_pipe_blocks_until_it_is_read),
        TEST(a_cut_answer_is_a_reset),
        TEST(a_cut_request_is_a_cut_body),
        TEST(who_leaves_early_resets_the_other),
        TEST(a_client_may_leave_before_the_server_is_born),
        TEST(bodies_that_may_not_be_are_dropped),
        TEST(an_unread_request_does_not_hold_the_answer),
        TEST(trailers_are_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
