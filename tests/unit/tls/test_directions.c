/*
 * The two directions of a session: both at once with new keys all the time, and one that is over or dead while the
 * other goes on.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/sys.h"
#include "pair.h"
#include "tls/worker.h"

enum { BODY = 2 << 20, CHUNK = 50000, UPDATES_IN_A_ROW = 30 };

static struct tls_layer *server, *client;
static struct pair pair;

static void make_layers(enum tls_version version, const char *suites)
{
    struct tls_settings s = server_settings("a"), c = client_settings();

    c.version_max = version;
    c.ciphersuites = suites;
    server = server_layer(0, &s);
    client = client_layer(1, &c, "a.example");
    pair_connect(&pair, server, client);
}

static void drop_layers(void)
{
    pair_close(&pair);
    tls_layer_drop(server);
    tls_layer_drop(client);
}

static int set_up(void **state)
{
    int rc = pair_set_up(state);

    certificate_make("a", "ec", "DNS:a.example", NULL);
    return rc;
}

/* ---- both at once ---- */

struct stream {
    struct transport *from, *to;
    unsigned salt;
    size_t sent, received;
};

static unsigned char byte_at(const struct stream *s, size_t at)
{
    return (unsigned char)(at * 31 + at / 251 + at / 65537 + s->salt);
}

static void push(struct stream *s)
{
    static unsigned char data[CHUNK];
    size_t len = MIN(BODY - s->sent, sizeof(data));

    if (len == 0 || !(s->from->io.ready & IO_WRITABLE))
        return;
    for (size_t i = 0; i < len; i++)
        data[i] = byte_at(s, s->sent + i);
    ssize_t n = transport_sendv(s->from, &(struct iovec){ data, len }, 1, false);
    assert_true(n > 0 || n == -EAGAIN);
    s->sent += n > 0 ? (size_t)n : 0;
}

static void pull(struct stream *s)
{
    static unsigned char got[3 * CHUNK];

    if (!(s->to->io.ready & IO_READABLE))
        return;
    ssize_t n = transport_recv(s->to, got, sizeof(got));
    assert_true(n > 0 || n == -EAGAIN);
    for (ssize_t i = 0; i < n; i++)
        if (got[i] != byte_at(s, s->received + (size_t)i))
            fail_msg("byte %zu differs", s->received + (size_t)i);
    s->received += n > 0 ? (size_t)n : 0;
}

/* The client's library sends them at once, each in a record of its own. */
static void update_keys(int count, int kind)
{
    struct tls_session *s = tls_session_of(&pair.client.t);

    s->t = &pair.client.t;
    for (int i = 0; i < count; i++) {
        assert_int_equal(SSL_key_update(s->ssl, kind), 1);
        assert_int_equal(SSL_do_handshake(s->ssl), 1);
    }
    assert_true(tls_wire_flush(s, 0) >= 0);
}

static void exchange_bodies(void)
{
    struct stream streams[] = { { &pair.client.t, &pair.server.t, 1, 0, 0 },
                                { &pair.server.t, &pair.client.t, 2, 0, 0 } };
    int small = 4096, rounds = 0;

    assert_int_equal(setsockopt(pair.server.t.io.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    assert_int_equal(setsockopt(pair.client.t.io.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    while (streams[0].received < BODY || streams[1].received < BODY) {
        size_t before = streams[0].received;
        for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
            push(&streams[i]);
            pull(&streams[i]);
        }
        if (streams[0].sent < BODY && streams[0].received > before) /* data lies between two bursts */
            update_keys(rounds % 5 == 0 ? UPDATES_IN_A_ROW / 2 : 1,
                        rounds % 3 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
        rounds++;
        loop_turn(&loop, streams[0].received == before ? 20 : 0);
    }
}

static void keys_change_all_the_time_and_no_byte_is_lost_in_either_direction(void **state)
{
    static const char *const suites[] = { "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                          "TLS_CHACHA20_POLY1305_SHA256" };

    for (size_t i = 0; i < ARRAY_LEN(suites); i++) {
        make_layers(TLS_VERSION_1_3, suites[i]);
        assert_null(tls_session_of(&pair.server.t)->ssl); /* its records are ours */
        assert_string_equal(SSL_get_cipher(tls_session_of(&pair.client.t)->ssl), suites[i]);
        exchange_bodies();
        drop_layers();
    }
}

/* ---- one is dead ---- */

static ssize_t try_send(struct transport *t)
{
    return transport_sendv(t, &(struct iovec){ (char *)"x", 1 }, 1, false);
}

/* Nothing may go with the old key, as its numbers were used, nor the update itself. */
static void a_direction_without_its_next_key_is_dead_and_the_other_goes_on(void **state)
{
    static const unsigned char forged[5 + 17] = { 23, 3, 3, 0, 17 };
    char got[8];

    make_layers(TLS_VERSION_1_3, "TLS_AES_128_GCM_SHA256");
    pair_say(&pair.server.t, &pair.client.t, "well");
    update_keys(1, SSL_KEY_UPDATE_REQUESTED);
    pair_say(&pair.client.t, &pair.server.t, "take it");
    size_t size = workers[0]->hashes[0].size;
    workers[0]->hashes[0].size = 1; /* no key can be derived */
    assert_int_equal(try_send(&pair.server.t), -ENOMEM);
    workers[0]->hashes[0].size = size;
    assert_int_equal(try_send(&pair.server.t), -ENOMEM);
    pair_say(&pair.client.t, &pair.server.t, "still heard");
    assert_int_equal(send(pair.client.t.io.fd, forged, sizeof(forged), 0), sizeof(forged));
    assert_int_equal(receive(&pair.server.t, got, sizeof(got)), -EPROTO);
    pair.server.t.ops->shutdown(&pair.server.t);
    assert_int_equal(receive(&pair.client.t, got, sizeof(got)), -ECONNRESET); /* neither an alert nor close_notify */
    drop_layers();
}

static void what_cannot_be_read_any_more_does_not_stop_what_is_sent(void **state)
{
    char got[8];

    make_layers(TLS_VERSION_1_3, "TLS_AES_128_GCM_SHA256");
    size_t size = workers[0]->hashes[0].size;
    update_keys(1, SSL_KEY_UPDATE_NOT_REQUESTED);
    workers[0]->hashes[0].size = 1;
    assert_int_equal(receive(&pair.server.t, got, sizeof(got)), -ENOMEM);
    workers[0]->hashes[0].size = size;
    assert_int_equal(transport_recv(&pair.server.t, got, sizeof(got)), -ENOMEM);
    pair_say(&pair.server.t, &pair.client.t, "still said");
    drop_layers();
}

/* A service that refuses a body early answers and closes: the answer lies there when sending fails. */
static void an_answer_is_read_after_a_write_has_failed(void **state)
{
    static char body[100000];
    char got[8];
    ssize_t n;

    for (int v = 0; v < 2; v++) {
        make_layers(v ? TLS_VERSION_1_2 : TLS_VERSION_1_3, NULL);
        pair_say(&pair.client.t, &pair.server.t, "head");
        assert_int_equal(try_send(&pair.client.t), 1); /* is never read: the close is a reset */
        assert_int_equal(transport_sendv(&pair.server.t, &(struct iovec){ (char *)"413", 3 }, 1, false), 3);
        transport_close(&pair.server.t);
        pair.server.t.io.fd = -1;
        loop_turn(&loop, 0);
        do {
            n = transport_sendv(&pair.client.t, &(struct iovec){ body, sizeof(body) }, 1, false);
        } while (n > 0);
        assert_true(n < 0 && n != -EAGAIN);
        assert_int_equal(receive(&pair.client.t, got, sizeof(got)), 3);
        assert_memory_equal(got, "413", 3);
        assert_true(receive(&pair.client.t, got, sizeof(got)) < 0);
        assert_int_equal(transport_sendv(&pair.client.t, &(struct iovec){ body, 1 }, 1, false), n);
        drop_layers();
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, pair_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(keys_change_all_the_time_and_no_byte_is_lost_in_either_direction),
        TEST(a_direction_without_its_next_key_is_dead_and_the_other_goes_on),
        TEST(what_cannot_be_read_any_more_does_not_stop_what_is_sent),
        TEST(an_answer_is_read_after_a_write_has_failed),
    };

    return cmocka_run_group_tests(tests, certificates_begin, certificates_end);
}
