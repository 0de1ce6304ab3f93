/* What both ends agree on, which certificate is shown, and what is told of a handshake that fails. */
#include <errno.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/sys.h"
#include "pair.h"

/* One connection between layers made for it. */
static void connect_once(struct pair *p, const struct tls_settings *server, const struct tls_settings *client,
                         const char *name)
{
    struct tls_layer *s = server_layer(0, server), *c = client_layer(1, client, name);

    pair_connect(p, s, c);
    tls_layer_drop(s);
    tls_layer_drop(c);
}

static void both_ends_agree_and_know_what_on(void **state)
{
    struct pair p;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    connect_once(&p, &s, &c, "A.example");
    assert_int_equal(p.server.established, 0);
    assert_int_equal(p.client.established, 0);
    for (int i = 0; i < 2; i++) {
        const struct conn_facts *f = i ? p.client.t.facts : p.server.t.facts;
        assert_true(f->secure);
        assert_false(f->resumed);
        assert_true(text_is(f->version, "TLSv1.3"));
        assert_true(text_is(f->cipher, "TLS_AES_128_GCM_SHA256"));
        assert_true(text_is(f->alpn, "h2"));
    }
    assert_true(text_is(p.server.t.facts->sni, "a.example"));
    assert_int_equal(p.server.t.facts->proof, PROOF_NONE);
    pair_say(&p.client.t, &p.server.t, "hello");
    pair_say(&p.server.t, &p.client.t, "good day");
    pair_close(&p);
}

static void tls_1_2_is_spoken_with_forward_secrecy(void **state)
{
    struct pair p;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    c.version_max = TLS_VERSION_1_2;
    connect_once(&p, &s, &c, "a.example");
    assert_true(text_is(p.server.t.facts->version, "TLSv1.2"));
    assert_true(text_is(p.server.t.facts->cipher, "ECDHE-ECDSA-AES128-GCM-SHA256"));
    pair_say(&p.client.t, &p.server.t, "hello");
    pair_say(&p.server.t, &p.client.t, "good day");
    pair_close(&p);
}

static void versions_that_do_not_meet_fail_on_both_sides(void **state)
{
    struct pair p;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    s.version_min = TLS_VERSION_1_3;
    c.version_max = TLS_VERSION_1_2;
    connect_once(&p, &s, &c, "a.example");
    assert_int_equal(p.server.established, -ERR_HANDSHAKE_FAILED);
    assert_int_equal(p.server.reason, TLS_REASON_VERSION);
    assert_int_equal(p.client.established, -ERR_TLS_FAILED);
    assert_int_equal(p.client.reason, TLS_REASON_VERSION);
    pair_close(&p);
}

static void no_protocol_in_common_is_an_alert_of_its_own(void **state)
{
    static const char *const other[] = { "imap" };
    struct pair p;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    c.alpn = (struct tls_texts){ other, 1 };
    connect_once(&p, &s, &c, "a.example");
    assert_int_equal(p.server.reason, TLS_REASON_ALPN);
    assert_int_equal(p.client.reason, TLS_REASON_ALPN);
    pair_close(&p);
    c.alpn.count = 0; /* who speaks no ALPN is served */
    connect_once(&p, &s, &c, "a.example");
    assert_int_equal(p.server.established, 0);
    assert_int_equal(p.server.t.facts->alpn.len, 0);
    pair_close(&p);
}

static void the_name_chooses_the_certificate(void **state)
{
    static const struct {
        const char *name, *file; /* of the authority's certificate that the client trusts: the very one */
    } cases[] = {
        { "b.example", "b" }, { "B.EXAMPLE", "b" },       { "x.wild.example", "wild" }, { "exact.wild.example", "b" },
        { "a.example", "a" }, { "unknown.example", "a" }, { "wild.example", "a" },      { "x.y.wild.example", "a" },
    };
    struct pair p;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    certificate_make("b", "ec", "DNS:b.example,DNS:exact.wild.example", NULL);
    certificate_make("wild", "ec", "DNS:*.wild.example", NULL);
    struct tls_settings s = server_settings("a b wild"), c = client_settings();
    struct tls_layer *server = server_layer(0, &s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        c.ca_file = certificate_path(cases[i].file, ".pem"); /* nothing but this certificate is trusted */
        struct tls_layer *client = client_layer(1, &c, cases[i].name);
        pair_connect(&p, server, client);
        bool named = i < 5;
        if ((named ? p.client.established != 0 : p.client.reason != TLS_REASON_NAME))
            fail_msg("%s: %d %s", cases[i].name, p.client.established, p.client.failure);
        tls_layer_drop(client);
        pair_close(&p);
    }
    tls_layer_drop(server);
}

static void the_kind_of_key_follows_what_the_client_can_do(void **state)
{
    static const char *const ciphers[] = { "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256" };
    struct pair p;

    certificate_make("both-rsa", "rsa", "DNS:both.example", NULL);
    certificate_make("both-ec", "ec", "DNS:both.example", NULL);
    struct tls_settings s = server_settings("both-rsa both-ec"), c = client_settings();
    c.version_max = TLS_VERSION_1_2;
    for (int i = 0; i < 2; i++) {
        c.ciphers = ciphers[i];
        connect_once(&p, &s, &c, "both.example");
        assert_int_equal(p.client.established, 0);
        assert_true(text_is(p.client.t.facts->cipher, ciphers[i]));
        pair_close(&p);
    }
}

static void a_client_says_what_is_wrong_with_a_certificate(void **state)
{
    struct pair p;

    certificate_make("ip", "ec", "DNS:a.example,IP:127.0.0.1", NULL);
    certificate_make("stranger", "ec", "DNS:a.example", "other-ca");
    certificate_make_expired("old", "DNS:a.example");
    struct tls_settings good = server_settings("ip"), c = client_settings();
    connect_once(&p, &good, &c, "b.example");
    assert_int_equal(p.client.established, -ERR_TLS_FAILED);
    assert_int_equal(p.client.reason, TLS_REASON_NAME);
    assert_int_equal(p.server.reason, TLS_REASON_ALERT);
    pair_close(&p);
    connect_once(&p, &good, &c, "127.0.0.1");
    assert_int_equal(p.client.established, 0);
    assert_int_equal(p.server.t.facts->sni.len, 0);
    pair_close(&p);
    connect_once(&p, &good, &c, "127.0.0.2");
    assert_int_equal(p.client.reason, TLS_REASON_NAME);
    pair_close(&p);
    struct tls_settings stranger = server_settings("stranger");
    connect_once(&p, &stranger, &c, "a.example");
    assert_int_equal(p.client.reason, TLS_REASON_AUTHORITY);
    pair_close(&p);
    struct tls_settings old = server_settings("old");
    connect_once(&p, &old, &c, "a.example");
    assert_int_equal(p.client.reason, TLS_REASON_EXPIRED);
    assert_non_null(strstr(p.client.failure, "expired"));
    pair_close(&p);
    c.insecure = true;
    connect_once(&p, &old, &c, "");
    assert_int_equal(p.client.established, 0);
    pair_close(&p);
}

/* The common name is the target's, but it is none of the alternative names. */
static void a_service_is_not_known_by_its_common_name(void **state)
{
    struct pair p;

    certificate_make("common.example", "ec", "email:a@b.example", NULL);
    struct tls_settings s = server_settings("common.example"), c = client_settings();
    struct tls_layer *server = server_layer(0, &s), *client = client_layer(1, &c, "common.example");
    pair_connect(&p, server, client);
    assert_int_equal(p.client.established, -ERR_TLS_FAILED);
    assert_int_equal(p.client.reason, TLS_REASON_NAME);
    pair_close(&p);
    tls_layer_drop(server);
    tls_layer_drop(client);
}

static char changes[512];
static void on_change(void *user, const char *text)
{
    size_t len = strlen(changes);

    (void)snprintf(changes + len, sizeof(changes) - len, "%s;", text ? text : "well");
}

static void a_targets_trouble_is_told_once_and_its_end(void **state)
{
    struct pair p;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    certificate_make("b", "ec", "DNS:b.example,DNS:exact.wild.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    struct tls_layer *good = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
    s = server_settings("b");
    struct tls_layer *bad = server_layer(0, &s);
    struct tls_layer *servers[] = { good, bad, bad, good, good };
    client->on_change = on_change;
    changes[0] = '\0';
    for (int i = 0; i < 5; i++) {
        pair_connect(&p, servers[i], client);
        pair_close(&p);
    }
    assert_string_equal(changes, "hostname mismatch;well;");
    assert_int_equal(tls_worker_counters(workers[1])->failures[TLS_CLIENT][TLS_REASON_NAME], 2);
    tls_layer_drop(good);
    tls_layer_drop(bad);
    tls_layer_drop(client);
}

static void http_in_clear_is_recognised_and_can_be_answered(void **state)
{
    static const char *const texts[] = { "GET / HTTP/1.1\r\n", "DELETE /x HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n" };
    char got[8];

    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a");
    struct tls_layer *server = server_layer(0, &s);
    for (int i = 0; i < 3; i++) {
        struct end end;
        int peer = raw_connect(&end.t, server);
        assert_int_equal(write(peer, texts[i], strlen(texts[i])), strlen(texts[i]));
        assert_int_equal(establish_alone(&end.t), -ERR_PLAIN_HTTP);
        struct iovec iov = { (char *)"no", 2 };
        assert_int_equal(transport_sendv(&end.t, &iov, 1, false), 2);
        assert_int_equal(read(peer, got, sizeof(got)), 2);
        transport_close(&end.t);
        close(peer);
    }
    assert_int_equal(tls_worker_counters(workers[0])->failures[TLS_SERVER][TLS_REASON_PLAIN_HTTP], 3);
    tls_layer_drop(server);
    loop_turn(&loop, 0);
    assert_int_equal(memory.held_bytes, 0);
}

static void what_is_no_tls_is_refused_whatever_it_is(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        enum tls_reason reason;
    } cases[] = {
        { "\0\0\0\0\0\0\0\0\0\0", 10, TLS_REASON_PROTOCOL },
        { "ssh-2.0 hello\r\n", 15, TLS_REASON_PROTOCOL },
        { "\x16\x03\x01\x00", 4, TLS_REASON_CLOSED },
        { "", 0, TLS_REASON_CLOSED },
        { "\x15\x03\x01\x00\x02\x02\x28", 7, TLS_REASON_PROTOCOL },
    };
    enum tls_reason reason;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a");
    struct tls_layer *server = server_layer(0, &s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct end end;
        int peer = raw_connect(&end.t, server);
        assert_int_equal(write(peer, cases[i].bytes, cases[i].len), cases[i].len);
        shutdown(peer, SHUT_WR);
        assert_int_equal(establish_alone(&end.t), -ERR_HANDSHAKE_FAILED);
        const char *text = tls_failure(&end.t, &reason);
        if (reason != cases[i].reason)
            fail_msg("case %zu: %s, %s", i, tls_reason_word(reason), text);
        assert_true(strlen(text) > 0);
        transport_close(&end.t);
        close(peer);
    }
    tls_layer_drop(server);
    loop_turn(&loop, 0);
}

static void a_hello_without_end_is_given_up(void **state)
{
    /* A handshake message of 128 KiB in records of 16 KiB. */
    static unsigned char record[5 + 16384] = { 22, 3, 1, 0x40, 0, 1, 1, 0xff, 0xff, 3, 3 };
    struct end end;
    int rc = 1;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a");
    struct tls_layer *server = server_layer(0, &s);
    int peer = raw_connect(&end.t, server);
    for (int i = 0; i < 8 && rc == 1; i++) {
        assert_int_equal(write(peer, record, sizeof(record)), sizeof(record));
        memset(record + 5, 0, 6);
        loop_turn(&loop, 100);
        rc = transport_establish(&end.t);
    }
    assert_int_equal(rc, -ERR_HANDSHAKE_FAILED);
    assert_string_equal(tls_failure(&end.t, NULL), "the ClientHello is too long");
    transport_close(&end.t);
    close(peer);
    tls_layer_drop(server);
    loop_turn(&loop, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(both_ends_agree_and_know_what_on),
        TEST(tls_1_2_is_spoken_with_forward_secrecy),
        TEST(versions_that_do_not_meet_fail_on_both_sides),
        TEST(no_protocol_in_common_is_an_alert_of_its_own),
        TEST(the_name_chooses_the_certificate),
        TEST(the_kind_of_key_follows_what_the_client_can_do),
        TEST(a_client_says_what_is_wrong_with_a_certificate),
        TEST(a_service_is_not_known_by_its_common_name),
        TEST(a_targets_trouble_is_told_once_and_its_end),
        TEST(http_in_clear_is_recognised_and_can_be_answered),
        TEST(what_is_no_tls_is_refused_whatever_it_is),
        TEST(a_hello_without_end_is_given_up),
    };
    return cmocka_run_group_tests(tests, certificates_begin, certificates_end);
}
