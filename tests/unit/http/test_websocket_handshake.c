/* The handshake of WebSocket where only one side of the gateway speaks HTTP/1: what the other version has not is made
 * and checked here; between two of HTTP/1 it passes untouched. */
#include "world.h"

#include "http/websocket.h"

#define UPGRADE_LINES "Connection: Upgrade\r\nUpgrade: websocket\r\n"

static const char sample_key[] = "dGhlIHNhbXBsZSBub25jZQ==", sample_accept[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/* ---- to a service of HTTP/1 ---- */

static struct message *ask(uint8_t version)
{
    struct message *head = request("GET", "/ws", BODY_NONE);

    head->version = version;
    head->upgrade = SLICE("websocket");
    assert_int_equal(fields_add(&head->fields, w.stream->arena, SLICE("Sec-WebSocket-Protocol"), SLICE("chat")), 0);
    return head;
}

static struct slice sent_key(void)
{
    static const char name[] = "Sec-WebSocket-Key: ";
    const char *at;

    raw_expect_part("\r\n\r\n");
    at = memmem(w.got, w.got_len, name, sizeof(name) - 1);
    return at ? slice_make(at + sizeof(name) - 1, WEBSOCKET_KEY_LEN) : SLICE_EMPTY;
}

static void answer_with(const char *accept)
{
    char text[256];

    (void)snprintf(text, sizeof(text), "HTTP/1.1 101 Switching Protocols\r\n" UPGRADE_LINES "%s%s%s\r\n",
                   accept ? "Sec-WebSocket-Accept: " : "", accept ? accept : "", accept ? "\r\n" : "");
    raw_send(text);
}

static void a_request_of_http2_gets_a_key_and_its_answer_is_checked(void **state)
{
    char accept[WEBSOCKET_ACCEPT_LEN + 1] = { 0 };

    world_connect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, ask(HTTP_2), true), 0);
    settle();
    struct slice key = sent_key();
    assert_non_null(key.at);
    raw_expect_part("Sec-WebSocket-Protocol: chat\r\n");
    websocket_accept(key, accept);
    answer_with(accept);
    assert_int_equal(w.told.heads, 1);
    assert_true(w.stream->tunnel);
    assert_null(fields_find_name(&w.stream->head->fields, SLICE("Sec-WebSocket-Accept")));
    stream_reset(w.stream, ERR_CANCELLED);
}

static void a_wrong_or_missing_accept_to_our_key_is_a_bad_answer(void **state)
{
    const char *const answers[] = { NULL, sample_accept };

    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        if (i > 0)
            world_tear_down(state), world_set_up(state);
        world_connect();
        world_open();
        assert_int_equal(stream_send_head(w.stream, ask(HTTP_2), true), 0);
        settle();
        answer_with(answers[i]);
        assert_int_equal(w.told.resets, 1);
        assert_int_equal(w.stream->err, ERR_UPSTREAM_BAD_HEAD);
    }
}

static void a_request_of_http1_keeps_the_key_it_has_and_its_answer_is_not_judged(void **state)
{
    world_connect();
    world_open();
    struct message *head = ask(HTTP_1_1);
    assert_int_equal(fields_add(&head->fields, w.stream->arena, SLICE("Sec-WebSocket-Key"), SLICE("mine")), 0);
    assert_int_equal(stream_send_head(w.stream, head, true), 0);
    settle();
    raw_expect_part("Sec-WebSocket-Key: mine\r\n");
    answer_with("wrong");
    assert_true(w.stream->tunnel);
    assert_non_null(fields_find_name(&w.stream->head->fields, SLICE("Sec-WebSocket-Accept")));
    stream_reset(w.stream, ERR_CANCELLED);
}

static void another_protocol_gets_no_key(void **state)
{
    world_connect();
    world_open();
    struct message *head = ask(HTTP_2);
    head->upgrade = SLICE("other");
    assert_int_equal(stream_send_head(w.stream, head, true), 0);
    settle();
    assert_null(sent_key().at);
    stream_reset(w.stream, ERR_CANCELLED);
}

/* ---- to a client of HTTP/1 ---- */

static void asked_with(const char *key)
{
    char text[256];

    world_serve();
    (void)snprintf(text, sizeof(text), "GET /ws HTTP/1.1\r\nHost: x\r\n" UPGRADE_LINES "Sec-WebSocket-Key: %s\r\n\r\n",
                   key);
    raw_send(text);
}

static struct message *accepted_by(uint8_t version)
{
    struct message *head = response(101, BODY_NONE);

    head->version = version;
    head->upgrade = SLICE("websocket");
    return head;
}

static void a_service_of_http2_accepts_and_the_client_is_given_the_accept(void **state)
{
    asked_with(sample_key);
    assert_int_equal(stream_send_head(w.stream, accepted_by(HTTP_2), false), 0);
    settle();
    raw_expect_part("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
    assert_true(w.stream->tunnel);
    stream_reset(w.stream, ERR_CANCELLED);
    release_stream();
}

static void a_service_of_http1_answers_for_itself(void **state)
{
    asked_with(sample_key);
    struct message *head = accepted_by(HTTP_1_1);
    assert_int_equal(fields_add(&head->fields, w.stream->arena, SLICE("Sec-WebSocket-Accept"), SLICE("wrong")), 0);
    assert_int_equal(stream_send_head(w.stream, head, false), 0);
    settle();
    raw_expect_part("Sec-WebSocket-Accept: wrong\r\n");
    assert_null(memmem(w.got, w.got_len, sample_accept, strlen(sample_accept)));
    stream_reset(w.stream, ERR_CANCELLED);
    release_stream();
}

static void without_a_key_nothing_can_be_accepted(void **state)
{
    asked_with("short");
    assert_int_equal(stream_send_head(w.stream, accepted_by(HTTP_2), false), -ERR_UPGRADE_REFUSED);
    stream_reset(w.stream, ERR_UPGRADE_REFUSED);
    release_stream();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_request_of_http2_gets_a_key_and_its_answer_is_checked),
        TEST(a_wrong_or_missing_accept_to_our_key_is_a_bad_answer),
        TEST(a_request_of_http1_keeps_the_key_it_has_and_its_answer_is_not_judged),
        TEST(another_protocol_gets_no_key),
        TEST(a_service_of_http2_accepts_and_the_client_is_given_the_accept),
        TEST(a_service_of_http1_answers_for_itself),
        TEST(without_a_key_nothing_can_be_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
