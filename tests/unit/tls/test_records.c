/*
 * Records as no sound client makes them, against a server's record layer: the test has the client's secret from its key
 * log and seals what it likes.  Each is refused with the alert that RFC 8446 names, or is harmless.
 */
#include <errno.h>
#include <sys/socket.h>

#include <openssl/err.h>

#include "base/assert.h"
#include "base/sys.h"
#include "pair.h"
#include "tls/worker.h"

enum { INNER_LIMIT = 16385, ALERT_NONE = -1 };

static struct tls_layer *server, *client;
static struct pair pair;
static unsigned char secret[32];
static uint64_t sequence;
static int alert;

static void on_line(const SSL *ssl, const char *line)
{
    static const char label[] = "CLIENT_TRAFFIC_SECRET_0 ";
    const char *hex = strrchr(line, ' ') + 1;

    if (strncmp(line, label, sizeof(label) - 1) != 0)
        return;
    for (size_t i = 0; i < sizeof(secret); i++)
        assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &secret[i]), 1);
}

static void on_info(const SSL *ssl, int where, int what)
{
    if (where & SSL_CB_ALERT && where & SSL_CB_READ)
        alert = what & 255;
}

static int set_up(void **state)
{
    if (pair_set_up(state) < 0)
        return -1;
    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    c.ciphersuites = "TLS_AES_128_GCM_SHA256";
    server = server_layer(0, &s);
    client = client_layer(1, &c, "a.example");
    SSL_CTX_set_keylog_callback(client->context->sets[0], on_line);
    return 0;
}

static int tear_down(void **state)
{
    tls_layer_drop(server);
    tls_layer_drop(client);
    return pair_tear_down(state);
}

static void begin(void)
{
    pair_connect(&pair, server, client);
    SSL_set_info_callback(tls_session_of(&pair.client.t)->ssl, on_info);
    sequence = 0;
    alert = ALERT_NONE;
}

static void end(void)
{
    pair_close(&pair);
}

static void send_raw(const unsigned char *at, size_t len)
{
    assert_int_equal(send(pair.client.t.io.fd, at, len, 0), len);
}

/* Seals the inner plaintext, as it is, with the key of now. */
static size_t seal(const unsigned char *inner, size_t len, unsigned char *to)
{
    struct slice from = { (const char *)secret, sizeof(secret) };
    struct tls_hash *sha256 = &workers[1]->hashes[0];
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    unsigned char key[16], iv[12];
    int n;

    assert_true(tls_expand(sha256, from, SLICE("key"), SLICE_EMPTY, key, sizeof(key)));
    assert_true(tls_expand(sha256, from, SLICE("iv"), SLICE_EMPTY, iv, sizeof(iv)));
    for (int i = 0; i < 8; i++)
        iv[11 - i] ^= (unsigned char)(sequence >> 8 * i);
    sequence++;
    memcpy(to, (unsigned char[]){ 23, 3, 3, (unsigned char)((len + 16) >> 8), (unsigned char)(len + 16) }, 5);
    assert_int_equal(EVP_EncryptInit_ex2(c, workers[1]->record_ciphers[0], key, iv, NULL), 1);
    assert_int_equal(EVP_EncryptUpdate(c, NULL, &n, to, 5), 1);
    assert_int_equal(EVP_EncryptUpdate(c, to + 5, &n, inner, (int)len), 1);
    assert_int_equal(EVP_EncryptFinal_ex(c, to + 5 + n, &n), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, to + 5 + len), 1);
    EVP_CIPHER_CTX_free(c);
    return 5 + len + 16;
}

static void say(const void *inner, size_t len)
{
    static unsigned char record[5 + INNER_LIMIT + 512 + 16];

    send_raw(record, seal(inner, len, record));
}

/* What the server makes of it, and the alert that its client reads then. */
static void assert_refused(int expected)
{
    char got[64];

    assert_int_equal(receive(&pair.server.t, got, sizeof(got)), -EPROTO);
    assert_int_equal(transport_recv(&pair.server.t, got, sizeof(got)), -EPROTO);
    assert_true(receive(&pair.client.t, got, sizeof(got)) < 0);
    assert_int_equal(alert, expected);
    end();
}

static void assert_text(const char *expected)
{
    char got[64];

    assert_int_equal(receive(&pair.server.t, got, sizeof(got)), strlen(expected));
    assert_memory_equal(got, expected, strlen(expected));
}

/* ---- */

static void what_has_no_place_in_a_record_is_refused(void **state)
{
    static const struct {
        const char *inner; /* the last byte is the type */
        size_t len;
        int alert;
    } cases[] = {
        { "\0\0\0", 3, SSL_AD_UNEXPECTED_MESSAGE },                     /* padding alone */
        { "\1\24", 2, SSL_AD_UNEXPECTED_MESSAGE },                      /* ChangeCipherSpec */
        { "x\143", 2, SSL_AD_UNEXPECTED_MESSAGE },                      /* a type that there is not */
        { "\1\25", 2, SSL_AD_DECODE_ERROR },                            /* half an alert */
        { "\1\0\1\0\25", 5, SSL_AD_DECODE_ERROR },                      /* two */
        { "\26", 1, SSL_AD_UNEXPECTED_MESSAGE },                        /* no message at all */
        { "\30\0\0\1\26", 5, SSL_AD_UNEXPECTED_MESSAGE },               /* a part of a KeyUpdate */
        { "\30\0\0\1\2\26", 6, SSL_AD_ILLEGAL_PARAMETER },              /* that asks for what there is not */
        { "\30\0\0\2\0\0\26", 7, SSL_AD_UNEXPECTED_MESSAGE },           /* that is too long */
        { "\30\0\0\1\0\30\0\0\1\0\26", 11, SSL_AD_UNEXPECTED_MESSAGE }, /* two under one key */
        { "\1\0\0\0\26", 5, SSL_AD_UNEXPECTED_MESSAGE },                /* a ClientHello */
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        begin();
        say(cases[i].inner, cases[i].len);
        assert_refused(cases[i].alert);
    }
}

static void headers_are_judged_before_records_are_complete(void **state)
{
    static const struct {
        unsigned char header[5];
        int alert;
    } cases[] = {
        { { 23, 3, 3, 0x41, 0x01 }, SSL_AD_RECORD_OVERFLOW }, /* 2^14 + 257 */
        { { 23, 3, 3, 0, 16 }, SSL_AD_BAD_RECORD_MAC },       /* a tag of nothing */
        { { 22, 3, 3, 0, 40 }, SSL_AD_UNEXPECTED_MESSAGE },   /* in clear */
        { { 20, 3, 3, 0, 1 }, SSL_AD_UNEXPECTED_MESSAGE },    { { 21, 3, 3, 0, 2 }, SSL_AD_UNEXPECTED_MESSAGE },
        { { 23, 3, 1, 0, 40 }, SSL_AD_UNEXPECTED_MESSAGE },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        begin();
        send_raw(cases[i].header, 5);
        assert_refused(cases[i].alert);
    }
}

static void a_record_may_be_full_and_not_fuller(void **state)
{
    static unsigned char inner[INNER_LIMIT + 255], got[INNER_LIMIT];

    memset(inner, 'x', sizeof(inner));
    begin();
    inner[INNER_LIMIT - 1] = SSL3_RT_APPLICATION_DATA;
    say(inner, INNER_LIMIT);
    assert_int_equal(receive(&pair.server.t, got, sizeof(got)), INNER_LIMIT - 1);
    assert_memory_equal(got, inner, INNER_LIMIT - 1);
    memset(inner + 1, 0, INNER_LIMIT);
    inner[1] = SSL3_RT_APPLICATION_DATA;
    say(inner, INNER_LIMIT); /* one byte, the rest is padding */
    assert_int_equal(receive(&pair.server.t, got, sizeof(got)), 1);
    memset(inner, 0, sizeof(inner));
    inner[0] = 'x';
    inner[1] = SSL3_RT_APPLICATION_DATA;
    say(inner, INNER_LIMIT + 1); /* padding counts, RFC 8446 5.4 */
    assert_refused(SSL_AD_RECORD_OVERFLOW);
    begin();
    say(inner, INNER_LIMIT + 239); /* as much as a header can say */
    assert_refused(SSL_AD_RECORD_OVERFLOW);
}

static void a_record_is_taken_once_in_its_place_and_unchanged(void **state)
{
    static const unsigned char inner[] = { 'h', 'i', SSL3_RT_APPLICATION_DATA };
    unsigned char record[64];

    begin();
    size_t len = seal(inner, sizeof(inner), record);
    send_raw(record, len);
    assert_text("hi");
    send_raw(record, len); /* again */
    assert_refused(SSL_AD_BAD_RECORD_MAC);
    begin();
    sequence = 1; /* the first was lost */
    say(inner, sizeof(inner));
    assert_refused(SSL_AD_BAD_RECORD_MAC);
    for (size_t at = 5; at < len; at++) {
        begin();
        (void)seal(inner, sizeof(inner), record);
        record[at] ^= 0x40;
        send_raw(record, len);
        assert_refused(SSL_AD_BAD_RECORD_MAC);
    }
}

static const unsigned char hi[] = { 'h', 'i', SSL3_RT_APPLICATION_DATA };

/* The client's key of now is followed by the next one. */
static void turn_key(void)
{
    unsigned char next[32];

    assert_true(tls_expand(&workers[1]->hashes[0], slice_make((const char *)secret, sizeof(secret)),
                           SLICE("traffic upd"), SLICE_EMPTY, next, sizeof(next)));
    memcpy(secret, next, sizeof(secret));
    sequence = 0;
}

static void the_key_is_another_after_each_update_and_numbers_begin_again(void **state)
{
    begin();
    for (int i = 0; i < 3; i++) {
        say("\30\0\0\1\0\26", 6);
        turn_key();
        say(hi, sizeof(hi));
        assert_text("hi");
    }
    say("\30\0\0\1\0\26", 6);
    say(hi, sizeof(hi)); /* with the key of before */
    assert_refused(SSL_AD_BAD_RECORD_MAC);
}

static void key_updates_in_a_row_are_bounded_and_answered_by_one(void **state)
{
    enum { UPDATE_RECORD = 5 + 5 + 1 + 16, HI_RECORD = 5 + 2 + 1 + 16 };
    struct iovec iov = { (char *)"hi", 2 };
    char got[256];

    begin();
    pair_say(&pair.server.t, &pair.client.t, "the ticket goes in front of this");
    for (int i = 0; i < 32; i++) {
        say("\30\0\0\1\1\26", 6); /* update_requested */
        turn_key();
    }
    say(hi, sizeof(hi));
    assert_text("hi");
    assert_int_equal(transport_sendv(&pair.server.t, &iov, 1, false), 2);
    while (recv(pair.client.t.io.fd, got, sizeof(got), MSG_PEEK) < UPDATE_RECORD + HI_RECORD)
        loop_turn(&loop, 50);
    assert_int_equal(recv(pair.client.t.io.fd, got, sizeof(got), MSG_PEEK), UPDATE_RECORD + HI_RECORD);
    assert_int_equal(receive(&pair.client.t, got, sizeof(got)), 2); /* with the key of after */
    for (int i = 0; i < 33; i++) {
        say("\30\0\0\1\1\26", 6);
        turn_key();
    }
    assert_refused(SSL_AD_UNEXPECTED_MESSAGE);
}

/* Data, a new key, data, nothing, padding and data: with its length. */
static size_t make_stream(unsigned char *to)
{
    size_t len = seal(hi, sizeof(hi), to);

    len += seal((const unsigned char *)"\30\0\0\1\1\26", 6, to + len);
    turn_key();
    len += seal(hi, sizeof(hi), to + len);
    len += seal((const unsigned char *)"\27", 1, to + len);
    return len + seal((const unsigned char *)"ho\27\0\0\0", 6, to + len);
}

/* What there is to read now: the kernel has it all. */
static size_t take_all(char *got, size_t room)
{
    size_t len = 0;
    ssize_t n;

    loop_turn(&loop, 0);
    while ((n = transport_recv(&pair.server.t, got + len, room - len)) > 0)
        len += (size_t)n;
    assert_int_equal(n, -EAGAIN);
    return len;
}

static void a_stream_may_be_cut_between_any_two_bytes(void **state)
{
    unsigned char stream[256];
    char got[16];
    size_t total = 1;

    for (size_t cut = 1; cut < total; cut++) {
        begin();
        total = make_stream(stream);
        send_raw(stream, cut);
        size_t len = take_all(got, sizeof(got));
        send_raw(stream + cut, total - cut);
        while (len < 6)
            len += take_all(got + len, sizeof(got) - len);
        assert_memory_equal(got, "hihiho", 6);
        end();
    }
    begin();
    total = make_stream(stream);
    size_t len = 0;
    for (size_t at = 0; at < total; at++) {
        send_raw(stream + at, 1);
        len += take_all(got + len, sizeof(got) - len);
    }
    while (len < 6)
        len += take_all(got + len, sizeof(got) - len);
    assert_memory_equal(got, "hihiho", 6);
    end();
}

static void what_came_before_a_forged_record_is_given_and_nothing_behind_it(void **state)
{
    unsigned char records[128];
    char got[16];

    for (int wide = 0; wide < 2; wide++) {
        begin();
        size_t first = seal(hi, sizeof(hi), records), total = first + seal(hi, sizeof(hi), records + first);
        records[total - 1] ^= 1;
        total += seal(hi, sizeof(hi), records + total);
        send_raw(records, total);
        if (wide) {
            assert_int_equal(receive(&pair.server.t, got, sizeof(got)), 2);
        } else {
            assert_int_equal(receive(&pair.server.t, got, 1), 1);
            assert_int_equal(receive(&pair.server.t, got + 1, 1), 1);
        }
        assert_memory_equal(got, "hi", 2);
        assert_refused(SSL_AD_BAD_RECORD_MAC);
    }
}

static void records_without_data_are_taken_for_a_while(void **state)
{
    static const unsigned char inner[] = { 'h', 'i', SSL3_RT_APPLICATION_DATA };

    begin();
    for (int round = 0; round < 2; round++) { /* data in between counts */
        for (int i = 0; i < 32; i++)
            say(i % 2 ? "\27" : "\1\132\25", i % 2 ? 1 : 3); /* empty, user_canceled */
        say(inner, sizeof(inner));
        assert_text("hi");
    }
    for (int i = 0; i < 33; i++)
        say("\27", 1);
    assert_refused(SSL_AD_UNEXPECTED_MESSAGE);
}

static void after_close_notify_nothing_is_read_and_all_can_be_sent(void **state)
{
    static const unsigned char inner[] = { 'h', 'i', SSL3_RT_APPLICATION_DATA };
    char got[8];

    begin();
    say("\1\0\25", 3);
    say(inner, sizeof(inner));
    assert_int_equal(receive(&pair.server.t, got, sizeof(got)), 0);
    assert_int_equal(transport_recv(&pair.server.t, got, sizeof(got)), 0);
    pair_say(&pair.server.t, &pair.client.t, "still said");
    end();
}

static void an_alert_ends_both_directions(void **state)
{
    char got[8];

    begin();
    say("\2\50\25", 3); /* handshake_failure */
    assert_int_equal(receive(&pair.server.t, got, sizeof(got)), -EPROTO);
    assert_int_equal(transport_sendv(&pair.server.t, &(struct iovec){ got, 1 }, 1, false), -EPROTO);
    end();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_has_no_place_in_a_record_is_refused),
        TEST(headers_are_judged_before_records_are_complete),
        TEST(a_record_may_be_full_and_not_fuller),
        TEST(a_record_is_taken_once_in_its_place_and_unchanged),
        TEST(the_key_is_another_after_each_update_and_numbers_begin_again),
        TEST(key_updates_in_a_row_are_bounded_and_answered_by_one),
        TEST(a_stream_may_be_cut_between_any_two_bytes),
        TEST(what_came_before_a_forged_record_is_given_and_nothing_behind_it),
        TEST(records_without_data_are_taken_for_a_while),
        TEST(after_close_notify_nothing_is_read_and_all_can_be_sent),
        TEST(an_alert_ends_both_directions),
    };

    return cmocka_run_group_tests(tests, certificates_begin, certificates_end);
}
