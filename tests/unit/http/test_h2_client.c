/* HTTP/2, client role: requests out, answers in, what a service may refuse, limits before and after its SETTINGS. */
#include "h2_world.h"

#include <unistd.h>

#define END_HEAD   NGHTTP2_FLAG_END_HEADERS
#define WHOLE_HEAD (NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM)

static char block[1 << 17];

static struct user *get(const char *path)
{
    struct user *u = user_open();

    assert_int_equal(stream_send_head(u->stream, h2_request("GET", path, BODY_NONE), true), 0);
    h2_settle();
    return u;
}

static void a_request_is_sent_and_its_answer_told(void **state)
{
    h2_client_settled();
    struct user *u = get("/a");
    assert_int_equal(u->writtens, 1);
    assert_false(u->stream->unsent);
    struct got_frame *head = peer_want(NGHTTP2_HEADERS, 1);
    assert_string_equal(head->fields, ":method: GET\n:scheme: http\n:path: /a\n:authority: svc\n");
    assert_true(head->flags & NGHTTP2_FLAG_END_STREAM);
    peer_head(1, END_HEAD, ":status", "103", "link", "x", NULL);
    peer_head(1, END_HEAD, ":status", "200", "content-length", "5", NULL);
    assert_int_equal(u->interims, 1);
    assert_int_equal(u->heads, 1);
    assert_int_equal(u->stream->head->status, 200);
    assert_int_equal(u->stream->head->body_length, 5);
    peer_data(1, NGHTTP2_FLAG_END_STREAM, "hello");
    user_take(u);
    assert_string_equal(u->body, "hello");
    assert_int_equal(u->stream->in.end, PIPE_ENDED);
    user_release(u);
    assert_int_equal(w2.frees, 1);
    assert_int_equal(http_streams_free(&w2.conn->base), 10);
    assert_null(peer_got(NGHTTP2_RST_STREAM, 1, 0));
}

static void push_is_off(void **state)
{
    h2_client();
    struct got_frame *settings = peer_want(NGHTTP2_SETTINGS, 0);
    assert_int_equal(settings->payload[13], NGHTTP2_SETTINGS_ENABLE_PUSH);
    assert_int_equal(frame_u32(settings, 14), 0);
}

static void a_body_goes_out_as_its_window_opens(void **state)
{
    h2_client_settled();
    struct user *u = user_open();
    assert_int_equal(stream_send_head(u->stream, h2_request("POST", "/", BODY_UNKNOWN), false), 0);
    assert_int_equal(user_send(u, block, 100000), BLOCKED);
    assert_int_equal(peer_body_len(1), 65535);
    peer_window(1, 100000);
    peer_window(0, 100000);
    assert_true(u->rooms > 0);
    assert_int_equal(user_end(u, NULL), SENT);
    assert_int_equal(peer_body_len(1), 100000);
    peer_head(1, WHOLE_HEAD, ":status", "204", NULL);
    assert_int_equal(u->heads, 1);
}

static void before_the_settings_few_requests_are_sent(void **state)
{
    struct user *users[10];

    h2_client();
    for (unsigned i = 0; i < 10; i++)
        users[i] = get("/");
    assert_non_null(peer_got(NGHTTP2_HEADERS, 15, 0));
    assert_null(peer_got(NGHTTP2_HEADERS, 17, 0));
    peer_settings(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 9);
    assert_non_null(peer_got(NGHTTP2_HEADERS, 17, 0));
    assert_int_equal(users[8]->resets, 0);
    assert_int_equal(users[9]->reset_err, ERR_UPSTREAM_REFUSED);
    assert_true(users[9]->stream->unsent);
    assert_int_equal(w2.owner.streams_seen, 9);
    assert_int_equal(http_streams_free(&w2.conn->base), 0);
}

static void what_the_last_service_took_is_believed_of_the_next(void **state)
{
    w2.owner.streams_seen = 2;
    h2_client();
    assert_int_equal(http_streams_free(&w2.conn->base), 2);
}

static void refusals_are_told_apart(void **state)
{
    static const struct {
        uint32_t code;
        enum err err;
    } cases[] = {
        { NGHTTP2_REFUSED_STREAM, ERR_UPSTREAM_REFUSED },
        { NGHTTP2_HTTP_1_1_REQUIRED, ERR_HTTP_1_1_REQUIRED },
        { NGHTTP2_INTERNAL_ERROR, ERR_UPSTREAM_RESET },
        { NGHTTP2_NO_ERROR, ERR_UPSTREAM_CLOSED },
    };

    h2_client_settled();
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct user *u = get("/");
        peer_rst(2 * i + 1, cases[i].code);
        assert_int_equal(u->resets, 1);
        assert_int_equal(u->reset_err, cases[i].err);
    }
}

static void goaway_refuses_what_it_leaves_out_and_the_rest_goes_on(void **state)
{
    static const char goaway[8] = { 0, 0, 0, 1 };

    h2_client_settled();
    struct user *kept = get("/1"), *left = get("/2");
    peer_frame(NGHTTP2_GOAWAY, 0, 0, goaway, sizeof(goaway));
    assert_int_equal(left->reset_err, ERR_UPSTREAM_REFUSED);
    assert_int_equal(kept->resets, 0);
    assert_int_equal(http_streams_free(&w2.conn->base), 0);
    peer_head(1, WHOLE_HEAD, ":status", "200", NULL);
    assert_int_equal(kept->heads, 1);
    user_release(kept);
    assert_int_equal(w2.closeds, 1);
}

static void answers_that_break_off_are_cut(void **state)
{
    h2_client_settled();
    struct user *few = get("/"), *many = get("/"), *gone = get("/");
    for (unsigned i = 0; i < 3; i++)
        peer_head(2 * i + 1, END_HEAD, ":status", "200", "content-length", "4", NULL);
    peer_data(1, NGHTTP2_FLAG_END_STREAM, "abc");
    peer_data(3, NGHTTP2_FLAG_END_STREAM, "abcde");
    peer_data(5, 0, "ab");
    peer_close();
    assert_int_equal(few->reset_err, ERR_UPSTREAM_CUT);
    assert_int_equal(many->reset_err, ERR_UPSTREAM_BAD_BODY);
    assert_int_equal(gone->reset_err, ERR_UPSTREAM_CLOSED);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(w2.users[i].stream->in.end, PIPE_CUT);
}

static void malformed_answers_are_refused(void **state)
{
    h2_client_settled();
    struct user *bad = get("/"), *early = get("/"), *switched = get("/");
    peer_head(1, END_HEAD, ":status", "20", NULL);
    peer_head(3, END_HEAD, ":status", "100", NULL);
    peer_data(3, 0, "x");
    peer_head(5, WHOLE_HEAD, ":status", "101", NULL);
    assert_int_equal(bad->reset_err, ERR_UPSTREAM_BAD_HEAD);
    assert_int_equal(early->reset_err, ERR_UPSTREAM_BAD_BODY);
    assert_int_equal(switched->reset_err, ERR_UPSTREAM_BAD_HEAD);
    assert_int_equal(frame_u32(peer_want(NGHTTP2_RST_STREAM, 1), 0), NGHTTP2_PROTOCOL_ERROR);
}

static void an_answer_before_the_request_has_ended_stands(void **state)
{
    h2_client_settled();
    struct user *u = user_open();
    assert_int_equal(stream_send_head(u->stream, h2_request("POST", "/", BODY_UNKNOWN), false), 0);
    assert_int_equal(user_send(u, "abc", 3), EMPTY);
    peer_head(1, WHOLE_HEAD, ":status", "413", NULL);
    peer_rst(1, NGHTTP2_NO_ERROR);
    assert_int_equal(u->heads, 1);
    assert_int_equal(u->resets, 0);
    assert_true(u->stream->sent_cut);
    assert_int_equal(user_send(u, "def", 3), EMPTY); /* swallowed */
}

static void a_user_that_gives_up_resets_its_stream_alone(void **state)
{
    h2_client_settled();
    struct user *one = get("/"), *two = get("/");
    stream_reset(one->stream, ERR_CANCELLED);
    h2_settle();
    assert_int_equal(frame_u32(peer_want(NGHTTP2_RST_STREAM, 1), 0), NGHTTP2_CANCEL);
    peer_head(3, WHOLE_HEAD, ":status", "200", NULL);
    assert_int_equal(two->heads, 1);
    assert_int_equal(http_streams_open(&w2.conn->base), 1);
}

static void an_upgrade_becomes_extended_connect_if_the_service_allows_it(void **state)
{
    struct message *head;

    h2_client();
    struct user *u = user_open();
    head = h2_request("GET", "/chat", BODY_NONE);
    head->upgrade = SLICE("websocket");
    assert_int_equal(stream_send_head(u->stream, head, true), 0);
    assert_null(peer_got(NGHTTP2_HEADERS, 1, 0)); /* it is not known yet */
    peer_settings(NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1);
    struct got_frame *got = peer_want(NGHTTP2_HEADERS, 1);
    assert_true(frame_has(got, ":method: CONNECT\n") && frame_has(got, ":protocol: websocket\n"));
    assert_false(got->flags & NGHTTP2_FLAG_END_STREAM);
    peer_head(1, END_HEAD, ":status", "200", NULL);
    assert_int_equal(u->stream->head->status, 101);
    assert_true(slice_eq(u->stream->head->upgrade, SLICE("websocket")));
    assert_true(u->stream->tunnel);
    assert_int_equal(user_send(u, "up", 2), EMPTY);
    assert_int_equal(peer_body_len(1), 2);
    peer_data(1, NGHTTP2_FLAG_END_STREAM, "down");
    user_take(u);
    assert_string_equal(u->body, "down");
    assert_int_equal(user_end(u, NULL), SENT);
}

static void an_upgrade_that_no_connect_can_stand_for_is_left_out(void **state)
{
    static const struct {
        const char *method, *upgrade;
        int64_t body_length;
    } cases[] = { { "GET", "websocket", 5 },
                  { "POST", "websocket", BODY_NONE },
                  { "GET", "websocket, other", BODY_NONE } };

    h2_client_settled();
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        bool end = cases[i].body_length == BODY_NONE;
        struct user *u = user_open();
        struct message *head = h2_request(cases[i].method, "/chat", cases[i].body_length);
        head->upgrade = slice_from(cases[i].upgrade);
        assert_int_equal(stream_send_head(u->stream, head, end), 0);
        if (!end) {
            (void)user_send(u, "hello", 5);
            (void)user_end(u, NULL);
        }
        h2_settle();
        struct got_frame *frame = peer_want(NGHTTP2_HEADERS, 2 * i + 1);
        assert_true(frame_has(frame, *cases[i].method == 'P' ? ":method: POST" : ":method: GET"));
        assert_null(strstr(frame->fields, ":protocol"));
        assert_null(strstr(frame->fields, "upgrade"));
        peer_head(2 * i + 1, END_HEAD | NGHTTP2_FLAG_END_STREAM, ":status", "200", NULL);
        assert_int_equal(u->resets, 0);
        user_release(u);
    }
}

static void an_upgrade_that_the_service_does_not_allow_says_so(void **state)
{
    struct message *head;

    h2_client_settled();
    struct user *u = user_open();
    head = h2_request("GET", "/chat", BODY_NONE);
    head->upgrade = SLICE("websocket");
    assert_int_equal(stream_send_head(u->stream, head, true), 0);
    h2_settle();
    assert_int_equal(u->reset_err, ERR_NO_EXTENDED_CONNECT);
}

static void a_service_that_is_gone_is_noticed_before_anything_is_sent(void **state)
{
    struct stream *stream;
    static const struct stream_events none;

    h2_client_settled();
    struct arena *arena = arena_new(&w2.memory, ARENA_LIMIT_DEFAULT);
    close(w2.raw);
    w2.raw = -1;
    w2.conn->transport.io.ready |= IO_READABLE | IO_HANGUP;
    assert_int_equal(http_open(&w2.conn->base, arena, &none, NULL, &stream), -ERR_UPSTREAM_UNSENT);
    assert_int_equal(w2.closeds, 1);
    arena_free(arena);
}

static void a_cut_request_resets_its_stream(void **state)
{
    h2_client_settled();
    struct user *u = user_open();
    assert_int_equal(stream_send_head(u->stream, h2_request("POST", "/", 10), false), 0);
    assert_int_equal(pipe_append(&u->out, "part", 4), 0);
    pipe_cut(&u->out, ERR_CLIENT_CLOSED);
    assert_int_equal(stream_send_body(u->stream, &u->out), SENT);
    assert_int_equal(peer_body_len(1), 4);
    assert_int_equal(frame_u32(peer_want(NGHTTP2_RST_STREAM, 1), 0), NGHTTP2_CANCEL);
    assert_int_equal(u->reset_err, ERR_CLIENT_CLOSED);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, h2_world_set_up, h2_world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_sent_and_its_answer_told),
        TEST(push_is_off),
        TEST(a_body_goes_out_as_its_window_opens),
        TEST(before_the_settings_few_requests_are_sent),
        TEST(what_the_last_service_took_is_believed_of_the_next),
        TEST(refusals_are_told_apart),
        TEST(goaway_refuses_what_it_leaves_out_and_the_rest_goes_on),
        TEST(answers_that_break_off_are_cut),
        TEST(malformed_answers_are_refused),
        TEST(an_answer_before_the_request_has_ended_stands),
        TEST(a_user_that_gives_up_resets_its_stream_alone),
        TEST(an_upgrade_becomes_extended_connect_if_the_service_allows_it),
        TEST(an_upgrade_that_no_connect_can_stand_for_is_left_out),
        TEST(an_upgrade_that_the_service_does_not_allow_says_so),
        TEST(a_service_that_is_gone_is_noticed_before_anything_is_sent),
        TEST(a_cut_request_resets_its_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
