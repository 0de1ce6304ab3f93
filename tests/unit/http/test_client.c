/* The client role: requests out, responses in, and when a connection may serve again. */
#include "world.h"

#include <unistd.h>

#include "base/assert.h"

static void open_get(void)
{
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("GET", "/a", BODY_NONE), true), 0);
    settle();
}

static void expect_get(void)
{
    raw_expect("GET /a HTTP/1.1\r\nHost: svc\r\n\r\n");
}

static void assert_failed(enum err err)
{
    assert_int_equal(w.told.resets, 1);
    assert_int_equal(w.stream->err, err);
    assert_null(w.conn);
}

static void a_connection_serves_one_request_after_the_other(void **state)
{
    world_connect();
    for (unsigned i = 1; i <= 3; i++) {
        open_get();
        assert_int_equal(w.stream->reused, i > 1);
        assert_false(w.stream->unsent);
        assert_int_equal(w.told.writtens, i);
        expect_get();
        raw_send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: z\r\n\r\nhello");
        assert_int_equal(w.told.heads, i);
        assert_int_equal(w.stream->head->status, 200);
        assert_int_equal(w.stream->head->fields.count, 1);
        assert_int_equal(w.stream->in.end, PIPE_ENDED);
        assert_in("hello");
        release_stream();
        assert_int_equal(w.told.idles, i);
        assert_true(world_is_usable());
    }
}

static void a_stream_opened_while_connecting_is_sent_when_connected(void **state)
{
    world_connecting();
    assert_false(world_is_usable());
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("GET", "/a", BODY_NONE), true), 0);
    assert_true(w.stream->unsent);
    settle();
    expect_get();
    assert_false(w.stream->unsent);
    assert_int_equal(w.told.writtens, 1);
}

static void a_response_in_pieces_is_put_together(void **state)
{
    const char *text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n";

    world_connect();
    open_get();
    for (const char *at = text; *at; at++)
        raw_send_bytes(at, 1);
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    assert_int_equal(w.stream->in.trailers->count, 1);
    assert_in("hello");
    release_stream();
    assert_int_equal(w.told.idles, 1);
}

static void interim_responses_are_told_before_the_final_one(void **state)
{
    world_connect();
    open_get();
    raw_send(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(w.told.interims, 2);
    assert_int_equal(w.interim.status, 103);
    assert_int_equal(w.told.heads, 1);
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    release_stream();
    assert_int_equal(w.told.idles, 1);
}

static void endless_interim_responses_are_refused(void **state)
{
    world_connect();
    open_get();
    for (int i = 0; i < 33; i++)
        raw_send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_failed(ERR_UPSTREAM_BAD_HEAD);
    assert_int_equal(w.told.interims, 32);
}

static void a_body_to_the_connections_end_is_complete_with_it(void **state)
{
    world_connect();
    open_get();
    expect_get(); /* closing with bytes unread would reset */
    raw_send("HTTP/1.0 200 OK\r\n\r\nhello");
    assert_int_equal(w.stream->head->body_length, BODY_UNKNOWN);
    assert_int_equal(w.stream->in.end, PIPE_OPEN);
    raw_close();
    settle();
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    assert_in("hello");
    assert_int_equal(w.told.resets, 0);
    release_stream();
    assert_int_equal(w.told.closeds, 1);
}

static void a_body_to_the_connections_end_is_cut_by_a_reset(void **state)
{
    world_connect();
    open_get();
    raw_send("HTTP/1.0 200 OK\r\n\r\nhello");
    raw_close_hard();
    assert_failed(ERR_UPSTREAM_RESET);
    assert_int_equal(w.stream->in.end, PIPE_CUT);
}

static void a_short_answer_is_cut(void **state)
{
    world_connect();
    open_get();
    expect_get();
    raw_send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    raw_close();
    settle();
    assert_failed(ERR_UPSTREAM_CUT);
    assert_int_equal(w.stream->in.end, PIPE_CUT);
    assert_in("hello");
}

static void an_answer_without_its_last_chunk_is_cut(void **state)
{
    world_connect();
    open_get();
    expect_get();
    raw_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n");
    raw_close();
    settle();
    assert_failed(ERR_UPSTREAM_CUT);
}

static void bad_answers_are_told_apart(void **state)
{
    static const struct {
        const char *text;
        enum err err;
    } answers[] = {
        { "SSH-2.0-x\r\n\r\n", ERR_UPSTREAM_BAD_HEAD },
        { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_UPSTREAM_BAD_HEAD },
        { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", ERR_UPSTREAM_BAD_HEAD },
        { "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", ERR_UPSTREAM_BAD_HEAD },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ERR_UPSTREAM_BAD_BODY },
    };

    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        w.told = (struct told){ 0 };
        world_connect();
        open_get();
        raw_send(answers[i].text);
        assert_failed(answers[i].err);
        release_stream();
        raw_close();
    }
}

static void an_oversized_answer_head_is_refused(void **state)
{
    static char head[9000];

    memset(head, 'a', sizeof(head));
    memcpy(head, "HTTP/1.1 200 OK\r\nX: ", 20);
    world_connect();
    open_get();
    raw_send_bytes(head, sizeof(head));
    assert_failed(ERR_UPSTREAM_HEAD_TOO_LARGE);
}

static void a_service_that_closes_without_answering_is_told(void **state)
{
    world_connect();
    open_get();
    raw_read(1);
    raw_close();
    settle();
    assert_failed(ERR_UPSTREAM_CLOSED);
}

static void a_service_that_resets_is_told(void **state)
{
    world_connect();
    open_get();
    raw_read(1);
    raw_close_hard();
    assert_failed(ERR_UPSTREAM_RESET);
}

static void a_close_before_the_first_byte_says_unsent(void **state)
{
    world_connect();
    raw_close();
    turn_until(w.conn == NULL); /* an idle connection that ends is gone */
    assert_int_equal(w.told.closeds, 1);

    world_connect();
    world_open();
    raw_close();
    settle();
    assert_failed(ERR_UPSTREAM_UNSENT);
}

static void a_close_noticed_at_opening_says_unsent_at_once(void **state)
{
    struct stream *stream;

    world_connect();
    struct arena *arena = arena_new(&w.memory, ARENA_LIMIT_DEFAULT);
    raw_close();
    world_hold_ready(); /* the loop sees the end and has no time yet to act on it */
    assert_false(world_is_usable());
    assert_int_equal(http_open(&w.conn->base, arena, NULL, NULL, &stream), -ERR_UPSTREAM_UNSENT);
    assert_null(w.conn);
    arena_free(arena);
}

static void bytes_on_an_idle_connection_end_it(void **state)
{
    world_connect();
    raw_send("HTTP/1.1 408 Request Timeout\r\n\r\n");
    assert_null(w.conn);
    assert_int_equal(w.told.closeds, 1);
}

static void bytes_behind_a_response_end_the_connection(void **state)
{
    world_connect();
    open_get();
    raw_send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\n");
    assert_in("x");
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    release_stream();
    assert_int_equal(w.told.idles, 0);
    assert_int_equal(w.told.closeds, 1);
}

static void connection_close_is_honoured(void **state)
{
    world_connect();
    open_get();
    raw_send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
    release_stream();
    assert_int_equal(w.told.idles, 0);
    assert_int_equal(w.told.closeds, 1);
}

static void an_end_that_came_with_the_response_is_noticed(void **state)
{
    world_connect();
    open_get();
    raw_send_bytes("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 39);
    raw_close();
    settle();
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    release_stream();
    assert_int_equal(w.told.idles, 0);
    assert_int_equal(w.told.closeds, 1);
}

static void head_answers_have_no_body(void **state)
{
    world_connect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("HEAD", "/", BODY_NONE), true), 0);
    settle();
    raw_send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    assert_int_equal(w.stream->head->body_length, BODY_NONE);
    assert_non_null(fields_find(&w.stream->head->fields, FIELD_CONTENT_LENGTH));
    release_stream();
    assert_int_equal(w.told.idles, 1);
}

static void request_bodies_are_framed(void **state)
{
    world_connect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("POST", "/", 5), false), 0);
    send_text("hello");
    end_body();
    raw_expect("POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\nhello");
    raw_send("HTTP/1.1 204 No Content\r\n\r\n");
    release_stream();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("POST", "/", BODY_UNKNOWN), false), 0);
    send_text("hello");
    end_body();
    raw_expect("POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    raw_send("HTTP/1.1 204 No Content\r\n\r\n");
    release_stream();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("POST", "/", BODY_NONE), true), 0);
    settle();
    raw_expect("POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(w.told.idles, 2);
}

static void an_early_answer_is_delivered_and_ends_the_connection(void **state)
{
    world_connect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("POST", "/", 100), false), 0);
    send_text("hello");
    raw_send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 1\r\n\r\nx");
    assert_int_equal(w.stream->head->status, 413);
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    release_stream();
    assert_int_equal(w.told.idles, 0);
    assert_int_equal(w.told.closeds, 1);
}

static void an_answer_is_read_after_sending_broke(void **state)
{
    static char block[1 << 16];

    world_connect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("POST", "/", 1 << 28), false), 0);
    settle();
    raw_send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 1\r\n\r\nx");
    assert_int_equal(w.told.heads, 1);
    raw_close(); /* with bytes unread: a reset follows what we go on to send */
    for (int i = 0; i < 50 && !w.stream->sent_cut; i++) {
        if (w.body.bytes == 0)
            assert_int_equal(pipe_append(&w.body, block, sizeof(block)), 0);
        (void)stream_send_body(w.stream, &w.body);
        settle();
    }
    assert_true(w.stream->sent_cut);
    assert_int_equal(w.told.resets, 0);
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    assert_in("x");
}

static void a_cut_request_closes_the_connection(void **state)
{
    world_connect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("POST", "/", BODY_UNKNOWN), false), 0);
    send_text("hello");
    pipe_cut(&w.body, ERR_CLIENT_CLOSED);
    assert_int_equal(stream_send_body(w.stream, &w.body), SENT);
    settle();
    assert_failed(ERR_CLIENT_CLOSED);
    raw_expect_end();
    assert_memory_equal(w.got + w.got_len - 10, "5\r\nhello\r\n", 10);
}

static void a_stalled_answer_meets_a_timeout(void **state)
{
    world_connect();
    open_get();
    world_skip_ms(200000); /* the head's timeout is the exchange's */
    assert_int_equal(w.told.resets, 0);
    raw_send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    world_skip_ms(61000);
    assert_failed(ERR_RESPONSE_BODY_TIMEOUT);
    assert_int_equal(w.stream->in.err, ERR_RESPONSE_BODY_TIMEOUT);
}

static void a_service_that_takes_nothing_meets_a_timeout(void **state)
{
    static char block[1 << 16];

    world_connect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("POST", "/", 1 << 28), false), 0);
    do {
        w.told.rooms = 0;
        assert_int_equal(pipe_append(&w.body, block, sizeof(block)), 0);
        (void)stream_send_body(w.stream, &w.body);
        settle();
    } while (w.body.bytes == 0 || w.told.rooms > 0);
    world_skip_ms(61000);
    assert_failed(ERR_UPSTREAM_SEND_TIMEOUT);
}

static void a_refused_connection_is_told(void **state)
{
    world_connecting();
    http_close(&w.conn->base);
    raw_close();
    close(w.listener); /* nobody listens at the port any more */
    world_reconnect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("GET", "/a", BODY_NONE), true), 0);
    settle();
    w.listener = -1;
    assert_failed(ERR_CONNECT_REFUSED);
    assert_true(w.stream->unsent);
}

static void an_accepted_upgrade_is_a_tunnel(void **state)
{
    struct message *head;

    world_connect();
    world_open();
    head = request("GET", "/ws", BODY_NONE);
    head->upgrade = SLICE("websocket");
    assert_int_equal(stream_send_head(w.stream, head, true), 0);
    settle();
    raw_expect("GET /ws HTTP/1.1\r\nHost: svc\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    raw_send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
    assert_true(w.stream->tunnel);
    assert_int_equal(w.told.heads, 1);
    assert_in("hello");
    send_text("up");
    raw_expect("up");
    end_body();
    raw_expect_end();
    raw_send("still");
    assert_in("still");
    raw_close();
    settle();
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    release_stream();
    assert_int_equal(w.told.idles, 0);
    assert_int_equal(w.told.closeds, 1);
}

static void a_user_that_leaves_early_closes_the_connection(void **state)
{
    world_connect();
    open_get();
    raw_send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    stream_reset(w.stream, ERR_CANCELLED);
    assert_null(w.conn);
    assert_int_equal(w.told.resets, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_connection_serves_one_request_after_the_other),
        TEST(a_stream_opened_while_connecting_is_sent_when_connected),
        TEST(a_response_in_pieces_is_put_together),
        TEST(interim_responses_are_told_before_the_final_one),
        TEST(endless_interim_responses_are_refused),
        TEST(a_body_to_the_connections_end_is_complete_with_it),
        TEST(a_body_to_the_connections_end_is_cut_by_a_reset),
        TEST(a_short_answer_is_cut),
        TEST(an_answer_without_its_last_chunk_is_cut),
        TEST(bad_answers_are_told_apart),
        TEST(an_oversized_answer_head_is_refused),
        TEST(a_service_that_closes_without_answering_is_told),
        TEST(a_service_that_resets_is_told),
        TEST(a_close_before_the_first_byte_says_unsent),
        TEST(a_close_noticed_at_opening_says_unsent_at_once),
        TEST(bytes_on_an_idle_connection_end_it),
        TEST(bytes_behind_a_response_end_the_connection),
        TEST(connection_close_is_honoured),
        TEST(an_end_that_came_with_the_response_is_noticed),
        TEST(head_answers_have_no_body),
        TEST(request_bodies_are_framed),
        TEST(an_early_answer_is_delivered_and_ends_the_connection),
        TEST(an_answer_is_read_after_sending_broke),
        TEST(a_cut_request_closes_the_connection),
        TEST(a_stalled_answer_meets_a_timeout),
        TEST(a_service_that_takes_nothing_meets_a_timeout),
        TEST(a_refused_connection_is_told),
        TEST(an_accepted_upgrade_is_a_tunnel),
        TEST(a_user_that_leaves_early_closes_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
