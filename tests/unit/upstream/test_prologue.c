/*
 * Connections that begin with a PROXY header: what it says, whose requests they serve, and that as many clients as
 * there may be leave only so many of them idle.
 */
#include "base/sys_torture.h"
#include "net/facts.h"
#include "service.h"
#include "upstream/state.h"

static struct bench_loop bench;
static struct service a;
static struct upstream_conf conf;
static struct upstream *upstream;
static struct address client_address, local_address;
static struct stream client;

static struct upstream_stats stats(void)
{
    struct upstream_stats now;
    upstream_stats(upstream, &now);
    return now;
}

static struct target *target(void)
{
    return upstream_targets(upstream)->slots[0].target;
}

static int set_up(void **state)
{
    bench_loop_init(&bench);
    service_start(&a, &bench.loop, 'a');
    conf = usual_conf();
    conf.proxy_protocol = 1;
    assert_int_equal(address_parse(SLICE("192.0.2.1:4711"), &client_address, NULL), 0);
    assert_int_equal(address_parse(SLICE("198.51.100.7:443"), &local_address, NULL), 0);
    client = (struct stream){ .peer = &client_address, .local = &local_address };
    call_for = &client;
    return 0;
}

static int tear_down(void **state)
{
    call_for = NULL;
    service_stop(&a);
    bench_loop_done(&bench);
    return 0;
}

static void begin(void)
{
    upstream = upstream_new("test", &conf, NULL, 1);
    assert_non_null(upstream);
    upstream_set_targets(upstream, set_of_services("test", (struct service *[]){ &a }, 1));
    assert_int_equal(upstream_attach(upstream, 0, &bench.loop), 0);
}

static void end(void)
{
    struct target *kept = target_hold(target());
    upstream_detach(upstream, 0);
    assert_int_equal(stats().idle + stats().busy, 0);
    assert_int_equal(atomic_load(&kept->connections), 0);
    upstream_drop(upstream);
    assert_int_equal(atomic_load(&kept->refs), 1);
    target_drop(kept);
    loop_turn(&bench.loop, 0);
    assert_int_equal(bench.memory.held_bytes, 0);
}

static char call_of(uint16_t port)
{
    client_address.port = port;
    return call_whole(upstream, 0, &bench);
}

static void assert_last_head_begins(const char *text)
{
    if (strncmp(a.last->head, text, strlen(text)) != 0)
        fail_msg("\"%s\" does not begin with \"%s\"", a.last->head, text);
}

static void a_connection_begins_with_the_clients_address(void **state)
{
    begin();
    assert_int_equal(call_of(4711), 'a');
    assert_last_head_begins("PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\nGET / HTTP/1.1\r\n");
    end();
}

static void the_header_stands_once_in_front_of_all_requests_of_a_client(void **state)
{
    begin();
    for (int i = 0; i < 3; i++)
        assert_int_equal(call_of(4711), 'a');
    assert_last_head_begins("GET / HTTP/1.1\r\n");
    assert_int_equal(a.accepted, 1);
    assert_int_equal(stats().reused, 2);
    end();
}

static void a_connection_never_serves_another_client(void **state)
{
    begin();
    for (uint16_t port = 1; port <= 3; port++)
        assert_int_equal(call_of(port), 'a');
    assert_int_equal(a.accepted, 3);
    assert_int_equal(call_of(2), 'a'); /* and is found again */
    assert_int_equal(a.accepted, 3);
    local_address.port = 444;
    assert_int_equal(call_of(2), 'a');
    assert_int_equal(a.accepted, 4);
    assert_last_head_begins("PROXY TCP4 192.0.2.1 198.51.100.7 2 444\r\n");
    end();
}

static void our_own_requests_say_that_they_are(void **state)
{
    call_for = NULL;
    begin();
    assert_int_equal(call_whole(upstream, 0, &bench), 'a');
    assert_last_head_begins("PROXY UNKNOWN\r\nGET / ");
    end();
}

static void idle_connections_of_all_clients_are_bounded_together(void **state)
{
    conf.keep_alive_connections = 3;
    begin();
    for (uint16_t port = 1; port <= 10; port++)
        assert_int_equal(call_of(port), 'a');
    assert_int_equal(stats().idle, 3);
    turn_until(&bench.loop, a.ended == 7);
    assert_int_equal(call_of(8), 'a'); /* the newest are kept */
    assert_int_equal(a.accepted, 10);
    end();
}

static void a_client_that_is_gone_leaves_nothing_behind_its_idle_time(void **state)
{
    conf.timeouts.idle_timeout_ms = 20;
    begin();
    for (uint16_t port = 1; port <= 5; port++)
        assert_int_equal(call_of(port), 'a');
    turn_until(&bench.loop, stats().idle == 0 && a.ended == 5);
    loop_turn(&bench.loop, 0);
    assert_int_equal(bench.memory.held_bytes, 0);
    end();
}

static void idle_connections_of_others_give_up_their_permits(void **state)
{
    struct call busy[3];
    conf.max_connections_per_target = 3;
    begin();
    assert_int_equal(call_of(1), 'a');
    assert_int_equal(call_of(2), 'a');
    assert_int_equal(stats().idle, 2);
    for (uint16_t i = 0; i < 3; i++) {
        client_address.port = (uint16_t)(10 + i);
        call_start(&busy[i], upstream, 0, &bench);
    }
    assert_int_equal(stats().idle, 0);
    struct call refused;
    assert_int_equal(call_open(&refused, upstream, 0, &bench, false), -ERR_UPSTREAM_FULL);
    call_close(&refused, ERR_CANCELLED);
    for (int i = 0; i < 3; i++) {
        call_await(&busy[i]);
        call_close(&busy[i], ERR_NONE);
    }
    end();
}

static void a_target_that_leaves_takes_all_pools_with_it(void **state)
{
    struct service b;
    struct call busy;
    service_start(&b, &bench.loop, 'b');
    begin();
    struct target *gone = target_hold(target());
    for (uint16_t port = 1; port <= 5; port++)
        assert_int_equal(call_of(port), 'a');
    client_address.port = 6;
    call_start(&busy, upstream, 0, &bench);
    upstream_set_targets(upstream, set_of_services("test", (struct service *[]){ &b }, 1));
    upstream_worker_update(upstream, 0, upstream_targets(upstream));
    assert_int_equal(stats().idle, 0);
    assert_int_equal(call_of(1), 'b');
    call_await(&busy);
    call_close(&busy, ERR_NONE);
    assert_int_equal(atomic_load(&gone->connections), 0);
    assert_int_equal(atomic_load(&gone->refs), 1);
    target_drop(gone);
    end();
    service_stop(&b);
}

static void a_target_that_stays_keeps_its_clients_connections(void **state)
{
    struct service b;
    service_start(&b, &bench.loop, 'b');
    begin();
    assert_int_equal(call_of(1), 'a');
    upstream_set_targets(upstream, set_of_services("test", (struct service *[]){ &a, &b }, 2));
    upstream_worker_update(upstream, 0, upstream_targets(upstream));
    assert_int_equal(stats().idle, 1);
    for (int i = 0; i < 2; i++)
        (void)call_of(1);
    assert_int_equal(a.accepted, 1);
    end();
    service_stop(&b);
}

static void a_detach_waits_for_what_is_busy(void **state)
{
    struct call busy;
    begin();
    struct target *kept = target_hold(target());
    call_start(&busy, upstream, 0, &bench);
    upstream_detach(upstream, 0);
    call_await(&busy);
    call_close(&busy, ERR_NONE);
    assert_int_equal(atomic_load(&kept->connections), 0);
    upstream_drop(upstream);
    assert_int_equal(atomic_load(&kept->refs), 1);
    target_drop(kept);
    loop_turn(&bench.loop, 0);
    assert_int_equal(bench.memory.held_bytes, 0);
}

static void version_2_tells_what_is_known_of_the_connection(void **state)
{
    struct conn_facts facts = {
        .secure = true,
        .proof = PROOF_VERIFIED,
        .version = SLICE("TLSv1.3"),
        .cipher = SLICE("TLS_AES_128_GCM_SHA256"),
        .alpn = SLICE("h2"),
        .sni = SLICE("www.example"),
        .subject = SLICE("CN=me,O=we"),
        .unique_id = SLICE("id"),
    };
    struct proxy_header header;
    char bytes[PROXY_WRITE_MAX];

    client.facts = &facts;
    conf.proxy_protocol = 2;
    size_t len = upstream_prologue(&conf, &client, bytes);
    assert_int_equal(proxy_header_parse(slice_make(bytes, len), &header), 0);
    assert_true(address_eq(&header.source, &client_address) && address_eq(&header.destination, &local_address));
    assert_true(slice_eq(header.alpn, SLICE("h2")) && slice_eq(header.authority, SLICE("www.example")));
    assert_true(slice_eq(header.unique_id, SLICE("id")));
    assert_true(header.tls.told && header.tls.verified && header.tls.cert_conn && header.tls.cert_session);
    assert_true(slice_eq(header.tls.version, SLICE("TLSv1.3")) && slice_eq(header.tls.common_name, SLICE("me")));

    facts = (struct conn_facts){ .proxied = true, .authority = SLICE("passed.on"), .subject = SLICE("CN=x") };
    len = upstream_prologue(&conf, &client, bytes);
    assert_int_equal(proxy_header_parse(slice_make(bytes, len), &header), 0);
    assert_true(slice_eq(header.authority, SLICE("passed.on")));
    assert_false(header.tls.told);

    facts = (struct conn_facts){
        .secure = true, .resumed = true, .proof = PROOF_VERIFIED, .subject = SLICE("O=we,CN=a\\,b")
    };
    len = upstream_prologue(&conf, &client, bytes);
    assert_int_equal(proxy_header_parse(slice_make(bytes, len), &header), 0);
    assert_true(header.tls.cert_session && !header.tls.cert_conn);
    assert_int_equal(header.tls.common_name.len, 0); /* one that is escaped is left out */

    conf.proxy_protocol = 0;
    assert_int_equal(upstream_prologue(&conf, &client, bytes), 0);
}

static struct slice told_name(struct slice subject, struct proxy_header *header, char bytes[PROXY_WRITE_MAX])
{
    struct address source = client_address, local = local_address;
    struct conn_facts facts = { .secure = true, .proof = PROOF_VERIFIED, .subject = subject };
    struct stream down = { .peer = &source, .local = &local, .facts = &facts };
    struct upstream_conf v2 = { .proxy_protocol = 2 };
    size_t len = upstream_prologue(&v2, &down, bytes);

    assert_int_equal(proxy_header_parse(slice_make(bytes, len), header), 0);
    return header->tls.common_name;
}

static void a_common_name_is_never_taken_from_within_another_value(void **state)
{
    static const struct {
        const char *subject, *name;
    } cases[] = {
        { "O=x\\,CN=admin,CN=mallory", "mallory" },
        { "O=x\\+CN=admin,CN=mallory", "mallory" },
        { "O=x\\\\,CN=me", "me" },
        { "CN=me+OU=we,O=x", "me" },
        { "OU=we+CN=me", "me" },
        { "CN=#1E020041,O=x", "" },
        { "O=x\\", "" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct proxy_header header;
        char bytes[PROXY_WRITE_MAX];
        assert_true(slice_eq(told_name(slice_from(cases[i].subject), &header, bytes), slice_from(cases[i].name)));
    }
}

static void calls_under_torture(void)
{
    if (upstream_attach(upstream, 0, &bench.loop) < 0)
        return;
    for (uint16_t i = 0; i < 4; i++) {
        struct call call;
        client_address.port = (uint16_t)(i % 3 + 1);
        int r = call_open(&call, upstream, 0, &bench, false);
        if (r == 0)
            call_await(&call);
        bool good = r == 0 && call.ended;
        call_close(&call, good ? ERR_NONE : ERR_CANCELLED);
    }
    upstream_detach(upstream, 0);
}

static void whichever_call_fails_nothing_is_left_behind(void **state)
{
    uint64_t n = 0, made;
    conf.timeouts.response_timeout_ms = 200;
    do {
        begin();
        upstream_detach(upstream, 0);
        sys_torture_arm(++n);
        calls_under_torture();
        made = sys_torture_calls();
        sys_torture_disarm();
        assert_int_equal(upstream_attach(upstream, 0, &bench.loop), 0);
        loop_turn(&bench.loop, 0);
        end();
    } while (made >= n);
    assert_true(n > 20);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_connection_begins_with_the_clients_address),
        TEST(the_header_stands_once_in_front_of_all_requests_of_a_client),
        TEST(a_connection_never_serves_another_client),
        TEST(our_own_requests_say_that_they_are),
        TEST(idle_connections_of_all_clients_are_bounded_together),
        TEST(a_client_that_is_gone_leaves_nothing_behind_its_idle_time),
        TEST(idle_connections_of_others_give_up_their_permits),
        TEST(a_target_that_leaves_takes_all_pools_with_it),
        TEST(a_target_that_stays_keeps_its_clients_connections),
        TEST(a_detach_waits_for_what_is_busy),
        TEST(version_2_tells_what_is_known_of_the_connection),
        TEST(a_common_name_is_never_taken_from_within_another_value),
        TEST(whichever_call_fails_nothing_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
