/* The server role where things end early or badly: timeouts, resets, cuts, refused heads, unread bodies, tunnels. */
#include "world.h"

#include "base/assert.h"

/* ---- bad heads ---- */

static void a_bad_head_is_answered_and_the_connection_closed(void **state)
{
    world_serve();
    raw_send("GET /x y HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(w.told.requests, 1);
    assert_int_equal(w.told.request_err, ERR_BAD_VERSION);
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    reply(400, "no");
    raw_expect_part("Connection: close\r\n\r\nno");
    release_stream();
    raw_expect_end();
    assert_false(w.got_reset);
    raw_close();
    settle();
    assert_int_equal(w.told.ends, 1);
    assert_int_equal(w.told.requests, 1);
}

static void an_oversized_head_is_refused_whether_or_not_it_ends(void **state)
{
    static char head[20000];

    memset(head, 'a', sizeof(head));
    memcpy(head, "GET / HTTP/1.1\r\nX: ", 19);
    world_serve();
    raw_send_bytes(head, 9000);
    assert_int_equal(w.told.request_err, ERR_HEAD_TOO_LARGE);
    release_stream();
    raw_close();
    settle();
    memcpy(head + sizeof(head) - 4, "\r\n\r\n", 4);
    world_serve();
    raw_send_bytes(head, sizeof(head));
    assert_int_equal(w.told.request_err, ERR_HEAD_TOO_LARGE);
}

static void an_endless_request_line_is_refused(void **state)
{
    static char line[9000];

    memset(line, 'a', sizeof(line));
    memcpy(line, "GET /", 5);
    world_serve();
    raw_send_bytes(line, sizeof(line));
    assert_int_equal(w.told.request_err, ERR_TARGET_TOO_LONG);
}

static void a_head_that_comes_too_slowly_is_answered(void **state)
{
    world_serve();
    raw_send("GET / HTT");
    world_skip_ms(59000);
    assert_int_equal(w.told.requests, 0);
    world_skip_ms(2000);
    assert_int_equal(w.told.request_err, ERR_HEAD_TIMEOUT);
    reply(408, "");
    raw_expect_part("HTTP/1.1 408 ");
}

static void a_silent_connection_is_closed_silently(void **state)
{
    world_serve();
    world_skip_ms(61000);
    assert_int_equal(w.told.requests, 0);
    assert_int_equal(w.told.ends, 1);
    raw_expect("");
    raw_expect_end();
}

static void an_idle_connection_is_closed_after_its_time(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    reply(204, "");
    release_stream();
    world_skip_ms(59000);
    assert_int_equal(w.told.ends, 0);
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    reply(204, "");
    release_stream();
    world_skip_ms(59000);
    assert_int_equal(w.told.ends, 0);
    world_skip_ms(2000);
    assert_int_equal(w.told.ends, 1);
}

/* ---- bodies ---- */

static void a_bad_chunk_cuts_the_body_and_can_be_answered(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n");
    assert_int_equal(w.stream->in.end, PIPE_CUT);
    assert_int_equal(w.stream->in.err, ERR_BAD_CHUNK);
    assert_true(w.told.bodies > 0);
    assert_in("abc");
    reply(400, "no");
    raw_expect_part("Connection: close\r\n\r\nno");
    release_stream();
    raw_expect_end();
    assert_false(w.got_reset);
}

static void a_body_that_ends_short_is_cut(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    raw_shutdown();
    assert_int_equal(w.stream->in.end, PIPE_CUT);
    assert_int_equal(w.stream->in.err, ERR_CLIENT_CLOSED);
    assert_int_equal(w.told.resets, 0);
    reply(400, "short");
    raw_expect_part("short");
}

static void a_body_that_stalls_is_cut(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    world_skip_ms(59000);
    raw_send("d");
    world_skip_ms(59000);
    assert_int_equal(w.stream->in.end, PIPE_OPEN);
    world_skip_ms(2000);
    assert_int_equal(w.stream->in.err, ERR_BODY_TIMEOUT);
}

static void a_body_without_room_is_not_waited_for(void **state)
{
    w.limits.body_room_bytes = 3;
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    world_skip_ms(200000);
    assert_int_equal(w.stream->in.end, PIPE_OPEN);
    assert_in("abc");
    world_skip_ms(61000);
    assert_int_equal(w.stream->in.err, ERR_BODY_TIMEOUT);
}

static void a_client_that_waits_for_100_is_not_hurried(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_true(w.stream->head->expect_continue);
    world_skip_ms(200000);
    assert_int_equal(w.stream->in.end, PIPE_OPEN);
    assert_int_equal(w.stream->ops->send_interim(w.stream, response(100, BODY_NONE)), 0);
    settle();
    raw_expect("HTTP/1.1 100 Continue\r\n\r\n");
    raw_send("abc");
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    reply(200, "x");
    raw_expect_part("200 OK");
    assert_null(memmem(w.got, w.got_len, "close", 5));
}

static void a_final_answer_to_a_waiting_client_ends_the_connection(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    w.stream->ops->stop_reading(w.stream);
    reply(403, "x");
    raw_expect_part("Connection: close\r\n\r\nx");
}

/* ---- answers before the request's end ---- */

static void a_little_unread_body_is_dropped_and_the_connection_serves_on(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    w.stream->ops->stop_reading(w.stream);
    reply(413, "big");
    raw_expect_part("big");
    release_stream();
    raw_forget();
    raw_send("defg");
    raw_send("hijGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    turn_until(w.stream != NULL);
    assert_true(slice_eq(w.stream->head->path, SLICE("/next")));
    assert_int_equal(w.told.ends, 0);
}

static void an_unread_chunked_body_is_dropped_up_to_its_end(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    reply(413, "big");
    release_stream();
    raw_send("3\r\nabc\r\n0\r\nX: y\r\n");
    raw_send("\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    turn_until(w.stream != NULL);
    assert_true(slice_eq(w.stream->head->path, SLICE("/next")));
}

static void a_large_unread_body_ends_in_a_lingering_close(void **state)
{
    static char block[1 << 18];

    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
    raw_send_bytes(block, sizeof(block));
    w.stream->ops->stop_reading(w.stream);
    reply(413, "big");
    raw_expect_part("Connection: close\r\n\r\nbig");
    release_stream();
    raw_expect_end(); /* our half is closed; theirs is still read */
    assert_false(w.got_reset);
    raw_send_bytes(block, sizeof(block));
    assert_int_equal(w.told.ends, 0);
    raw_shutdown();
    assert_int_equal(w.told.ends, 1);
}

static void lingering_ends_after_its_time(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\nabc");
    w.stream->ops->stop_reading(w.stream);
    reply(413, "big");
    release_stream();
    world_skip_ms(59000);
    assert_int_equal(w.told.ends, 0);
    world_skip_ms(2000);
    assert_int_equal(w.told.ends, 1);
}

static void a_drain_ends_after_its_time(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    reply(413, "big");
    release_stream();
    world_skip_ms(61000);
    assert_int_equal(w.told.ends, 1);
}

static void a_chunked_drain_beyond_its_limit_lingers(void **state)
{
    static char block[100000];

    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n");
    reply(413, "big");
    release_stream();
    raw_send_bytes(block, sizeof(block));
    raw_expect_end();
    assert_false(w.got_reset);
}

/* ---- the client leaves ---- */

static void a_client_that_ended_its_half_is_still_answered(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_shutdown();
    assert_int_equal(w.told.resets, 0);
    reply(200, "x");
    raw_expect_part("\r\n\r\nx");
    release_stream();
    raw_expect_end();
    assert_false(w.got_reset);
    assert_int_equal(w.told.ends, 1);
}

static void requests_in_front_of_the_clients_end_are_all_answered(void **state)
{
    world_serve();
    raw_send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_shutdown();
    reply(200, "1");
    release_stream();
    turn_until(w.stream != NULL);
    reply(200, "2");
    raw_expect_part("\r\n\r\n2");
    release_stream();
    raw_expect_end();
}

static void a_reset_is_told_while_the_answer_is_awaited(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    raw_close_hard();
    assert_int_equal(w.told.resets, 1);
    assert_int_equal(w.stream->err, ERR_CLIENT_RESET);
    assert_int_equal(w.told.ends, 1);
    assert_int_equal(stream_send_head(w.stream, response(200, 1), false), -ERR_CLIENT_CLOSED);
}

static void a_reset_in_the_body_is_told(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    raw_close_hard();
    assert_int_equal(w.told.resets, 1);
    assert_int_equal(w.stream->in.end, PIPE_CUT);
    assert_int_equal(w.stream->in.err, ERR_CLIENT_RESET);
    assert_in("abc");
}

static void a_reader_that_stops_meets_a_timeout(void **state)
{
    static char block[1 << 16];

    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(stream_send_head(w.stream, response(200, 1 << 28), false), 0);
    do {
        assert_int_equal(pipe_append(&w.body, block, sizeof(block)), 0);
        while (stream_send_body(w.stream, &w.body) == BLOCKED && w.told.rooms > 0)
            w.told.rooms = 0;
        settle();
    } while (w.body.bytes == 0 || w.told.rooms > 0);
    world_skip_ms(59000);
    assert_int_equal(w.told.resets, 0);
    world_skip_ms(2000);
    assert_int_equal(w.told.resets, 1);
    assert_int_equal(w.stream->err, ERR_CLIENT_SEND_TIMEOUT);
}

/* ---- cuts ---- */

static void a_reset_by_the_user_after_the_head_is_seen_as_a_reset(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(stream_send_head(w.stream, response(200, BODY_UNKNOWN), false), 0);
    send_text("abc");
    raw_expect_part("abc");
    stream_reset(w.stream, ERR_UPSTREAM_CUT);
    settle();
    raw_expect_end();
    assert_true(w.got_reset);
    assert_int_equal(w.told.resets, 0);
}

static void a_reset_by_the_user_before_the_head_closes(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    stream_reset(w.stream, ERR_INTERNAL);
    settle();
    raw_expect_end();
    assert_int_equal(w.got_len, 0);
    assert_int_equal(w.told.ends, 1);
}

static void cut_body(enum err err)
{
    pipe_cut(&w.body, err);
    assert_int_equal(stream_send_body(w.stream, &w.body), SENT);
    settle();
    assert_true(w.stream->sent_cut);
    assert_false(w.stream->end_sent);
    assert_int_equal(w.told.sents, 1);
    assert_int_equal(w.told.ends, 1);
}

static void a_cut_body_never_gets_its_last_chunk(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(stream_send_head(w.stream, response(200, BODY_UNKNOWN), false), 0);
    assert_int_equal(pipe_append(&w.body, "abc", 3), 0);
    cut_body(ERR_UPSTREAM_CUT);
    raw_expect_part("3\r\nabc\r\n");
    raw_expect_end();
    assert_memory_equal(w.got + w.got_len - 8, "3\r\nabc\r\n", 8);
}

static void a_cut_body_to_an_old_client_ends_in_a_reset(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.0\r\n\r\n");
    assert_int_equal(stream_send_head(w.stream, response(200, BODY_UNKNOWN), false), 0);
    send_text("abc");
    raw_expect_part("abc");
    cut_body(ERR_UPSTREAM_CUT);
    raw_expect_end();
    assert_true(w.got_reset);
}

static void a_body_shorter_than_declared_is_cut(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(stream_send_head(w.stream, response(200, 10), false), 0);
    send_text("abc");
    end_body();
    assert_true(w.stream->sent_cut);
    assert_false(w.stream->end_sent);
    raw_expect_part("abc");
    raw_expect_end();
    assert_int_equal(w.told.ends, 1);
}

static void a_body_longer_than_declared_is_cut_at_its_length(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(stream_send_head(w.stream, response(200, 3), false), 0);
    assert_int_equal(pipe_append(&w.body, "abcd", 4), 0);
    pipe_finish(&w.body, NULL);
    assert_int_equal(stream_send_body(w.stream, &w.body), SENT);
    settle();
    assert_true(w.stream->sent_cut);
    raw_expect_end();
    assert_null(memmem(w.got, w.got_len, "abcd", 4));
}

/* ---- tunnels ---- */

static void an_accepted_upgrade_becomes_a_tunnel(void **state)
{
    struct message *accepted;

    world_serve();
    raw_send("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly");
    assert_true(slice_eq(w.stream->head->upgrade, SLICE("websocket")));
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    assert_int_equal(w.stream->in.bytes, 0); /* held back until it is decided */
    accepted = response(101, BODY_NONE);
    accepted->upgrade = SLICE("websocket");
    assert_int_equal(stream_send_head(w.stream, accepted, false), 0);
    assert_true(w.stream->tunnel);
    settle();
    raw_expect_part("HTTP/1.1 101 Switching Protocols\r\n");
    raw_expect_part("Upgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    assert_in("early");
    raw_forget();
    send_text("down");
    raw_expect("down");
    raw_send("up");
    assert_in("up");
    world_skip_ms(600000); /* no timeouts of ours in a tunnel */
    assert_int_equal(w.told.ends, 0);
    raw_shutdown();
    assert_int_equal(w.stream->in.end, PIPE_ENDED);
    send_text("still");
    raw_expect("still");
    assert_int_equal(w.told.sents, 0);
    end_body();
    raw_expect_end();
    assert_false(w.got_reset);
    assert_int_equal(w.told.sents, 1);
    release_stream();
    assert_int_equal(w.told.ends, 1);
}

static void a_refused_upgrade_goes_on_as_usual(void **state)
{
    world_serve();
    raw_send("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    reply(200, "no");
    raw_expect_part("no");
    release_stream();
    raw_send("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(w.told.requests, 2);
}

static void a_101_that_nobody_asked_for_is_our_fault(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(stream_send_head(w.stream, response(101, BODY_NONE), false), -ERR_INTERNAL);
    reply(502, "x");
    raw_expect_part("502 Bad Gateway");
}

static void a_connect_becomes_a_tunnel_or_the_end(void **state)
{
    world_serve();
    raw_send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_int_equal(stream_send_head(w.stream, response(200, BODY_NONE), false), 0);
    settle();
    raw_expect_part("HTTP/1.1 200 OK\r\n");
    assert_null(memmem(w.got, w.got_len, "Content-Length", 14));
    assert_null(memmem(w.got, w.got_len, "Transfer", 8));
    raw_send("bytes");
    assert_in("bytes");
    stream_reset(w.stream, ERR_CANCELLED);
    release_stream();
    raw_close();
    raw_forget();
    w.got_end = w.got_reset = false;

    world_serve();
    raw_send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
    reply(405, "x");
    raw_expect_part("Connection: close\r\n");
    release_stream();
    assert_int_equal(w.told.requests, 2);
    raw_expect_end();
}

/* ---- the gateway ends ---- */

static void draining_ends_idle_connections_or_answers_once_more(void **state)
{
    world_serve();
    http_drain(&w.conn->base, false);
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    reply(200, "x");
    raw_expect_part("Connection: close\r\n\r\nx");
    release_stream();
    raw_expect_end();
    raw_close();
    w.got_end = false;
    world_serve();
    http_drain(&w.conn->base, true);
    raw_expect_end();
    assert_int_equal(w.told.ends, 1);
    settle();
    assert_int_equal(w.told.ends, 2);
}

static void closing_resets_the_stream(void **state)
{
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    http_close(&w.conn->base);
    assert_int_equal(w.told.resets, 1);
    assert_int_equal(w.stream->err, ERR_DRAINING);
    raw_expect_end();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_bad_head_is_answered_and_the_connection_closed),
        TEST(an_oversized_head_is_refused_whether_or_not_it_ends),
        TEST(an_endless_request_line_is_refused),
        TEST(a_head_that_comes_too_slowly_is_answered),
        TEST(a_silent_connection_is_closed_silently),
        TEST(an_idle_connection_is_closed_after_its_time),
        TEST(a_bad_chunk_cuts_the_body_and_can_be_answered),
        TEST(a_body_that_ends_short_is_cut),
        TEST(a_body_that_stalls_is_cut),
        TEST(a_body_without_room_is_not_waited_for),
        TEST(a_client_that_waits_for_100_is_not_hurried),
        TEST(a_final_answer_to_a_waiting_client_ends_the_connection),
        TEST(a_little_unread_body_is_dropped_and_the_connection_serves_on),
        TEST(an_unread_chunked_body_is_dropped_up_to_its_end),
        TEST(a_large_unread_body_ends_in_a_lingering_close),
        TEST(lingering_ends_after_its_time),
        TEST(a_drain_ends_after_its_time),
        TEST(a_chunked_drain_beyond_its_limit_lingers),
        TEST(a_client_that_ended_its_half_is_still_answered),
        TEST(requests_in_front_of_the_clients_end_are_all_answered),
        TEST(a_reset_is_told_while_the_answer_is_awaited),
        TEST(a_reset_in_the_body_is_told),
        TEST(a_reader_that_stops_meets_a_timeout),
        TEST(a_reset_by_the_user_after_the_head_is_seen_as_a_reset),
        TEST(a_reset_by_the_user_before_the_head_closes),
        TEST(a_cut_body_never_gets_its_last_chunk),
        TEST(a_cut_body_to_an_old_client_ends_in_a_reset),
        TEST(a_body_shorter_than_declared_is_cut),
        TEST(a_body_longer_than_declared_is_cut_at_its_length),
        TEST(an_accepted_upgrade_becomes_a_tunnel),
        TEST(a_refused_upgrade_goes_on_as_usual),
        TEST(a_101_that_nobody_asked_for_is_our_fault),
        TEST(a_connect_becomes_a_tunnel_or_the_end),
        TEST(draining_ends_idle_connections_or_answers_once_more),
        TEST(closing_resets_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
