/*
 * The TCP transport on the real loopback: what the ready bits say after each kind of read and write, connecting, and
 * splicing.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "net/listen.h"
#include "net/transport.h"

static struct loop loop;
static struct memory memory;
static int listener;
static struct address listening;

static void on_ready(struct io *io)
{
}

static int set_up(void **state)
{
    struct listen_options options = { .backlog = 16 };
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);

    if (memory_init(&memory, NULL, 0) < 0 || loop_init(&loop, &memory) < 0)
        return -1;
    if (address_parse(SLICE("127.0.0.1:0"), &listening, NULL) < 0 || listen_open(&listening, &options, &listener) < 0)
        return -1;
    if (getsockname(listener, (struct sockaddr *)&at, &len) < 0)
        return -1;
    address_from_sockaddr((struct sockaddr *)&at, len, &listening);
    return 0;
}

static int tear_down(void **state)
{
    uint32_t watched = loop.watched;

    close(listener);
    loop_done(&loop);
    memory_done(&memory);
    return watched == 1 ? 0 : -1;
}

/* A connected pair: `t` is ours, the returned descriptor is the peer's. */
static int connected_pair(struct transport *t)
{
    int accepted, waiting;

    const struct dial dial = { .to = &listening };
    assert_int_equal(transport_connect(t, &loop, &dial, on_ready), 0);
    assert_true(t->connecting);
    while ((waiting = transport_establish(t)) == 1)
        loop_turn(&loop, 1000);
    assert_int_equal(waiting, 0);
    assert_false(t->connecting);
    accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
    return accepted;
}

static void wait_for(struct transport *t, uint8_t bits)
{
    for (int i = 0; i < 1000 && (t->io.ready & bits) != bits; i++)
        loop_turn(&loop, 1000);
    assert_int_equal(t->io.ready & bits, bits);
}

static void a_short_read_clears_readable_and_a_full_one_does_not(void **state)
{
    struct transport t;
    char buf[8];
    int peer = connected_pair(&t);

    assert_int_equal(write(peer, "0123456789", 10), 10);
    wait_for(&t, IO_READABLE);
    assert_int_equal(transport_recv(&t, buf, 8), 8);
    assert_true(t.io.ready & IO_READABLE);
    assert_int_equal(transport_recv(&t, buf, 8), 2);
    assert_false(t.io.ready & IO_READABLE);
    assert_int_equal(transport_recv(&t, buf, 8), -EAGAIN);
    t.ops->close(&t);
    close(peer);
}

static void after_a_hang_up_a_short_read_proves_nothing(void **state)
{
    struct transport t;
    char buf[8];
    int peer = connected_pair(&t);

    assert_int_equal(write(peer, "abc", 3), 3);
    close(peer);
    wait_for(&t, IO_READABLE | IO_HANGUP);
    assert_int_equal(transport_recv(&t, buf, 8), 3);
    assert_true(t.io.ready & IO_READABLE);
    assert_int_equal(transport_recv(&t, buf, 8), 0);
    t.ops->close(&t);
}

static void a_short_write_clears_writable_until_the_kernel_has_room(void **state)
{
    static char big[1 << 20];
    struct iovec iov[2] = { { big, sizeof(big) }, { big, sizeof(big) } };
    struct transport t;
    int peer = connected_pair(&t);
    ssize_t sent, total = 0, got;

    do {
        sent = transport_sendv(&t, iov, 2, false);
        if (sent > 0)
            total += sent;
    } while (t.io.ready & IO_WRITABLE);
    assert_true(total > 0);
    assert_int_equal(transport_sendv(&t, iov, 1, true), -EAGAIN);
    while (total > 0) {
        got = read(peer, big, sizeof(big));
        assert_true(got > 0);
        total -= got;
    }
    wait_for(&t, IO_WRITABLE);
    t.ops->close(&t);
    close(peer);
}

static void writing_to_a_peer_that_reset_is_an_error_and_no_signal(void **state)
{
    struct linger hard = { .l_onoff = 1 };
    struct transport t;
    char buf[4] = "x";
    struct iovec iov = { buf, 1 };
    int peer = connected_pair(&t);

    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(peer);
    wait_for(&t, IO_HANGUP);
    assert_int_equal(transport_recv(&t, buf, 4), -ECONNRESET);
    assert_int_equal(transport_sendv(&t, &iov, 1, false), -EPIPE);
    t.ops->close(&t);
}

static void shutting_down_ends_our_side_alone(void **state)
{
    struct transport t;
    char buf[4];
    int peer = connected_pair(&t);

    t.ops->shutdown(&t);
    assert_int_equal(read(peer, buf, 4), 0);
    assert_int_equal(write(peer, "yes", 3), 3);
    wait_for(&t, IO_READABLE);
    assert_int_equal(transport_recv(&t, buf, 4), 3);
    t.ops->close(&t);
    close(peer);
}

static void accepted_sockets_do_not_delay(void **state)
{
    struct transport client, server;
    int peer = connected_pair(&client), value = 0;
    socklen_t len = sizeof(value);

    assert_int_equal(transport_accept(&server, &loop, peer, on_ready), 0);
    assert_true(server.io.ready & IO_WRITABLE);
    assert_int_equal(getsockopt(server.io.fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
    assert_int_not_equal(value, 0);
    server.ops->close(&server);
    client.ops->close(&client);
}

static void a_refused_connect_is_told_apart(void **state)
{
    struct address nobody = listening;
    struct transport t;
    struct address source;
    int closed = socket(AF_INET, SOCK_STREAM, 0), result;
    struct sockaddr_storage at;
    socklen_t len;

    /* Bound but not listening: nobody else gets this port, and connecting to it is refused. */
    nobody.port = 0;
    len = address_to_sockaddr(&nobody, &at);
    assert_int_equal(bind(closed, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(closed, (struct sockaddr *)&at, &len), 0);
    address_from_sockaddr((struct sockaddr *)&at, len, &nobody);
    assert_int_equal(address_parse(SLICE("127.0.0.1:0"), &source, NULL), 0);
    const struct dial dial = { .to = &nobody, .source = &source };
    result = transport_connect(&t, &loop, &dial, on_ready);
    while (result == 0 && (result = transport_establish(&t)) == 1) {
        loop_turn(&loop, 1000);
        result = 0;
    }
    assert_int_equal(result, -ERR_CONNECT_REFUSED);
    if (t.io.fd >= 0)
        t.ops->close(&t);
    close(closed);
}

static void a_source_address_that_is_not_ours_is_our_own_error(void **state)
{
    struct address source;
    struct transport t;

    assert_int_equal(address_parse(SLICE("203.0.113.1:0"), &source, NULL), 0);
    const struct dial dial = { .to = &listening, .source = &source };
    assert_int_equal(transport_connect(&t, &loop, &dial, on_ready), -ERR_SYSTEM);
    assert_int_equal(t.io.fd, -1);
}

static void bytes_are_spliced_from_one_socket_to_the_other(void **state)
{
    struct transport from, to;
    struct pipe pipe;
    char buf[16];
    int source = connected_pair(&from), sink = connected_pair(&to);

    pipe_init(&pipe, &memory, PIPE_ROOM_DEFAULT);
    assert_true(pipe_splice_begin(&pipe));
    assert_int_equal(transport_splice_in(&from, &pipe, 100), -EAGAIN);
    assert_false(from.io.ready & IO_READABLE);
    assert_int_equal(write(source, "hello", 5), 5);
    wait_for(&from, IO_READABLE);
    assert_int_equal(transport_splice_in(&from, &pipe, 100), 5);
    assert_true(from.io.ready & IO_READABLE);
    assert_int_equal(transport_splice_in(&from, &pipe, 100), -EAGAIN);
    assert_int_equal(transport_splice_out(&to, &pipe, 100, false), 5);
    assert_int_equal(read(sink, buf, sizeof(buf)), 5);
    close(source);
    wait_for(&from, IO_HANGUP);
    assert_int_equal(transport_splice_in(&from, &pipe, 100), 0);
    pipe_done(&pipe);
    from.ops->close(&from);
    to.ops->close(&to);
    close(sink);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_short_read_clears_readable_and_a_full_one_does_not),
        TEST(after_a_hang_up_a_short_read_proves_nothing),
        TEST(a_short_write_clears_writable_until_the_kernel_has_room),
        TEST(writing_to_a_peer_that_reset_is_an_error_and_no_signal),
        TEST(shutting_down_ends_our_side_alone),
        TEST(accepted_sockets_do_not_delay),
        TEST(a_refused_connect_is_told_apart),
        TEST(a_source_address_that_is_not_ours_is_our_own_error),
        TEST(bytes_are_spliced_from_one_socket_to_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
