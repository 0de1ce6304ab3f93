/*
 * Scenarios of both roles run again and again with their n-th fallible call (allocation, socket, send, splice ...)
 * failing, for each n: no crash, no leak, nothing left, and what the peer takes for complete is what was sent.
 */
#include "world.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sys_torture.h"

enum { TURNS_MAX = 300, BODY = 50000 };

static char block[BODY + 100];
static uint64_t calls_made;

/* The peer's end as it can be without failing: what it has to say, said a piece at a time, and what it gets. */
struct peer {
    const char *say;
    size_t said, len;
};

static void peer_turn(struct peer *peer)
{
    if (w.raw < 0)
        return;
    if (peer->said < peer->len) {
        ssize_t n = send(w.raw, peer->say + peer->said, peer->len - peer->said, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            peer->said += (size_t)n;
    }
    ssize_t got = recv(w.raw, w.got + w.got_len, sizeof(w.got) - w.got_len, MSG_DONTWAIT);
    if (got > 0)
        w.got_len += (size_t)got;
    if (got == 0)
        w.got_end = true;
}

/* The user: takes the body, sends `reply` as a body once the peer's has ended. */
static void user_turn(bool server)
{
    struct stream *s = w.stream;

    if (s == NULL)
        return;
    if (s->in.kernel_bytes > 0)
        pipe_done(&s->in);
    else
        pipe_consume(&s->in, s->in.bytes);
    stream_read_more(s);
    if (server && !s->head_sent && s->in.end != PIPE_OPEN && !s->sent_cut &&
        stream_send_head(s, response(200, BODY_UNKNOWN), false) < 0)
        stream_reset(s, ERR_MEMORY);
    if (s->head_sent && !s->end_sent && !s->sent_cut && w.body.end == PIPE_OPEN) {
        if (pipe_append(&w.body, block, 20000) < 0)
            pipe_cut(&w.body, ERR_MEMORY);
        else
            pipe_finish(&w.body, NULL);
    }
    if (s->head_sent && !s->end_sent && !s->sent_cut)
        (void)stream_send_body(s, &w.body);
}

static void finish_scenario(void)
{
    if (w.stream) {
        struct stream *s = w.stream;
        w.stream = NULL;
        s->ops->release(s);
        arena_free(s->arena);
    }
    if (w.conn)
        http_close(&w.conn->base);
    raw_close();
    pipe_done(&w.body);
    pipe_init(&w.body, &w.memory, UINT32_MAX);
    calls_made = sys_torture_calls();
    sys_torture_disarm();
    loop_turn(&w.loop, 0);
    assert_int_equal(w.loop.watched, 1);
    assert_int_equal(w.memory.pipes_in_use, 0);
    assert_int_equal(w.memory.held_bytes, 0);
}

static void server_scenario(void)
{
    char head[200];
    struct peer peer = { .say = block };
    int len = snprintf(head, sizeof(head),
                       "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", BODY - 200);

    memcpy(block, head, (size_t)len);
    peer.len = (size_t)len + BODY - 200;
    w.got_len = 0;
    w.got_end = false;
    w.told = (struct told){ 0 };
    world_serve_or_not();
    for (int turn = 0; turn < TURNS_MAX && w.conn && w.told.sents == 0; turn++) {
        peer_turn(&peer);
        loop_turn(&w.loop, 1);
        user_turn(true);
    }
    if (w.stream && w.told.sents && !w.stream->sent_cut) { /* it says so, so the peer must get it whole */
        struct stream *s = w.stream;
        w.stream = NULL;
        s->ops->release(s);
        arena_free(s->arena);
        while (!w.got_end) {
            peer_turn(&peer);
            loop_turn(&w.loop, 1);
        }
        assert_memory_equal(w.got + w.got_len - 7, "\r\n0\r\n\r\n", 7);
        assert_true(w.got_len > 20000);
    }
    finish_scenario();
}

static void client_scenario(void)
{
    char head[200];
    struct peer peer = { .say = block };
    int len = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BODY - 200);

    memcpy(block, head, (size_t)len);
    peer.len = (size_t)len + BODY - 200;
    w.got_len = 0;
    w.told = (struct told){ 0 };
    w.limits.splice_bytes_min = 1000;
    struct arena *arena = world_open_or_not();
    if (w.stream) {
        w.stream->splice_in_ok = true;
        if (stream_send_head(w.stream, request("POST", "/", 20000), false) < 0)
            stream_reset(w.stream, ERR_MEMORY);
    }
    for (int turn = 0; turn < TURNS_MAX && w.stream && w.stream->in.end == PIPE_OPEN && w.told.resets == 0 && w.conn;
         turn++) {
        user_turn(false);
        loop_turn(&w.loop, 1);
        if (!w.stream->unsent)
            peer_turn(&peer);
    }
    if (w.stream && w.stream->in.end == PIPE_ENDED)
        assert_int_equal(w.stream->in.total, BODY - 200);
    if (w.stream == NULL)
        arena_free(arena);
    finish_scenario();
}

static void torture(void (*scenario)(void))
{
    uint64_t n = 0;

    world_listen();
    do {
        sys_torture_arm(++n);
        scenario();
    } while (calls_made >= n);
    assert_true(n > 10);
}

static void a_server_survives_any_failing_call(void **state)
{
    torture(server_scenario);
}

static void a_client_survives_any_failing_call(void **state)
{
    torture(client_scenario);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_server_survives_any_failing_call),
        TEST(a_client_survives_any_failing_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
