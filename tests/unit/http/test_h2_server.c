/* HTTP/2, server role: requests in, responses out, faults of the peer, windows, drains, timeouts. */
#include "h2_world.h"

#define END_HEAD   NGHTTP2_FLAG_END_HEADERS
#define WHOLE_HEAD (NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM)
#define GET        ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "x"
#define POST       ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "x"

static char block[1 << 18];

static void a_request_is_told_and_answered(void **state)
{
    h2_serve();
    peer_get(1, "/a?b=c");
    struct user *u = user_of(0);
    struct message *head = u->stream->head;
    assert_int_equal(head->method, METHOD_GET);
    assert_true(slice_eq(head->path, SLICE("/a")) && slice_eq(head->query, SLICE("b=c")));
    assert_true(slice_eq(head->authority, SLICE("x")) && slice_eq(head->scheme, SLICE("http")));
    assert_int_equal(head->body_length, BODY_NONE);
    assert_int_equal(u->stream->in.end, PIPE_ENDED);
    user_reply(u, 200, "hello");
    assert_int_equal(u->sents, 1);
    assert_true(frame_has(peer_want(NGHTTP2_HEADERS, 1), ":status: 200\n"));
    assert_true(frame_has(peer_want(NGHTTP2_HEADERS, 1), "content-length: 5\n"));
    struct got_frame *data = peer_want(NGHTTP2_DATA, 1);
    assert_memory_equal(data->payload, "hello", 5);
    assert_int_equal(data->flags, NGHTTP2_FLAG_END_STREAM);
    user_release(u);
    assert_null(peer_got(NGHTTP2_RST_STREAM, 1, 0));
}

static void our_settings_say_what_we_bear(void **state)
{
    h2_serve_bare();
    struct got_frame *settings = peer_want(NGHTTP2_SETTINGS, 0);
    assert_int_equal(settings->len, 24);
    assert_int_equal(frame_u32(settings, 2), w2.limits.body_room_bytes);
    assert_int_equal(frame_u32(settings, 8), w2.limits.head_bytes_max);
    assert_int_equal(frame_u32(settings, 14), 10); /* streams */
    assert_int_equal(frame_u32(settings, 20), 1);  /* extended CONNECT */
}

static void a_body_comes_within_its_window_and_reading_gives_it_back(void **state)
{
    h2_serve();
    peer_head(1, END_HEAD, POST, NULL);
    for (unsigned i = 0; i < 4; i++)
        peer_frame(NGHTTP2_DATA, 0, 1, block, 16000);
    struct user *u = user_of(0);
    assert_int_equal(u->stream->in.bytes, 64000);
    assert_null(peer_got(NGHTTP2_WINDOW_UPDATE, 1, 0));
    user_take(u);
    assert_int_equal(frame_u32(peer_want(NGHTTP2_WINDOW_UPDATE, 1), 0), 64000);
    peer_data(1, NGHTTP2_FLAG_END_STREAM, "end");
    assert_int_equal(u->stream->in.end, PIPE_ENDED);
    user_reply(u, 204, "");
    user_release(u);
}

static void more_than_the_window_is_the_peers_fault(void **state)
{
    h2_serve();
    peer_head(1, END_HEAD, POST, NULL);
    for (unsigned i = 0; i < 5; i++)
        peer_frame(NGHTTP2_DATA, 0, 1, block, 16000);
    assert_int_equal(frame_u32(peer_want(NGHTTP2_RST_STREAM, 1), 0), NGHTTP2_FLOW_CONTROL_ERROR);
    assert_int_equal(user_of(0)->reset_err, ERR_PROTOCOL);
}

static void a_body_that_is_not_what_was_announced_resets_its_stream(void **state)
{
    h2_serve();
    peer_head(1, END_HEAD, POST, "content-length", "3", NULL);
    peer_data(1, NGHTTP2_FLAG_END_STREAM, "1234");
    peer_head(3, END_HEAD, POST, "content-length", "3", NULL);
    peer_data(3, NGHTTP2_FLAG_END_STREAM, "12");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(frame_u32(peer_want(NGHTTP2_RST_STREAM, 2 * i + 1), 0), NGHTTP2_PROTOCOL_ERROR);
        assert_int_equal(user_of(i)->resets, 1);
        assert_int_equal(user_of(i)->reset_err, ERR_PROTOCOL);
        assert_int_equal(user_of(i)->stream->in.end, PIPE_CUT);
    }
}

static void a_body_that_should_be_empty_is_seen_to_be(void **state)
{
    h2_serve();
    peer_head(1, END_HEAD, POST, "content-length", "0", NULL);
    peer_head(3, END_HEAD, POST, "content-length", "0", NULL);
    assert_int_equal(w2.user_count, 0);
    peer_data(1, NGHTTP2_FLAG_END_STREAM, "");
    peer_data(3, NGHTTP2_FLAG_END_STREAM, "x");
    assert_int_equal(user_of(0)->request_err, ERR_NONE);
    assert_int_equal(user_of(0)->stream->head->body_length, 0);
    assert_int_equal(user_of(0)->stream->in.end, PIPE_ENDED);
    assert_int_equal(user_of(1)->request_err, ERR_BAD_CONTENT_LENGTH);
    user_reply(user_of(1), 400, "");
    assert_int_equal(frame_u32(peer_want(NGHTTP2_RST_STREAM, 3), 0), NGHTTP2_PROTOCOL_ERROR);
}

static void malformed_heads_are_told_and_reset(void **state)
{
    static const char *const heads[][9] = {
        { ":method", "GET", ":scheme", "http", ":path", "/", ":authority", "x" }, /* well-formed, to begin with */
        { ":method", "GET", ":path", "/", ":authority", "x" },
        { ":method", "GET", ":scheme", "http", ":path", "/", "X", "y" },
        { ":method", "GET", ":scheme", "http", ":path", "", ":authority", "x" },
        { ":method", "GET", ":scheme", "http", ":path", "a", ":authority", "x" },
        { ":method", "GET", ":scheme", "http", ":path", "*", ":authority", "x" },
        { ":method", "GET", ":scheme", "http", ":path", "/ x", ":authority", "x" },
        { ":method", "GET", ":scheme", "http", ":path", "/" },
        { ":method", "GET", ":scheme", "http", ":path", "/", "connection", "close" },
        { ":method", "GET", ":scheme", "http", ":path", "/", "te", "gzip" },
        { ":method", "GET", ":scheme", "http", ":path", "/", ":status", "200" },
        { ":method", "CONNECT", ":scheme", "http", ":path", "/", ":authority", "x:1" },
    };

    h2_serve();
    for (unsigned i = 1; i < ARRAY_LEN(heads); i++) {
        size_t len = peer_block(block, heads[i]);
        peer_frame(NGHTTP2_HEADERS, WHOLE_HEAD, 2 * i - 1, block, len);
        struct user *u = user_of(i - 1);
        assert_int_not_equal(u->request_err, ERR_NONE);
        user_reply(u, 400, "no"); /* which does not get through */
        assert_int_equal(u->sents, 1);
        user_release(u);
        assert_int_equal(frame_u32(peer_want(NGHTTP2_RST_STREAM, 2 * i - 1), 0), NGHTTP2_PROTOCOL_ERROR);
        assert_null(peer_got(NGHTTP2_HEADERS, 2 * i - 1, 0));
    }
    peer_frame(NGHTTP2_HEADERS, WHOLE_HEAD, 101, block, peer_block(block, heads[0]));
    assert_int_equal(user_of(ARRAY_LEN(heads) - 1)->request_err, ERR_NONE);
}

static void host_and_authority_have_to_agree(void **state)
{
    h2_serve();
    peer_head(1, WHOLE_HEAD, GET, "host", "X", NULL);
    peer_head(3, WHOLE_HEAD, GET, "host", "y", NULL);
    peer_head(5, WHOLE_HEAD, ":method", "GET", ":scheme", "http", ":path", "/", "host", "h", NULL);
    assert_int_equal(user_of(0)->request_err, ERR_NONE);
    assert_int_equal(user_of(1)->request_err, ERR_BAD_HOST);
    assert_true(slice_eq(user_of(2)->stream->head->authority, SLICE("h")));
}

static void cookie_crumbs_become_one(void **state)
{
    h2_serve();
    peer_head(1, WHOLE_HEAD, GET, "cookie", "a=1", "accept", "*/*", "cookie", "b=2", "cookie", "c=3", NULL);
    struct fields *fields = &user_of(0)->stream->head->fields;
    assert_true(slice_eq(fields_find(fields, FIELD_COOKIE)->value, SLICE("a=1; b=2; c=3")));
    unsigned lines = 0;
    FIELDS_FOR_EACH (field, fields)
        lines += field->id == FIELD_COOKIE;
    assert_int_equal(lines, 1);
}

static void a_head_that_is_too_large_is_answered(void **state)
{
    static char value[6001];

    h2_serve();
    memset(value, 'v', 6000);
    peer_head(1, WHOLE_HEAD, GET, "a", value, "b", value, NULL);
    struct user *u = user_of(0);
    assert_int_equal(u->request_err, ERR_HEAD_TOO_LARGE);
    user_reply(u, 431, "large");
    assert_true(frame_has(peer_want(NGHTTP2_HEADERS, 1), ":status: 431\n"));
    user_release(u);
    peer_get(3, "/"); /* the connection lives */
    assert_int_equal(user_of(1)->request_err, ERR_NONE);
}

static void few_bytes_that_decompress_to_many_end_the_connection(void **state)
{
    char bomb[15000];
    size_t len = 0;

    h2_serve();
    bomb[len++] = 0x40; /* into the table: a name of one byte and a value of 4,000 */
    bomb[len++] = 1;
    bomb[len++] = 'a';
    bomb[len++] = 127;
    bomb[len++] = (char)(((4000 - 127) & 127) | 128);
    bomb[len++] = (char)((4000 - 127) >> 7);
    memset(bomb + len, 'v', 4000);
    len += 4000;
    memset(bomb + len, 0xbe, sizeof(bomb) - len); /* and again and again */
    peer_frame(NGHTTP2_HEADERS, WHOLE_HEAD, 1, bomb, sizeof(bomb));
    assert_int_equal(frame_u32(peer_want(NGHTTP2_GOAWAY, 0), 4), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_true(w2.memory.held_bytes < 100000);
    assert_int_equal(w2.user_count, 0);
}

static void streams_reset_before_they_ran_are_dropped_and_too_many_end_it(void **state)
{
    static char bytes[1 << 16];
    const char *head[] = { GET, NULL };
    size_t block_len = peer_block(block, head), len = 0;

    h2_serve();
    for (uint32_t id = 1; id < 600 && len + 200 < sizeof(bytes); id += 2) {
        const char header[] = { 0, 0, (char)block_len, 1, 5, 0, 0, (char)(id >> 8), (char)id };
        const char rst[] = { 0, 0, 4, 3, 0, 0, 0, (char)(id >> 8), (char)id, 0, 0, 0, 8 };
        memcpy(bytes + len, header, 9);
        memcpy(bytes + len + 9, block, block_len);
        memcpy(bytes + len + 9 + block_len, rst, 13);
        len += 22 + block_len;
    }
    peer_bytes(bytes, len);
    assert_int_equal(w2.user_count, 0);
    assert_true(w2.drops > 100);
    assert_int_equal(frame_u32(peer_want(NGHTTP2_GOAWAY, 0), 4), NGHTTP2_ENHANCE_YOUR_CALM);
}

static void a_flood_of_pings_ends_the_connection(void **state)
{
    static char pings[17 * 700];
    static const char ping[17] = { 0, 0, 8, 6 };

    h2_serve();
    for (size_t i = 0; i < sizeof(pings); i += 17)
        memcpy(pings + i, ping, 17);
    peer_bytes(pings, sizeof(pings));
    assert_int_equal(frame_u32(peer_want(NGHTTP2_GOAWAY, 0), 4), NGHTTP2_ENHANCE_YOUR_CALM);
}

static void an_answer_waits_for_the_window_and_a_neighbour_does_not(void **state)
{
    h2_serve();
    peer_settings(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 100);
    peer_get(1, "/");
    struct user *u = user_of(0);
    assert_int_equal(stream_send_head(u->stream, h2_response(200, BODY_UNKNOWN), false), 0);
    assert_int_equal(user_send(u, block, 200000), BLOCKED);
    assert_int_equal(peer_body_len(1), 100);
    assert_true(u->stream->bytes_out < 300 && u->out.bytes > 100000);
    peer_get(3, "/");
    user_reply(user_of(1), 200, "beside it");
    assert_int_equal(peer_body_len(3), 9);
    peer_window(1, 300000);
    while (u->rooms > 0 && u->out.bytes > 0) {
        u->rooms = 0;
        peer_window(0, 65536);
        (void)stream_send_body(u->stream, &u->out);
        h2_settle();
    }
    assert_int_equal(user_end(u, NULL), SENT);
    peer_window(0, 300000);
    assert_int_equal(peer_body_len(1), 200000);
    assert_int_equal(u->sents, 1);
}

static void trailers_pass_both_ways(void **state)
{
    struct fields trailers = { 0 };

    h2_serve();
    peer_head(1, END_HEAD, POST, NULL);
    peer_data(1, 0, "body");
    peer_head(1, WHOLE_HEAD, "x-sum", "1", "content-length", "9", NULL);
    struct user *u = user_of(0);
    assert_int_equal(u->stream->in.end, PIPE_ENDED);
    assert_int_equal(u->stream->in.trailers->count, 1); /* the other may be none */
    assert_int_equal(stream_send_head(u->stream, h2_response(200, BODY_UNKNOWN), false), 0);
    assert_int_equal(fields_add(&trailers, u->stream->arena, SLICE("X-End"), SLICE("yes")), 0);
    assert_int_equal(user_send(u, "abc", 3), EMPTY);
    assert_int_equal(user_end(u, &trailers), SENT);
    struct got_frame *last = peer_got(NGHTTP2_HEADERS, 1, 1);
    assert_true(last && frame_has(last, "x-end: yes\n") && (last->flags & NGHTTP2_FLAG_END_STREAM));
    assert_int_equal(u->sents, 1);
}

static void a_cut_body_resets_the_stream_behind_what_had_come(void **state)
{
    h2_serve();
    peer_get(1, "/");
    struct user *u = user_of(0);
    assert_int_equal(stream_send_head(u->stream, h2_response(200, BODY_UNKNOWN), false), 0);
    assert_int_equal(pipe_append(&u->out, "part", 4), 0);
    pipe_cut(&u->out, ERR_UPSTREAM_CUT);
    assert_int_equal(stream_send_body(u->stream, &u->out), SENT);
    assert_true(u->stream->sent_cut && !u->stream->end_sent);
    assert_int_equal(peer_body_len(1), 4);
    assert_int_equal(frame_u32(peer_want(NGHTTP2_RST_STREAM, 1), 0), NGHTTP2_INTERNAL_ERROR);
    assert_int_equal(u->sents, 1);
    assert_int_equal(u->resets, 0);
}

static void an_answer_before_the_requests_end_is_followed_by_a_reset_without_error(void **state)
{
    h2_serve();
    peer_head(1, END_HEAD, POST, NULL);
    struct user *u = user_of(0);
    u->stream->ops->stop_reading(u->stream);
    user_reply(u, 403, "no");
    user_release(u);
    assert_int_equal(peer_body_len(1), 2);
    struct got_frame *ping = peer_want(NGHTTP2_PING, 0);
    assert_null(peer_got(NGHTTP2_RST_STREAM, 1, 0)); /* not before the answer has been read */
    peer_frame(NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, ping->payload, 8);
    assert_int_equal(frame_u32(peer_want(NGHTTP2_RST_STREAM, 1), 0), NGHTTP2_NO_ERROR);
    peer_data(1, 0, "still coming");
    peer_get(3, "/");
    assert_int_equal(w2.user_count, 2);
}

static void a_client_that_leaves_is_told_once(void **state)
{
    h2_serve();
    peer_get(1, "/");
    struct user *u = user_of(0);
    peer_rst(1, NGHTTP2_CANCEL);
    assert_int_equal(u->resets, 1);
    assert_int_equal(u->reset_err, ERR_CLIENT_CLOSED);
    assert_true(stream_send_head(u->stream, h2_response(200, 0), true) < 0);
    peer_get(3, "/");
    peer_close();
    assert_int_equal(w2.users[1].resets, 1);
    assert_int_equal(w2.ends, 1);
}

static void an_extended_connect_is_shown_as_an_upgrade(void **state)
{
    h2_serve();
    peer_head(1, END_HEAD, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":path", "/chat",
              ":authority", "x", NULL);
    peer_data(1, 0, "early");
    struct user *u = user_of(0);
    assert_int_equal(u->stream->head->method, METHOD_GET);
    assert_true(slice_eq(u->stream->head->upgrade, SLICE("websocket")));
    assert_int_equal(u->stream->in.end, PIPE_ENDED);
    assert_int_equal(u->stream->in.bytes, 0);
    assert_int_equal(stream_send_head(u->stream, h2_response(101, BODY_NONE), true), 0);
    h2_settle();
    assert_true(u->stream->tunnel && !u->stream->end_sent);
    assert_int_equal(u->stream->in.end, PIPE_OPEN);
    struct got_frame *head = peer_want(NGHTTP2_HEADERS, 1);
    assert_true(frame_has(head, ":status: 200\n") && !(head->flags & NGHTTP2_FLAG_END_STREAM));
    user_take(u);
    assert_string_equal(u->body, "early");
    assert_int_equal(user_send(u, "down", 4), EMPTY);
    assert_int_equal(peer_body_len(1), 4);
    peer_data(1, NGHTTP2_FLAG_END_STREAM, "bye");
    assert_int_equal(u->stream->in.end, PIPE_ENDED);
    assert_int_equal(user_end(u, NULL), SENT);
    assert_int_equal(u->sents, 1);
}

static void draining_says_goaway_and_a_round_trip_later_the_last_stream(void **state)
{
    h2_serve();
    peer_get(1, "/");
    http_drain(&w2.conn->base, false);
    struct got_frame *first = peer_want(NGHTTP2_GOAWAY, 0);
    assert_int_equal(frame_u32(first, 0), INT32_MAX);
    assert_int_equal(frame_u32(first, 4), NGHTTP2_NO_ERROR);
    peer_get(3, "/"); /* on its way when GOAWAY came */
    assert_int_equal(w2.user_count, 2);
    struct got_frame *ping = peer_want(NGHTTP2_PING, 0);
    peer_frame(NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, ping->payload, 8);
    struct got_frame *last = peer_got(NGHTTP2_GOAWAY, 0, 1);
    assert_non_null(last);
    assert_int_equal(frame_u32(last, 0), 3);
    for (unsigned i = 0; i < 2; i++) {
        user_reply(user_of(i), 200, "x");
        user_release(user_of(i));
    }
    peer_read();
    assert_true(w2.got_end);
    peer_close();
    assert_int_equal(w2.ends, 1);
}

static void an_idle_connection_is_told_and_closed(void **state)
{
    w2.limits.keep_alive_ms = 5000;
    h2_serve();
    peer_get(1, "/");
    user_reply(user_of(0), 200, "x");
    user_release(user_of(0));
    h2_skip_ms(6000);
    assert_int_equal(frame_u32(peer_want(NGHTTP2_GOAWAY, 0), 4), NGHTTP2_NO_ERROR);
    assert_true(w2.got_end);
}

static void a_head_that_does_not_go_on_is_given_up(void **state)
{
    h2_serve();
    w2.limits.head_timeout_ms = 1000;
    peer_frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, "\x82", 1);
    h2_skip_ms(2000);
    peer_want(NGHTTP2_GOAWAY, 0);
    assert_int_equal(w2.drop_err, ERR_HEAD_TIMEOUT);
}

static void heads_that_are_not_taken_leave_the_other_streams_alone(void **state)
{
    w2.limits.head_timeout_ms = 1000;
    w2.limits.streams_max = 1;
    h2_serve_bare(); /* of the limit it has not heard yet */
    peer_preface();
    peer_get(1, "/");
    peer_get(3, "/");
    peer_want(NGHTTP2_RST_STREAM, 3);
    h2_skip_ms(5000);
    http_drain(&w2.conn->base, false);
    h2_settle();
    peer_frame(NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "\0\0\0\0\0\0\0\0", 8);
    peer_get(5, "/"); /* crosses the last GOAWAY */
    h2_skip_ms(5000);
    user_reply(user_of(0), 200, "late");
    assert_int_equal(peer_body_len(1), 4);
}

/* As grpc-go does on a path without delay. */
static void a_peer_that_measures_the_path_is_no_flood(void **state)
{
    h2_serve();
    peer_head(1, NGHTTP2_FLAG_END_HEADERS, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a", NULL);
    for (unsigned i = 0; i < 1500; i++) {
        peer_data(1, 0, "x");
        user_take(user_of(0));
        peer_frame(NGHTTP2_PING, 0, 0, "measured", 8);
    }
    assert_null(peer_got(NGHTTP2_GOAWAY, 0, 0));
    user_reply(user_of(0), 200, "");
}

static void a_flood_of_windows_by_settings_ends_the_connection(void **state)
{
    w2.limits.streams_max = 60;
    h2_serve();
    peer_settings(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    for (unsigned i = 0; i < 60; i++) {
        peer_get(2 * i + 1, "/");
        assert_int_equal(stream_send_head(user_of(i)->stream, h2_response(200, BODY_UNKNOWN), false), 0);
        (void)user_send(user_of(i), block, 4096);
    }
    for (unsigned i = 1; i < 60; i++)
        peer_settings(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, i);
    assert_int_equal(frame_u32(peer_want(NGHTTP2_GOAWAY, 0), 4), NGHTTP2_ENHANCE_YOUR_CALM);
}

static void a_body_that_does_not_go_on_is_cut(void **state)
{
    w2.limits.body_idle_ms = 1000;
    h2_serve();
    peer_head(1, END_HEAD, POST, NULL);
    peer_data(1, 0, "x");
    h2_skip_ms(2000);
    struct user *u = user_of(0);
    assert_int_equal(u->stream->in.end, PIPE_CUT);
    assert_int_equal(u->stream->in.err, ERR_BODY_TIMEOUT);
    user_reply(u, 408, "late");
    assert_int_equal(u->sents, 1);
}

static void an_answer_whose_window_never_opens_is_given_up(void **state)
{
    w2.limits.send_idle_ms = 1000;
    h2_serve();
    peer_settings(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    peer_get(1, "/");
    struct user *u = user_of(0);
    user_reply(u, 200, "waits");
    h2_skip_ms(2000);
    assert_int_equal(u->resets, 1);
    assert_int_equal(u->reset_err, ERR_CLIENT_SEND_TIMEOUT);
}

static void bodies_of_all_streams_share_a_limit(void **state)
{
    w2.limits.connection_bytes_max = 100000;
    h2_serve();
    peer_settings(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    for (unsigned i = 0; i < 4; i++) {
        peer_get(2 * i + 1, "/");
        struct user *u = user_of(i);
        assert_int_equal(stream_send_head(u->stream, h2_response(200, BODY_UNKNOWN), false), 0);
        assert_int_equal(user_send(u, block, 80000), BLOCKED);
    }
    assert_true(w2.conn->queued_bytes < 100000 + STREAM_OUT_MAX + QUEUE_SLACK);
    peer_rst(1, NGHTTP2_CANCEL);
    peer_rst(3, NGHTTP2_CANCEL);
    assert_true(w2.users[3].rooms > 0);
}

static void an_idle_connection_is_small(void **state)
{
    h2_serve();
    peer_head(1, WHOLE_HEAD, GET, "user-agent", "test", "accept", "*/*", NULL);
    user_reply(user_of(0), 200, "x");
    user_release(user_of(0));
    assert_true(w2.memory.held_bytes <= 10240); /* 10,070 when this was written */
}

static void anything_else_than_http2_is_refused(void **state)
{
    h2_serve_bare();
    peer_bytes("GET / HTTP/1.1\r\n\r\n        ", 26);
    assert_int_equal(frame_u32(peer_want(NGHTTP2_GOAWAY, 0), 4), NGHTTP2_PROTOCOL_ERROR);
    assert_int_equal(w2.drops, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, h2_world_set_up, h2_world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_told_and_answered),
        TEST(our_settings_say_what_we_bear),
        TEST(a_body_comes_within_its_window_and_reading_gives_it_back),
        TEST(more_than_the_window_is_the_peers_fault),
        TEST(a_body_that_is_not_what_was_announced_resets_its_stream),
        TEST(a_body_that_should_be_empty_is_seen_to_be),
        TEST(malformed_heads_are_told_and_reset),
        TEST(host_and_authority_have_to_agree),
        TEST(cookie_crumbs_become_one),
        TEST(a_head_that_is_too_large_is_answered),
        TEST(few_bytes_that_decompress_to_many_end_the_connection),
        TEST(streams_reset_before_they_ran_are_dropped_and_too_many_end_it),
        TEST(a_flood_of_pings_ends_the_connection),
        TEST(an_answer_waits_for_the_window_and_a_neighbour_does_not),
        TEST(trailers_pass_both_ways),
        TEST(a_cut_body_resets_the_stream_behind_what_had_come),
        TEST(an_answer_before_the_requests_end_is_followed_by_a_reset_without_error),
        TEST(a_client_that_leaves_is_told_once),
        TEST(an_extended_connect_is_shown_as_an_upgrade),
        TEST(draining_says_goaway_and_a_round_trip_later_the_last_stream),
        TEST(an_idle_connection_is_told_and_closed),
        TEST(a_head_that_does_not_go_on_is_given_up),
        TEST(heads_that_are_not_taken_leave_the_other_streams_alone),
        TEST(a_peer_that_measures_the_path_is_no_flood),
        TEST(a_flood_of_windows_by_settings_ends_the_connection),
        TEST(a_body_that_does_not_go_on_is_cut),
        TEST(an_answer_whose_window_never_opens_is_given_up),
        TEST(bodies_of_all_streams_share_a_limit),
        TEST(an_idle_connection_is_small),
        TEST(anything_else_than_http2_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
