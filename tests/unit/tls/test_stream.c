/* An established session as a stream: ready bits, short writes, ends told apart, and every call that can fail failing.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/sys.h"
#include "base/sys_torture.h"
#include "pair.h"
#include "tls/worker.h"

enum { BIG = 3 << 20 };

static struct tls_layer *server, *client;

static int set_up_version(void **state, enum tls_version version)
{
    if (pair_set_up(state) < 0)
        return -1;
    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    c.version_max = version;
    server = server_layer(0, &s);
    client = client_layer(1, &c, "a.example");
    return 0;
}

static int set_up_13(void **state)
{
    return set_up_version(state, TLS_VERSION_1_3);
}

static int set_up_12(void **state)
{
    return set_up_version(state, TLS_VERSION_1_2);
}

static int tear_down(void **state)
{
    tls_layer_drop(server);
    tls_layer_drop(client);
    return pair_tear_down(state);
}

static unsigned char byte_at(size_t at)
{
    return (unsigned char)(at * 31 + at / 251 + at / 65537);
}

/* Sends in odd pieces, reads in odd pieces, with the kernel's buffers full most of the time. */
static void carry(struct transport *from, struct transport *to, size_t total)
{
    static unsigned char data[BIG], got[70000];
    size_t sent = 0, received = 0;
    uint32_t dice = 7;

    for (size_t i = 0; i < total; i++)
        data[i] = byte_at(i);
    while (received < total) {
        while (sent < total && (from->io.ready & IO_WRITABLE)) {
            struct iovec iov[64];
            int count = 0;
            size_t at = sent;
            for (; count < 1 + (int)(dice % 64) && at < total; count++) {
                dice = dice * 1103515245 + 12345;
                size_t len = MIN((size_t)(dice >> 8) % (dice & 1 ? 40000 : 300), total - at);
                iov[count] = (struct iovec){ data + at, len };
                at += len;
            }
            if (at == sent)
                continue;
            ssize_t n = transport_sendv(from, iov, count, false);
            if (n == -EAGAIN)
                break;
            assert_true(n > 0);
            sent += (size_t)n;
        }
        while (to->io.ready & IO_READABLE) {
            dice = dice * 1103515245 + 12345;
            ssize_t n = transport_recv(to, got, 1 + (dice >> 8) % sizeof(got));
            if (n == -EAGAIN)
                break;
            assert_true(n > 0);
            for (ssize_t i = 0; i < n; i++)
                if (got[i] != byte_at(received + (size_t)i))
                    fail_msg("byte %zu differs", received + (size_t)i);
            received += (size_t)n;
        }
        if (received < total)
            loop_turn(&loop, 1000);
    }
    assert_int_equal(sent, total);
}

static void no_byte_is_lost_however_writes_and_reads_are_cut(void **state)
{
    struct pair p;
    int small = 4096;

    pair_connect(&p, server, client);
    assert_int_equal(setsockopt(p.server.t.io.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    carry(&p.server.t, &p.client.t, BIG);
    carry(&p.client.t, &p.server.t, BIG / 2);
    carry(&p.server.t, &p.client.t, 1);
    pair_close(&p);
}

static void readable_stays_while_decrypted_bytes_are_left(void **state)
{
    char text[1000] = "x", got[1000];
    struct iovec iov = { text, sizeof(text) };
    struct pair p;

    pair_connect(&p, server, client);
    for (int i = 0; i < 3; i++)
        assert_int_equal(transport_sendv(&p.client.t, &iov, 1, false), sizeof(text));
    assert_int_equal(receive(&p.server.t, got, 10), 10);
    size_t rest = 3 * sizeof(text) - 10;
    while (rest > 0) {
        assert_true(p.server.t.io.ready & IO_READABLE); /* without a turn of the loop */
        ssize_t n = transport_recv(&p.server.t, got, 77);
        assert_true(n > 0);
        rest -= (size_t)n;
    }
    if (p.server.t.io.ready & IO_READABLE)
        assert_int_equal(transport_recv(&p.server.t, got, 77), -EAGAIN);
    assert_false(p.server.t.io.ready & IO_READABLE);
    pair_close(&p);
}

static void close_notify_is_an_end_and_a_bare_fin_is_not(void **state)
{
    char got[8];
    struct pair p;

    pair_connect(&p, server, client);
    pair_say(&p.client.t, &p.server.t, "last");
    p.client.t.ops->shutdown(&p.client.t);
    assert_int_equal(receive(&p.server.t, got, sizeof(got)), 0);
    pair_say(&p.server.t, &p.client.t, "the other half goes on");
    p.server.t.ops->shutdown(&p.server.t);
    assert_int_equal(receive(&p.client.t, got, sizeof(got)), 0);
    pair_close(&p);

    pair_connect(&p, server, client);
    pair_say(&p.client.t, &p.server.t, "last");
    shutdown(p.client.t.io.fd, SHUT_WR);
    assert_int_equal(receive(&p.server.t, got, sizeof(got)), -ECONNRESET);
    assert_int_equal(transport_recv(&p.server.t, got, sizeof(got)), -ECONNRESET);
    pair_close(&p);
}

static void an_end_behind_bytes_comes_after_them(void **state)
{
    struct iovec iov = { (char *)"bye", 3 };
    char got[8];
    struct pair p;

    pair_connect(&p, server, client);
    assert_int_equal(transport_sendv(&p.server.t, &iov, 1, false), 3);
    p.server.t.ops->shutdown(&p.server.t);
    assert_int_equal(receive(&p.client.t, got, 2), 2);
    assert_int_equal(receive(&p.client.t, got, 2), 1);
    assert_int_equal(receive(&p.client.t, got, 2), 0);
    pair_close(&p);
}

static void bytes_that_were_changed_on_the_way_are_an_error(void **state)
{
    static const unsigned char forged[] = { 23, 3,  3,  0,  20, 1,  2,  3,  4,  5,  6,  7, 8,
                                            9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 };
    char got[8];
    struct pair p;

    pair_connect(&p, server, client);
    pair_say(&p.client.t, &p.server.t, "well");
    assert_int_equal(send(p.client.t.io.fd, forged, sizeof(forged), 0), sizeof(forged));
    assert_int_equal(receive(&p.server.t, got, sizeof(got)), -EPROTO);
    assert_int_equal(transport_sendv(&p.server.t, &(struct iovec){ got, 1 }, 1, false), -EPROTO);
    pair_close(&p);
}

static void keys_are_renewed_and_padding_is_taken_off(void **state)
{
    struct pair p;

    pair_connect(&p, server, client);
    assert_null(tls_session_of(&p.server.t)->ssl); /* its records are ours */
    SSL *ssl = tls_session_of(&p.client.t)->ssl;
    assert_int_equal(SSL_set_block_padding(ssl, 512), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(ssl, i == 1 ? SSL_KEY_UPDATE_NOT_REQUESTED : SSL_KEY_UPDATE_REQUESTED), 1);
        pair_say(&p.client.t, &p.server.t, "with a new key");
        pair_say(&p.server.t, &p.client.t, "with a new key as well");
        pair_say(&p.server.t, &p.client.t, "and again");
    }
    pair_close(&p);
}

/* A whole life: true when it went as if nothing had failed. */
static bool live(void)
{
    struct pair p;
    char got[16];
    struct iovec iov = { (char *)"hello", 5 };
    bool well = try_connect(&p, server, client) && p.server.established == 0 && p.client.established == 0;

    if (well && transport_sendv(&p.client.t, &iov, 1, false) == 5) {
        ssize_t n = try_receive(&p.server.t, got, sizeof(got));
        well = n == 5 && memcmp(got, "hello", 5) == 0;
        if (n > 0 && !well)
            fail_msg("other bytes than were sent");
        p.client.t.ops->shutdown(&p.client.t);
    } else {
        well = false;
    }
    close_tried(&p);
    return well;
}

static void every_call_that_can_fail_fails_cleanly(void **state)
{
    uint64_t n, failed = 0;

    assert_true(live());
    assert_true(live()); /* resumed now */
    for (n = 1;; n++) {
        sys_torture_arm(n);
        bool well = live();
        uint64_t calls = sys_torture_calls();
        sys_torture_arm(0);
        loop_turn(&loop, 0);
        assert_int_equal(memory.held_bytes, 0);
        if (calls < n)
            break;
        failed += !well;
    }
    sys_torture_disarm();
    assert_true(failed > 20);
    assert_true(live());
}

#define BOTH(name)                                                                                                     \
    cmocka_unit_test_setup_teardown(name, set_up_13, tear_down),                                                       \
        cmocka_unit_test_setup_teardown(name, set_up_12, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_are_renewed_and_padding_is_taken_off, set_up_13, tear_down),
        BOTH(no_byte_is_lost_however_writes_and_reads_are_cut),
        BOTH(readable_stays_while_decrypted_bytes_are_left),
        BOTH(close_notify_is_an_end_and_a_bare_fin_is_not),
        BOTH(an_end_behind_bytes_comes_after_them),
        BOTH(bytes_that_were_changed_on_the_way_are_an_error),
        BOTH(every_call_that_can_fail_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, certificates_begin, certificates_end);
}
