/*
 * What comes in front of HTTP on a client's connection: a PROXY header in any pieces, a layer's handshake (one of five
 * letters here), both, what goes wrong with them, and that the host hears of every end once.
 */
#include "world.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sys.h"
#include "base/sys_torture.h"
#include "http/serve.h"
#include "net/facts.h"
#include "net/proxy_header.h"

#define GET "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#define V1  "PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n"

enum { TURNS_MAX = 200 };

static const struct network loopback = { { .family = AF_INET, .ip = { 127 } }, 8 };
static struct proxy_rules rules;
static unsigned drops;
static enum err dropped;

static void on_dropped(struct stream_host *host, enum err err)
{
    drops++;
    dropped = err;
}

/* ---- a layer whose handshake is HELLO, and OK back ---- */

static struct {
    char heard[5];
    size_t len;
    unsigned asked;
    struct slice alpn;
    bool broken; /* its beginning fails */
} fake;

static int fake_establish(struct transport *t)
{
    fake.asked++;
    while (fake.len < sizeof(fake.heard)) {
        ssize_t got = transport_tcp.recv(t, fake.heard + fake.len, sizeof(fake.heard) - fake.len);
        if (got == -EAGAIN)
            return 1;
        if (got <= 0)
            return -ERR_HANDSHAKE_FAILED;
        fake.len += (size_t)got;
    }
    if (memcmp(fake.heard, "GET /", 5) == 0)
        return -ERR_PLAIN_HTTP;
    if (memcmp(fake.heard, "HELLO", 5) != 0)
        return -ERR_HANDSHAKE_FAILED;
    if (t->facts == NULL)
        t->facts = facts_new(t->loop->memory);
    if (t->facts == NULL)
        return -ERR_MEMORY;
    t->facts->secure = true;
    t->facts->alpn = fake.alpn;
    return 0;
}

static int fake_begin(const struct transport_layer *layer, struct transport *t)
{
    static struct transport_ops ops;

    if (fake.broken)
        return -ERR_MEMORY;
    ops = transport_tcp;
    ops.establish = fake_establish;
    ops.splices = false;
    t->ops = &ops;
    fake.len = 0;
    fake.asked = 0;
    return 0;
}

static const struct transport_layer fake_layer = { .begin = fake_begin };

/* ---- help ---- */

static int set_up(void **state)
{
    int rc = world_set_up(state);

    w.limits.handshake_timeout_ms = 10000;
    w.host.on_dropped = on_dropped;
    rules = (struct proxy_rules){ .from = &loopback, .from_count = 1, .required = true };
    drops = 0;
    dropped = ERR_NONE;
    fake.broken = false;
    fake.alpn = SLICE_EMPTY;
    return rc;
}

static int tear_down(void **state)
{
    if (w.stream)
        release_stream();
    while (!list_empty(&w.host.conns))
        http_close(http_conn_of(w.host.conns.next));
    return world_tear_down(state);
}

static const char *version(void)
{
    return list_empty(&w.host.conns) ? "none" : http_conn_of(w.host.conns.next)->ops->version;
}

static struct http_conn *serve_or_not(const char *ip)
{
    struct sockaddr_storage at;
    struct address peer;

    assert_int_equal(address_parse_ip(slice_from(ip), &peer), 0);
    peer.port = 4000;
    world_listen();
    socklen_t len = address_to_sockaddr(&w.address, &at);
    w.raw = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(w.raw >= 0);
    assert_int_equal(setsockopt(w.raw, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), 0);
    assert_int_equal(connect(w.raw, (struct sockaddr *)&at, len), 0);
    return http_serve(&w.loop, world_accept(), &peer, &w.host);
}

static void serve(const char *ip)
{
    assert_non_null(serve_or_not(ip));
    settle();
}

static void serve_with_proxy(void)
{
    w.host.proxy = &rules;
    serve("127.0.0.1");
}

static void serve_with_layer(void)
{
    w.host.layer = &fake_layer;
    serve("127.0.0.1");
}

static void assert_peer(const char *peer, const char *local)
{
    char text[ADDRESS_TEXT_MAX];

    assert_non_null(w.stream);
    address_format(w.stream->peer, true, text);
    assert_string_equal(text, peer);
    address_format(w.stream->local, true, text);
    assert_string_equal(text, local);
}

static void assert_served(void)
{
    assert_string_equal(version(), "h1");
    reply(200, "ok");
    raw_expect_part("HTTP/1.1 200 OK\r\n");
    raw_expect_part("\r\n\r\nok");
    raw_forget();
    release_stream();
    assert_int_equal(drops, 0);
    assert_int_equal(w.told.ends, 0);
}

static void assert_dropped(enum err err)
{
    raw_expect_end();
    settle();
    assert_int_equal(drops, 1);
    assert_int_equal(dropped, err);
    assert_int_equal(w.told.ends, 1);
    assert_int_equal(w.told.requests, 0);
    assert_string_equal(version(), "none");
}

/* ---- PROXY ---- */

static void a_plain_listener_has_no_births(void **state)
{
    serve("127.0.0.1");
    assert_string_equal(version(), "h1");
}

static void a_header_gives_the_addresses(void **state)
{
    serve_with_proxy();
    assert_string_equal(version(), "birth");
    raw_send(V1 GET);
    assert_peer("192.0.2.1:4711", "198.51.100.7:443");
    assert_served();
    raw_send(GET); /* the next request of the same client */
    assert_peer("192.0.2.1:4711", "198.51.100.7:443");
    assert_served();
    raw_close();
    settle();
    assert_int_equal(w.told.ends, 1);
}

static void a_header_may_come_byte_by_byte(void **state)
{
    const char *text = V1 GET;

    serve_with_proxy();
    for (size_t i = 0; text[i]; i++)
        raw_send_bytes(text + i, 1);
    assert_peer("192.0.2.1:4711", "198.51.100.7:443");
    assert_served();
}

static void a_header_of_version_2_may_be_cut_anywhere(void **state)
{
    static const char text[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x16\xc0\0\x02\x01\xc6\x33\x64\x07\x12\x67\x01\xbb"
                               "\x05\0\x03u-1\x04\0\x01." GET;
    size_t len = sizeof(text) - 1;

    for (size_t cut = 1; cut < len; cut++) {
        serve_with_proxy();
        raw_send_bytes(text, cut);
        raw_send_bytes(text + cut, len - cut);
        assert_peer("192.0.2.1:4711", "198.51.100.7:443");
        assert_true(slice_eq(w.stream->facts->unique_id, SLICE("u-1")));
        assert_served();
        raw_close();
        settle();
        w.told.ends = 0;
    }
}

static void a_header_alone_makes_no_reads_of_nothing(void **state)
{
    serve_with_proxy();
    calls.recvs = 0;
    raw_send(V1);
    assert_string_equal(version(), "h1");
    assert_int_equal(calls.recvs, 2); /* a look, and the taking */
    raw_send(GET);
    assert_int_equal(calls.recvs, 3);
    assert_served();
}

static void a_local_header_keeps_the_addresses(void **state)
{
    char local[ADDRESS_TEXT_MAX];

    serve_with_proxy();
    address_format(&w.address, true, local);
    raw_send("PROXY UNKNOWN\r\n" GET);
    assert_peer("127.0.0.1:4000", local);
    assert_null(w.stream->facts);
    assert_served();
}

static void a_request_without_the_header_is_not_served(void **state)
{
    serve_with_proxy();
    raw_send("G");
    assert_dropped(ERR_BAD_PROXY_HEADER);
}

static void a_malformed_header_is_not_served(void **state)
{
    serve_with_proxy();
    raw_send("PROXY TCP4 192.0.2.1 198.51.100.7 4711 99999\r\n" GET);
    assert_dropped(ERR_BAD_PROXY_HEADER);
}

static void half_a_header_and_the_end_is_not_served(void **state)
{
    serve_with_proxy();
    raw_send("PROXY TCP4 192.0");
    assert_int_equal(drops, 0);
    raw_shutdown();
    assert_dropped(ERR_BAD_PROXY_HEADER);
}

static void serve_header_and_end(void)
{
    w.host.proxy = &rules;
    assert_non_null(serve_or_not("127.0.0.1"));
    assert_int_equal(send(w.raw, V1, sizeof(V1) - 1, 0), sizeof(V1) - 1);
    assert_int_equal(shutdown(w.raw, SHUT_WR), 0); /* one event tells of both */
    settle();
}

static void a_client_that_goes_behind_its_header_is_noticed(void **state)
{
    serve_header_and_end();
    assert_int_equal(w.told.ends, 1);
    assert_int_equal(drops, 0);
}

static void a_client_that_goes_before_the_handshake_is_noticed(void **state)
{
    w.host.layer = &fake_layer;
    serve_header_and_end();
    assert_dropped(ERR_HANDSHAKE_FAILED);
}

static void a_header_that_dribbles_is_given_up(void **state)
{
    serve_with_proxy();
    raw_send("P");
    world_skip_ms(4000);
    raw_send("R");
    world_skip_ms(4000);
    raw_send("O");
    assert_int_equal(drops, 0);
    world_skip_ms(3000);
    assert_dropped(ERR_PROXY_HEADER_TIMEOUT);
}

static void a_probe_that_says_nothing_is_no_failure(void **state)
{
    serve_with_proxy();
    raw_close();
    settle();
    assert_int_equal(w.told.ends, 1);
    assert_int_equal(drops, 0);
    serve_with_proxy();
    raw_close_hard();
    assert_int_equal(w.told.ends, 2);
    assert_int_equal(drops, 0);
}

static void who_is_not_trusted_is_refused_where_a_header_is_required(void **state)
{
    w.host.proxy = &rules;
    serve("192.0.2.9");
    assert_dropped(ERR_PROXY_NOT_TRUSTED);
}

static void who_is_not_trusted_is_served_plainly_where_none_is_required(void **state)
{
    rules.required = false;
    w.host.proxy = &rules;
    serve("192.0.2.9");
    assert_string_equal(version(), "h1");
    raw_send(V1 GET); /* and its header is what it looks like: no HTTP */
    assert_int_equal(w.told.request_err, ERR_BAD_VERSION);
    assert_true(w.stream->peer->ip[3] == 9);
}

static void the_trusted_may_leave_the_header_out_where_none_is_required(void **state)
{
    rules.required = false;
    serve_with_proxy();
    raw_send("P"); /* it may be one */
    assert_string_equal(version(), "birth");
    raw_send("UT / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_served();
    raw_close();
    serve_with_proxy();
    raw_send(V1 GET);
    assert_peer("192.0.2.1:4711", "198.51.100.7:443");
}

/* ---- the layer ---- */

static void a_layer_shakes_hands_first(void **state)
{
    serve_with_layer();
    assert_int_equal(fake.asked, 0); /* before the client has spoken there is nothing to do */
    raw_send("HEL");
    assert_int_equal(fake.asked, 1);
    assert_string_equal(version(), "birth");
    raw_send("LO");
    assert_string_equal(version(), "h1");
    raw_send(GET);
    assert_true(w.stream->secure);
    assert_served();
}

static void a_layer_begins_behind_the_header(void **state)
{
    w.host.layer = &fake_layer;
    serve_with_proxy();
    raw_send(V1 "HELLO" GET);
    assert_true(w.stream->secure);
    assert_peer("192.0.2.1:4711", "198.51.100.7:443");
    assert_served();
}

static void alpn_chooses_the_codec(void **state)
{
    fake.alpn = SLICE("http/1.1");
    serve_with_layer();
    raw_send("HELLO" GET);
    assert_served();
    raw_close();
    settle();
    assert_int_equal(w.told.ends, 1);

    fake.alpn = SLICE("h2");
    serve_with_layer();
    raw_send("HELLO");
    assert_string_equal(version(), "h2");
    raw_send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    raw_send_bytes("\0\0\0\4\0\0\0\0\0", 9); /* SETTINGS, and theirs comes */
    raw_read(9);
    assert_int_equal(w.got[3], 4);
    raw_close();
    settle();
    assert_int_equal(w.told.ends, 2);
    assert_int_equal(drops, 0);
}

static void http_1_where_alpn_chose_http_2_is_not_served(void **state)
{
    fake.alpn = SLICE("h2");
    serve_with_layer();
    raw_send("HELLO" GET);
    raw_expect_end();
    raw_close();
    settle();
    assert_int_equal(w.told.requests, 0);
    assert_int_equal(w.told.ends, 1);
}

static void plain_http_where_tls_is_spoken_is_told_so(void **state)
{
    serve_with_layer();
    raw_send(GET);
    raw_expect_part("HTTP/1.1 400 Bad Request\r\n");
    raw_expect_part("Content-Length: 61\r\n");
    raw_expect_part("\r\n\r\nA plain HTTP request was sent to a TLS port: use https://...\n");
    raw_expect_end();
    assert_false(w.got_reset);
    assert_int_equal(w.told.ends, 0); /* it lingers */
    raw_send("more of the request");
    raw_close();
    settle();
    assert_dropped(ERR_PLAIN_HTTP);
}

static void lingering_has_its_time(void **state)
{
    w.limits.linger_ms = 5000;
    serve_with_layer();
    raw_send(GET);
    assert_int_equal(w.told.ends, 0);
    world_skip_ms(6000);
    assert_dropped(ERR_PLAIN_HTTP);
}

static void a_failed_handshake_is_told(void **state)
{
    serve_with_layer();
    raw_send("WORLD");
    assert_dropped(ERR_HANDSHAKE_FAILED);
}

static void a_handshake_has_its_time(void **state)
{
    serve_with_layer();
    raw_send("HELL");
    world_skip_ms(11000);
    assert_dropped(ERR_HANDSHAKE_TIMEOUT);
}

static void a_layer_that_cannot_begin_ends_the_connection(void **state)
{
    fake.broken = true;
    serve_with_layer();
    assert_dropped(ERR_MEMORY);
}

/* ---- the host's say ---- */

static void draining_lets_a_birth_go_on_and_closes_it_at_the_end(void **state)
{
    serve_with_proxy();
    w.host.draining = true;
    http_drain(http_conn_of(w.host.conns.next), false);
    raw_send(V1 GET);
    reply(200, "ok");
    raw_expect_part("\r\nConnection: close\r\n");
    raw_expect_part("\r\n\r\nok");
    release_stream();
    raw_expect_end();
    settle();
    assert_int_equal(w.told.ends, 1);
}

static void draining_now_and_closing_end_it(void **state)
{
    serve_with_proxy();
    http_drain(http_conn_of(w.host.conns.next), true);
    settle();
    assert_int_equal(w.told.ends, 1);
    raw_close();
    serve_with_proxy();
    http_close(http_conn_of(w.host.conns.next));
    settle();
    assert_int_equal(w.told.ends, 2);
    assert_int_equal(drops, 0);
}

/* ---- any call may fail ---- */

static uint64_t scenario(void)
{
    static const char text[] = V1 "HELLO" GET;
    bool begun = false;

    w.told = (struct told){ 0 };
    w.got_len = 0;
    w.got_end = false;
    w.host.proxy = &rules;
    w.host.layer = &fake_layer;
    begun = serve_or_not("127.0.0.1") != NULL;
    for (size_t said = 0, turn = 0; turn < TURNS_MAX && w.told.requests == 0 && w.told.ends == 0 && begun; turn++) {
        if (said < sizeof(text) - 1 && send(w.raw, text + said, 1, MSG_NOSIGNAL) == 1)
            said++;
        loop_turn(&w.loop, 1);
    }
    if (w.stream) {
        struct stream *s = w.stream;
        w.stream = NULL;
        s->ops->release(s);
        arena_free(s->arena);
    }
    while (!list_empty(&w.host.conns))
        http_close(http_conn_of(w.host.conns.next));
    uint64_t made = sys_torture_calls();
    sys_torture_disarm();
    raw_close();
    loop_turn(&w.loop, 0);
    loop_turn(&w.loop, 0);
    assert_int_equal(w.told.ends, begun ? 1 : 0);
    assert_int_equal(w.loop.watched, 1);
    assert_int_equal(w.memory.held_bytes, 0);
    return made;
}

static void a_birth_survives_any_failing_call(void **state)
{
    uint64_t n = 0, made;

    world_listen();
    do {
        sys_torture_arm(++n);
        made = scenario();
    } while (made >= n);
    assert_true(n > 20);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_plain_listener_has_no_births),
        TEST(a_header_gives_the_addresses),
        TEST(a_header_may_come_byte_by_byte),
        TEST(a_header_of_version_2_may_be_cut_anywhere),
        TEST(a_header_alone_makes_no_reads_of_nothing),
        TEST(a_local_header_keeps_the_addresses),
        TEST(a_request_without_the_header_is_not_served),
        TEST(a_malformed_header_is_not_served),
        TEST(half_a_header_and_the_end_is_not_served),
        TEST(a_client_that_goes_behind_its_header_is_noticed),
        TEST(a_client_that_goes_before_the_handshake_is_noticed),
        TEST(a_header_that_dribbles_is_given_up),
        TEST(a_probe_that_says_nothing_is_no_failure),
        TEST(who_is_not_trusted_is_refused_where_a_header_is_required),
        TEST(who_is_not_trusted_is_served_plainly_where_none_is_required),
        TEST(the_trusted_may_leave_the_header_out_where_none_is_required),
        TEST(a_layer_shakes_hands_first),
        TEST(a_layer_begins_behind_the_header),
        TEST(alpn_chooses_the_codec),
        TEST(http_1_where_alpn_chose_http_2_is_not_served),
        TEST(plain_http_where_tls_is_spoken_is_told_so),
        TEST(lingering_has_its_time),
        TEST(a_failed_handshake_is_told),
        TEST(a_handshake_has_its_time),
        TEST(a_layer_that_cannot_begin_ends_the_connection),
        TEST(draining_lets_a_birth_go_on_and_closes_it_at_the_end),
        TEST(draining_now_and_closing_end_it),
        TEST(a_birth_survives_any_failing_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
