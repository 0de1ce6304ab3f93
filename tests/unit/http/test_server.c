/* The server role: requests in, responses out, on one connection. */
#include "world.h"

#include "base/assert.h"

static void expect_reply(const char *status_line, const char *rest)
{
    raw_expect_part(rest);
    assert_memory_equal(w.got, status_line, strlen(status_line));
    raw_forget();
}

static void a_request_is_answered_and_the_connection_serves_on(void **state)
{
    world_serve();
    for (int i = 0; i < 3; i++) {
        raw_send("GET /a?b HTTP/1.1\r\nHost: x\r\nX-Y: z\r\n\r\n");
        assert_int_equal(w.told.requests, i + 1);
        struct message *head = w.stream->head;
        assert_int_equal(head->method, METHOD_GET);
        assert_true(slice_eq(head->path, SLICE("/a")));
        assert_true(slice_eq(head->query, SLICE("b")));
        assert_true(slice_eq(head->authority, SLICE("x")));
        assert_int_equal(head->fields.count, 1);
        assert_int_equal(w.stream->in.end, PIPE_ENDED);
        reply(200, "hello");
        expect_reply("HTTP/1.1 200 OK\r\nDate: ", "Content-Length: 5\r\n\r\nhello");
        assert_int_equal(w.told.sents, i + 1);
        release_stream();
    }
    assert_int_equal(w.told.ends, 0);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    world_serve();
    raw_send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
             "POST /3 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /4 HTTP/1.1\r\nHost: x\r\n\r\n");
    for (char c = '1'; c <= '4'; c++) {
        assert_int_equal(w.told.requests, c - '0');
        assert_int_equal(w.stream->head->path.at[1], c);
        if (c == '3')
            assert_in("abc");
        assert_int_equal(w.stream->in.end, PIPE_ENDED);
        char body[2] = { c, 0 }, expected[] = "\r\n\r\n?";
        expected[4] = c;
        reply(200, body);
        raw_expect_part(expected);
        raw_forget();
        release_stream();
    }
}

static void many_pipelined_requests_are_all_served(void **state)
{
    enum { MANY = 100 };
    static char text[MANY * 64];
    size_t len = 0;

    world_serve();
    for (int i = 0; i < MANY; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\n", i);
    raw_send_bytes(text, len);
    for (int i = 0; i < MANY; i++) {
        turn_until(w.stream != NULL);
        reply(204, "");
        release_stream();
    }
    assert_int_equal(w.told.requests, MANY);
}

static void a_head_in_pieces_is_put_together(void **state)
{
    const char *text = "\r\nPOST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";

    world_serve();
    for (const char *at = text; *at; at++)
        raw_send_bytes(at, 1);
    assert_int_equal(w.told.requests, 1);
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    assert_in("body");
}

static void a_chunked_body_and_its_trailers_are_read(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\n"
             "X-Sum: 1\r\nContent-Length: 9\r\n\r\n");
    assert_int_equal(w.stream->head->body_length, BODY_UNKNOWN);
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    assert_non_null(w.stream->in.trailers);
    assert_int_equal(w.stream->in.trailers->count, 1);
    assert_in("abc0123456789");
}

/* The one byte that is asked for beyond a body belongs to the next request. */
static void a_request_right_behind_a_long_body_is_served(void **state)
{
    static char text[20000 + 64];

    world_serve();
    raw_send("POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n");
    memset(text, 'x', 20000);
    size_t len = 20000 + (size_t)snprintf(text + 20000, 64, "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_send_bytes(text, len);
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    assert_int_equal(w.stream->in.total, 20000);
    text[20000] = '\0';
    assert_in(text);
    reply(204, "");
    release_stream();
    turn_until(w.stream != NULL);
    assert_int_equal(w.told.request_err, ERR_NONE);
    assert_true(slice_eq(w.stream->head->path, SLICE("/2")));
}

static void a_response_of_unknown_length_is_chunked(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(stream_send_head(w.stream, response(200, BODY_UNKNOWN), false), 0);
    send_text("hello");
    send_text("0123456789abcdef");
    end_body();
    raw_expect_part("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
    assert_int_equal(w.told.sents, 1);
    release_stream();
    assert_int_equal(w.told.ends, 0);
}

static void trailers_go_out_behind_the_last_chunk(void **state)
{
    struct fields trailers = { 0 };

    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(fields_add(&trailers, w.stream->arena, SLICE("X-Sum"), SLICE("7")), 0);
    assert_int_equal(stream_send_head(w.stream, response(200, BODY_UNKNOWN), false), 0);
    pipe_finish(&w.body, &trailers);
    assert_int_equal(stream_send_body(w.stream, &w.body), SENT);
    raw_expect_part("chunked\r\n\r\n0\r\nX-Sum: 7\r\n\r\n");
}

static void an_old_client_gets_a_body_that_ends_with_the_connection(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_true(w.conn->stream->keep_alive);
    assert_int_equal(stream_send_head(w.stream, response(200, BODY_UNKNOWN), false), 0);
    send_text("hello");
    end_body();
    raw_expect_part("Connection: close\r\n\r\nhello");
    release_stream();
    raw_expect_end();
    assert_false(w.got_reset);
}

static void an_old_client_may_keep_the_connection(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    reply(200, "x");
    raw_expect_part("Connection: keep-alive\r\n\r\nx");
    release_stream();
    assert_int_equal(w.told.ends, 0);
    raw_forget();
    raw_send("GET / HTTP/1.0\r\n\r\n");
    reply(200, "y");
    raw_expect_part("Connection: close\r\n\r\ny");
    release_stream();
    raw_expect_end();
    assert_int_equal(w.told.ends, 1);
}

static void head_and_bodiless_statuses_send_no_body(void **state)
{
    struct message *head;

    world_serve();
    raw_send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    reply(200, "hello");
    raw_expect_part("Content-Length: 5\r\n\r\n");
    assert_null(memmem(w.got, w.got_len, "hello", 5));
    release_stream();
    raw_forget();

    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    head = response(204, 5);
    assert_int_equal(fields_add_id(&head->fields, w.stream->arena, FIELD_CONTENT_LENGTH, SLICE("5")), 0);
    assert_int_equal(stream_send_head(w.stream, head, true), 0);
    settle();
    raw_expect_part("HTTP/1.1 204 No Content\r\n");
    assert_null(memmem(w.got, w.got_len, "Content-Length", 14));
    release_stream();
    raw_forget();

    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    head = response(304, BODY_NONE);
    assert_int_equal(fields_add_id(&head->fields, w.stream->arena, FIELD_CONTENT_LENGTH, SLICE("77")), 0);
    assert_int_equal(stream_send_head(w.stream, head, true), 0);
    settle();
    raw_expect_part("Content-Length: 77\r\n");
    release_stream();
    assert_int_equal(w.told.ends, 0);
}

static void interim_responses_go_before_the_final_one(void **state)
{
    struct message *hints;

    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    hints = response(103, BODY_NONE);
    assert_int_equal(fields_add(&hints->fields, w.stream->arena, SLICE("Link"), SLICE("</a>")), 0);
    assert_int_equal(w.stream->ops->send_interim(w.stream, hints), 0);
    reply(200, "x");
    raw_expect_part("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n");
}

static void interim_responses_are_kept_from_old_clients(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.0\r\n\r\n");
    assert_int_equal(w.stream->ops->send_interim(w.stream, response(103, BODY_NONE)), 0);
    reply(200, "x");
    expect_reply("HTTP/1.1 200 OK\r\n", "\r\n\r\nx");
}

static void a_slow_reader_blocks_the_sender_until_there_is_room(void **state)
{
    enum { TOTAL = 8 << 20 };
    static char block[65536];
    size_t sent = 0, blocked = 0, read = 0;

    world_serve();
    memset(block, 'x', sizeof(block));
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(stream_send_head(w.stream, response(200, TOTAL), false), 0);
    while (sent < TOTAL) {
        assert_int_equal(pipe_append(&w.body, block, sizeof(block)), 0);
        sent += sizeof(block);
        if (sent == TOTAL)
            pipe_finish(&w.body, NULL);
        while (stream_send_body(w.stream, &w.body) == BLOCKED) {
            unsigned rooms = w.told.rooms;
            blocked++;
            while (w.told.rooms == rooms) {
                loop_turn(&w.loop, 0);
                w.got_len = 0;
                raw_read(0);
                read += w.got_len;
            }
        }
    }
    while (w.told.sents == 0 || read < TOTAL) {
        loop_turn(&w.loop, 1);
        w.got_len = 0;
        raw_read(0);
        read += w.got_len;
    }
    assert_true(blocked > 0);
}

static void a_body_waits_in_the_kernel_while_no_one_takes_it(void **state)
{
    enum { TOTAL = 4 << 20 };
    static char block[TOTAL];
    size_t taken = 0, sent = 0;

    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n");
    for (int idle = 0; idle < 20;) {
        ssize_t n = send(w.raw, block + sent, TOTAL - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            sent += (size_t)n;
        idle = n > 0 ? 0 : idle + 1;
        loop_turn(&w.loop, 1);
        assert_true(w.stream->in.bytes <= w.limits.body_room_bytes);
    }
    assert_int_equal(w.stream->in.bytes, w.limits.body_room_bytes);
    while (taken < TOTAL) {
        size_t now = w.stream->in.bytes;
        assert_true(now <= w.limits.body_room_bytes);
        pipe_consume(&w.stream->in, now);
        taken += now;
        stream_read_more(w.stream);
        ssize_t n = sent < TOTAL ? send(w.raw, block + sent, TOTAL - sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        if (n > 0)
            sent += (size_t)n;
        loop_turn(&w.loop, 1);
    }
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
}

static void a_chunked_body_never_exceeds_the_room(void **state)
{
    static char chunk[40000];
    size_t taken = 0;

    w.limits.body_room_bytes = 10000;
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9c40\r\n");
    raw_send_bytes(chunk, sizeof(chunk));
    raw_send("\r\n0\r\n\r\n");
    while (w.stream->in.end == PIPE_OPEN || w.stream->in.bytes > 0) {
        assert_true(w.stream->in.bytes <= 10000);
        taken += w.stream->in.bytes;
        pipe_consume(&w.stream->in, w.stream->in.bytes);
        stream_read_more(w.stream);
        loop_turn(&w.loop, 1);
    }
    assert_int_equal(taken, sizeof(chunk));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_and_the_connection_serves_on),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(many_pipelined_requests_are_all_served),
        TEST(a_head_in_pieces_is_put_together),
        TEST(a_chunked_body_and_its_trailers_are_read),
        TEST(a_request_right_behind_a_long_body_is_served),
        TEST(a_response_of_unknown_length_is_chunked),
        TEST(trailers_go_out_behind_the_last_chunk),
        TEST(an_old_client_gets_a_body_that_ends_with_the_connection),
        TEST(an_old_client_may_keep_the_connection),
        TEST(head_and_bodiless_statuses_send_no_body),
        TEST(interim_responses_go_before_the_final_one),
        TEST(interim_responses_are_kept_from_old_clients),
        TEST(a_slow_reader_blocks_the_sender_until_there_is_room),
        TEST(a_body_waits_in_the_kernel_while_no_one_takes_it),
        TEST(a_chunked_body_never_exceeds_the_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
