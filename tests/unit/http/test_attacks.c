/* What a hostile peer tries on a connection: each of these once worked. */
#include "world.h"

#include "base/assert.h"

static void refuse_at_once(struct stream_host *host, struct stream *stream, enum err err)
{
    static const struct stream_events none;

    stream->events = &none;
    stream->ops->reset(stream, ERR_MEMORY);
    stream->ops->release(stream);
    w.told.requests++;
    w.told.request_err = err;
    w.stream = stream; /* for its arena */
}

static void free_refused(void)
{
    arena_free(w.stream->arena);
    w.stream = NULL;
}

static void a_request_that_is_given_back_at_once_is_not_touched_again(void **state)
{
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    };

    w.host.on_request = refuse_at_once;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        world_serve();
        raw_send(requests[i]);
        settle();
        assert_int_equal(w.told.requests, i + 1);
        assert_null(w.conn);
        free_refused();
        raw_close();
    }
}

static void ask_for_upgrade(const char *protocols)
{
    struct message *head = request("GET", "/", BODY_NONE);

    world_connect();
    world_open();
    head->upgrade = slice_from(protocols);
    assert_int_equal(stream_send_head(w.stream, head, true), 0);
    settle();
}

static void a_service_can_only_switch_to_what_was_asked_for(void **state)
{
    static const struct {
        const char *asked, *got;
        bool taken;
    } cases[] = {
        { "websocket", "WebSocket", true },    { "a, b/1", "b/1", true }, { "a, b", "b, a", true },
        { "websocket", "h2c", false },         { "a", "a, b", false },    { "b/1", "b", false },
        { "a", "a, a, a, a, a, a, a", false },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char answer[256];
        ask_for_upgrade(cases[i].asked);
        (void)snprintf(answer, sizeof(answer), "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
                       cases[i].got);
        raw_send(answer);
        assert_int_equal(w.stream->tunnel, cases[i].taken);
        assert_int_equal(w.stream->err, cases[i].taken ? ERR_NONE : ERR_UPSTREAM_BAD_HEAD);
        release_stream();
        raw_close();
        settle();
        assert_null(w.conn);
    }
}

/* Sends a request with a body and has it answered; whether the connection may serve again. */
static bool is_kept_after(const char *method, bool answered_early)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    struct message *head = request(method, "/", 3);
    unsigned idles = w.told.idles;

    world_connect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, head, false), 0);
    settle();
    if (answered_early)
        raw_send(answer);
    send_text("abc");
    end_body();
    settle();
    if (!answered_early)
        raw_send(answer);
    assert_in("ok");
    release_stream();
    bool kept = w.told.idles > idles;
    if (kept)
        http_close(&w.conn->base);
    raw_close();
    settle();
    return kept;
}

static void a_connection_on_which_a_body_may_stand_unread_serves_no_one_else(void **state)
{
    assert_true(is_kept_after("POST", false));
    assert_true(is_kept_after("PROPFIND", false));
    assert_false(is_kept_after("POST", true));
    assert_false(is_kept_after("GET", false));
    assert_false(is_kept_after("DELETE", false));
    assert_false(is_kept_after("OPTIONS", false));
}

static void a_clients_trailers_cannot_take_for_ever(void **state)
{
    world_serve();
    raw_send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: b");
    for (int i = 0; i < 5; i++) { /* nor byte by byte */
        world_skip_ms(11000);
        assert_int_equal(w.stream->in.end, PIPE_OPEN);
        raw_send("c");
    }
    world_skip_ms(6000);
    assert_int_equal(w.stream->in.end, PIPE_CUT);
    assert_int_equal(w.stream->in.err, ERR_BODY_TIMEOUT);
}

static void a_services_trailers_cannot_take_for_ever(void **state)
{
    world_connect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("GET", "/", BODY_NONE), true), 0);
    settle();
    raw_send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: b");
    world_skip_ms(59000);
    assert_int_equal(w.told.resets, 0);
    world_skip_ms(2000);
    assert_int_equal(w.told.resets, 1);
    assert_int_equal(w.stream->err, ERR_RESPONSE_BODY_TIMEOUT);
    assert_int_equal(w.stream->in.end, PIPE_CUT);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_request_that_is_given_back_at_once_is_not_touched_again),
        WORLD_TEST(a_service_can_only_switch_to_what_was_asked_for),
        WORLD_TEST(a_connection_on_which_a_body_may_stand_unread_serves_no_one_else),
        WORLD_TEST(a_clients_trailers_cannot_take_for_ever),
        WORLD_TEST(a_services_trailers_cannot_take_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
