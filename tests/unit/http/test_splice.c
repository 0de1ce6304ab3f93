/*
 * Bodies that stay in the kernel: spliced in from one side, out to the other, in the right order and to the last byte;
 * and whatever makes that impossible falls back to copying.
 */
#include "world.h"

#include <sys/socket.h>
#include <unistd.h>

enum { BODY = 1 << 20 };

static char block[BODY];

static void fill(void)
{
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (char)(i * 7 + i / 251);
    w.limits.splice_bytes_min = 32768;
}

/* A second connection, in the server role, whose client is read here. */
struct other {
    struct stream *stream;
    int raw;
    char *got;
    size_t len;
};

static void read_other(struct other *other)
{
    ssize_t n;

    while ((n = recv(other->raw, other->got + other->len, BODY + 4096 - other->len, MSG_DONTWAIT)) > 0)
        other->len += (size_t)n;
}

static void a_spliced_response_arrives_whole(void **state)
{
    struct other down = { 0 };
    bool spliced = false;

    fill();
    down.got = malloc(BODY + 4096);
    world_serve();
    raw_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    down.stream = w.stream;
    down.raw = w.raw;
    w.stream = NULL;
    struct h1_conn *server = w.conn;

    world_connect();
    world_open();
    assert_int_equal(stream_send_head(w.stream, request("GET", "/", BODY_NONE), true), 0);
    w.stream->splice_in_ok = true;
    settle();
    raw_send("HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
    assert_int_equal(w.told.heads, 1);
    assert_int_equal(stream_send_head(down.stream, response(200, BODY), false), 0);

    size_t sent = 0;
    while (!down.stream->end_sent || down.len < BODY) {
        if (sent < BODY) {
            ssize_t n = send(w.raw, block + sent, BODY - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n > 0)
                sent += (size_t)n;
        }
        loop_turn(&w.loop, 0);
        spliced |= w.stream->in.kernel_bytes > 0;
        if (!down.stream->end_sent) {
            (void)stream_send_body(down.stream, &w.stream->in);
            stream_read_more(w.stream);
        }
        read_other(&down);
    }
    settle();
    read_other(&down);
    assert_true(spliced);
    assert_int_equal(w.told.sents, 1);
    assert_memory_equal(down.got + down.len - BODY, block, BODY);
    assert_int_equal(w.stream->in.total, BODY);
    release_stream();
    assert_int_equal(w.told.idles, 1);

    struct arena *arena = down.stream->arena;
    down.stream->ops->release(down.stream);
    arena_free(arena);
    http_close(&server->base);
    close(down.raw);
    free(down.got);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_spliced_response_arrives_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
