/* What a request costs in steady state: one read and one write a side, and nothing else. An idle connection holds
 * nothing. */
#include "world.h"

#include <unistd.h>

/* The client of world_serve without settle(): exactly the turns that are needed. */
static void exchange_once(void)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    assert_int_equal(write(w.raw, text, sizeof(text) - 1), sizeof(text) - 1);
    turn_until(w.stream != NULL);
    assert_int_equal(stream_send_head(w.stream, response(200, 5), false), 0);
    assert_int_equal(pipe_append(&w.body, "hello", 5), 0);
    pipe_finish(&w.body, NULL);
    assert_int_equal(stream_send_body(w.stream, &w.body), SENT);
    pipe_init(&w.body, &w.memory, UINT32_MAX);
    turn_until(w.told.sents == 1);
    w.told.sents = 0;
    struct stream *stream = w.stream;
    w.stream = NULL;
    stream->ops->release(stream);
    arena_free(stream->arena);
    loop_turn(&w.loop, 0);
}

#ifndef __SANITIZE_ADDRESS__ /* under it slabs keep nothing */
enum { ALLOCS = 0 };
#else
enum { ALLOCS = 1000 };
#endif

static void serving_a_request_takes_one_read_and_one_write(void **state)
{
    world_serve();
    exchange_once(); /* slabs fill */
    calls = (struct calls){ 0 };
    for (int i = 0; i < 10; i++)
        exchange_once();
    assert_int_equal(calls.recvs, 10);
    assert_int_equal(calls.sends, 10);
    assert_int_equal(calls.held_sends, 0);
    assert_int_equal(calls.poll_ctls, 0);
    assert_int_equal(calls.setsockopts, 0);
    assert_true(calls.allocs <= ALLOCS);
    assert_int_equal(calls.splices, 0);
}

static void the_last_answer_waits_for_the_end_of_its_connection(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    calls = (struct calls){ 0 };
    reply(200, "hello");
    assert_int_equal(calls.sends, 1);
    assert_int_equal(calls.held_sends, 1);
    release_stream();
    raw_expect_part("hello");
    raw_expect_end();
}

/* One segment on loopback. How many reads it takes. */
static unsigned post_in_one_piece(size_t body_len)
{
    static char message[40000];
    int head_len =
        snprintf(message, sizeof(message), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", body_len);

    memset(message + head_len, 'b', body_len);
    calls = (struct calls){ 0 };
    raw_send_bytes(message, (size_t)head_len + body_len);
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    assert_int_equal(w.stream->in.bytes, body_len);
    pipe_consume(&w.stream->in, w.stream->in.bytes);
    unsigned recvs = calls.recvs;
    reply(204, "");
    release_stream();
    return recvs;
}

static void behind_a_large_body_little_is_read_with_the_head(void **state)
{
    world_serve();
    assert_int_equal(post_in_one_piece(30000), 2);
    assert_int_equal(post_in_one_piece(30000), 3); /* the first has the head and little else */
    assert_int_equal(post_in_one_piece(1000), 1);
    assert_int_equal(post_in_one_piece(10000), 1);
}

static void request_once(void)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    char got[256];

    struct arena *arena = arena_new(&w.memory, ARENA_LIMIT_DEFAULT);
    world_open_in(arena);
    assert_int_equal(stream_send_head(w.stream, request("GET", "/", BODY_NONE), true), 0);
    turn_until(!w.stream->unsent);
    while (read(w.raw, got, sizeof(got)) <= 0)
        continue;
    assert_int_equal(write(w.raw, text, sizeof(text) - 1), sizeof(text) - 1);
    turn_until(w.stream->in.end == PIPE_ENDED);
    w.stream->ops->release(w.stream);
    w.stream = NULL;
    arena_free(arena);
    loop_turn(&w.loop, 0);
}

static void asking_a_service_takes_one_write_and_one_read(void **state)
{
    world_connect();
    request_once();
    calls = (struct calls){ 0 };
    for (int i = 0; i < 10; i++)
        request_once();
    assert_int_equal(calls.recvs, 10);
    assert_int_equal(calls.sends, 10);
    assert_int_equal(calls.poll_ctls, 0);
    assert_int_equal(calls.setsockopts, 0);
    assert_true(calls.allocs <= ALLOCS);
}

static void an_idle_connection_holds_no_buffer(void **state)
{
    size_t empty = w.memory.held_bytes;

    world_serve();
    size_t fresh = w.memory.held_bytes - empty;
    assert_true(fresh <= 255);
    exchange_once();
    assert_int_equal(w.memory.held_bytes - empty, fresh);
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /");
    assert_true(w.memory.held_bytes - empty > fresh);
    reply(204, "");
    release_stream();
    raw_send(" HTTP/1.1\r\nHost: x\r\n\r\n");
    reply(204, "");
    release_stream();
    assert_int_equal(w.memory.held_bytes - empty, fresh);
}

static void a_long_body_is_read_without_asking_for_more(void **state)
{
    static char body[40000];

    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n");
    calls = (struct calls){ 0 };
    raw_send_bytes(body, sizeof(body)); /* one segment on loopback: three chunks of a pipe */
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    assert_int_equal(calls.recvs, 3);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(serving_a_request_takes_one_read_and_one_write),
        TEST(the_last_answer_waits_for_the_end_of_its_connection),
        TEST(behind_a_large_body_little_is_read_with_the_head),
        TEST(asking_a_service_takes_one_write_and_one_read),
        TEST(an_idle_connection_holds_no_buffer),
        TEST(a_long_body_is_read_without_asking_for_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
