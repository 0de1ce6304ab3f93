/*
 * Probes against services whose answers are written here, byte by byte.
 */
#include "service.h"

#include "base/sys_torture.h"
#include "upstream/health_conf.h"
#include "upstream/probe.h"
#include "upstream/probe_state.h"

static struct bench_loop bench;
static struct service service;
static struct upstream_conf conf;
static struct health_check_conf check;
static struct target *target;
static struct probe_report got;
static unsigned told;

static int set_up(void **state)
{
    bench_loop_init(&bench);
    service_start(&service, &bench.loop, 's');
    service.silent = true;
    conf = usual_conf();
    check = (struct health_check_conf){
        .pace = { .interval_ms = 5000, .timeout_ms = 5000, .unhealthy_after = 1, .healthy_after = 1 },
        .type = PROBE_HTTP,
        .path = "/health",
        .proxy_protocol = true,
    };
    target = target_get("test", &service.address, "s");
    assert_non_null(target);
    told = 0;
    return 0;
}

static int tear_down(void **state)
{
    service_stop(&service);
    target_drop(target);
    bench_loop_done(&bench);
    return 0;
}

static void on_done(void *user, const struct probe_report *report)
{
    assert_ptr_equal(user, &told);
    got = *report;
    told++;
}

static struct probe *start(const char *host)
{
    const struct probe_order order = { .upstream = &conf, .check = &check, .target = target, .host = host };
    loop_update_now(&bench.loop);
    struct probe *probe = probe_start(&bench.loop, &order, on_done, &told);
    assert_int_equal(told, 0); /* never from within */
    return probe;
}

static void answer(const char *text)
{
    assert_int_equal(sys_posix.send(service.last->io.fd, text, strlen(text), 0), strlen(text));
}

/* The whole of a probe that is answered so. */
static void probe_answered(const char *text)
{
    told = 0;
    service.requests = 0;
    assert_non_null(start(NULL));
    turn_until(&bench.loop, service.requests == 1);
    answer(text);
    turn_until(&bench.loop, told == 1);
}

static void expect(enum probe_result result, const char *why)
{
    assert_string_equal(got.why, why);
    assert_int_equal(got.result, result);
}

/* ---- TCP ---- */

static void a_connection_that_opens_is_enough_for_tcp(void **state)
{
    check.type = PROBE_TCP;
    assert_non_null(start(NULL));
    turn_until(&bench.loop, told == 1);
    expect(PROBE_PASSED, "");
    turn_until(&bench.loop, service.accepted == 1 && service.ended == 1);
}

static void nobody_who_listens_is_a_refusal(void **state)
{
    service_stop(&service);
    for (int type = PROBE_TCP; type <= PROBE_HTTP; type++) {
        told = 0;
        check.type = type;
        assert_non_null(start(NULL));
        turn_until(&bench.loop, told == 1);
        expect(PROBE_REFUSED, "connection refused");
    }
    service_start(&service, &bench.loop, 's');
}

static void another_port_and_address_can_be_asked(void **state)
{
    struct service other;
    service_start(&other, &bench.loop, 'o');
    check.type = PROBE_TCP;
    check.port = other.address.port;
    assert_int_equal(address_parse_ip(SLICE("127.0.0.1"), &check.address), 0);
    assert_non_null(start(NULL));
    turn_until(&bench.loop, told == 1 && other.accepted == 1);
    expect(PROBE_PASSED, "");
    assert_int_equal(service.accepted, 0);
    service_stop(&other);
}

static void a_unix_socket_has_no_other_port(void **state)
{
    struct address path;
    assert_int_equal(address_parse(SLICE("unix:/run/none.sock"), &path, NULL), 0);
    struct target *tcp = target;
    target = target_get("test", &path, "p");
    for (int both = 0; both < 2; both++) {
        check.port = both == 0 ? 80 : 0;
        check.address = both == 0 ? (struct address){ .family = AF_UNSPEC } : tcp->address;
        check.address.port = 0;
        assert_non_null((told = 0, start(NULL)));
        turn_until(&bench.loop, told == 1);
        expect(PROBE_GATEWAY, "a unix socket has no port: the check needs both `address` and `port`");
    }
    target_drop(target);
    target = tcp;
}

/* ---- HTTP ---- */

static void the_request_is_what_the_settings_say(void **state)
{
    check.path = "/health?deep=1";
    check.method = "OPTIONS";
    assert_non_null(start("users.internal"));
    turn_until(&bench.loop, service.requests == 1);
    char host[64];
    (void)snprintf(host, sizeof host, "Host: users.internal:%u\r\n", service.address.port);
    const char *head = service.last->head;
    assert_true(strncmp(head, "OPTIONS /health?deep=1 HTTP/1.1\r\n", 33) == 0);
    assert_non_null(strstr(head, host));
    assert_non_null(strstr(head, "User-Agent: maitred-health/"));
    assert_non_null(strstr(head, "Connection: close\r\n"));
    assert_null(strstr(head, "PROXY "));
    answer("HTTP/1.1 204 No Content\r\n\r\n");
    turn_until(&bench.loop, told == 1);
    expect(PROBE_PASSED, "");
    turn_until(&bench.loop, service.ended == 1);
}

static void the_services_proxy_header_says_that_it_is_our_own(void **state)
{
    conf.proxy_protocol = 1;
    assert_non_null(start(NULL));
    turn_until(&bench.loop, service.requests == 1);
    assert_true(strncmp(service.last->head, "PROXY UNKNOWN\r\nGET /health ", 27) == 0);
    answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    turn_until(&bench.loop, told == 1);
    check.proxy_protocol = false;
    assert_non_null((told = 0, start(NULL)));
    turn_until(&bench.loop, service.requests == 2);
    assert_true(strncmp(service.last->head, "GET /health ", 12) == 0);
    answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    turn_until(&bench.loop, told == 1);
    expect(PROBE_PASSED, "");
}

static void statuses_up_to_399_will_do_unless_others_are_expected(void **state)
{
    probe_answered("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n");
    expect(PROBE_PASSED, "");
    probe_answered("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    expect(PROBE_STATUS, "status 503");
    struct status_range ranges[] = { { 200, 204 }, { 503, 503 } };
    check.expect_status = (struct conf_list){ ranges, 2 };
    probe_answered("HTTP/1.1 503 Fine\r\nContent-Length: 0\r\n\r\n");
    expect(PROBE_PASSED, "");
    probe_answered("HTTP/1.1 205 No\r\nContent-Length: 0\r\n\r\n");
    expect(PROBE_STATUS, "status 205");
}

static void a_head_is_enough_when_the_body_does_not_matter(void **state)
{
    probe_answered("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nand then nothing");
    expect(PROBE_PASSED, "");
}

static void interim_answers_are_passed_by(void **state)
{
    probe_answered("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    expect(PROBE_PASSED, "");
}

static void what_is_no_answer_fails_in_its_own_words(void **state)
{
    probe_answered("ready when you are\r\n\r\n");
    expect(PROBE_MALFORMED, "malformed answer (bad_response_head)");
    assert_non_null((told = 0, service.requests = 0, start(NULL)));
    turn_until(&bench.loop, service.requests == 1);
    service_end_connections(&service);
    turn_until(&bench.loop, told == 1);
    expect(PROBE_CLOSED, "the connection was closed without an answer");
}

static void silence_ends_with_the_timeout(void **state)
{
    check.pace.timeout_ms = 30;
    assert_non_null(start(NULL));
    turn_until(&bench.loop, told == 1);
    expect(PROBE_TIMEOUT, "no answer within 30ms");
    check.pace.timeout_ms = 1000;
    check.expect_body = "never";
    assert_non_null((told = 0, start(NULL)));
    turn_until(&bench.loop, service.requests == 2);
    answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nnev");
    turn_until(&bench.loop, told == 1);
    expect(PROBE_TIMEOUT, "no answer within 1s");
}

/* ---- bodies ---- */

static void a_text_is_found_however_the_body_is_cut(void **state)
{
    const char *parts[] = { "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstatus: r", "ea", "dy", NULL };
    check.expect_body = "ready";
    assert_non_null(start(NULL));
    turn_until(&bench.loop, service.requests == 1);
    for (int i = 0; parts[i]; i++) {
        assert_int_equal(told, 0);
        answer(parts[i]);
        for (int turns = 0; turns < 5; turns++)
            loop_turn(&bench.loop, 1);
    }
    turn_until(&bench.loop, told == 1);
    expect(PROBE_PASSED, "");
}

static void a_body_that_lacks_the_text_fails(void **state)
{
    check.expect_body = "ready";
    probe_answered("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nrea.dy");
    expect(PROBE_BODY, "body lacks `ready`");
    probe_answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    expect(PROBE_BODY, "body lacks `ready`");
    probe_answered("HTTP/1.1 500 Bad\r\nContent-Length: 5\r\n\r\nready");
    expect(PROBE_STATUS, "status 500");
}

/* What is sent comes in pieces: the peer's window is the kernel's. */
static void answer_filled(size_t filler, const char *end)
{
    static char text[2 * PROBE_BODY_MAX];
    int head = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", filler + strlen(end));
    memset(text + head, '.', filler);
    strncpy(text + head + filler, end, sizeof text - (size_t)head - filler - 1);
    size_t total = (size_t)head + filler + strlen(end), at = 0;
    while (at < total && told == 0) {
        ssize_t n = sys_posix.send(service.last->io.fd, text + at, total - at, MSG_DONTWAIT);
        if (n > 0)
            at += (size_t)n;
        loop_turn(&bench.loop, 1);
    }
    turn_until(&bench.loop, told == 1);
}

static void a_text_is_looked_for_in_the_first_64_kib_alone(void **state)
{
    check.expect_body = "ready";
    assert_non_null(start(NULL));
    turn_until(&bench.loop, service.requests == 1);
    answer_filled(60000, "ready");
    expect(PROBE_PASSED, "");
    assert_non_null((told = 0, start(NULL)));
    turn_until(&bench.loop, service.requests == 2);
    answer_filled(PROBE_BODY_MAX + 16384, "ready");
    expect(PROBE_BODY, "body lacks `ready`");
}

/* ---- agents ---- */

static void agent_says(const char *const *parts, bool closes)
{
    unsigned before = service.accepted;
    assert_non_null((told = 0, start(NULL)));
    turn_until(&bench.loop, service.accepted == before + 1);
    struct service_connection *c = service.connections;
    while (c->io.fd < 0)
        c++;
    for (; *parts; parts++) {
        assert_int_equal(told, 0);
        assert_int_equal(sys_posix.send(c->io.fd, *parts, strlen(*parts), 0), strlen(*parts));
        for (int turns = 0; turns < 3; turns++)
            loop_turn(&bench.loop, 1);
    }
    if (closes)
        service_end_connection(c);
    turn_until(&bench.loop, told == 1);
    turn_until(&bench.loop, service.ended == service.accepted);
}

static void an_agents_line_is_read_however_it_comes(void **state)
{
    check.type = PROBE_AGENT;
    agent_says((const char *[]){ "7", "5% dr", "ain\nmore", NULL }, false);
    expect(PROBE_PASSED, "");
    assert_int_equal(got.agent.percent, 75);
    assert_int_equal(got.agent.bars, BAR_DRAINING);
    agent_says((const char *[]){ "down#why", NULL }, true);
    expect(PROBE_PASSED, "");
    assert_string_equal(got.agent.why, "why");
    agent_says((const char *[]){ "hello\n", NULL }, false);
    expect(PROBE_MALFORMED, "its line has no word that is known");
    agent_says((const char *[]){ NULL }, true);
    expect(PROBE_MALFORMED, "its line has no word that is known");
    char text[AGENT_LINE_MAX + 1];
    memset(text, 'x', sizeof text - 1);
    text[AGENT_LINE_MAX] = '\0';
    agent_says((const char *[]){ text, NULL }, false);
    expect(PROBE_MALFORMED, "its line has no word that is known");
}

/* ---- gRPC's bytes ---- */

static void the_request_is_one_frame_with_the_services_name(void **state)
{
    char bytes[GRPC_REQUEST_MAX];
    assert_int_equal(grpc_health_request(SLICE_EMPTY, bytes), 5);
    assert_memory_equal(bytes, "\0\0\0\0\0", 5);
    assert_int_equal(grpc_health_request(SLICE("users"), bytes), 12);
    assert_memory_equal(bytes, "\0\0\0\0\x07\x0a\x05users", 12);
    char name[GRPC_SERVICE_MAX];
    memset(name, 'x', sizeof name);
    assert_int_equal(grpc_health_request(slice_make(name, sizeof name), bytes), 5 + 3 + sizeof name);
    assert_memory_equal(bytes, "\0\0\0\x01\x02\x0a\xff\x01", 8);
}

static void health_of(const char *bytes, size_t len, int rc, enum grpc_health health)
{
    enum grpc_health read = GRPC_HEALTH_UNKNOWN;
    assert_int_equal(grpc_health_parse(slice_make(bytes, len), &read), rc);
    if (rc == 0)
        assert_int_equal(read, health);
}

static void an_answer_says_how_the_service_is(void **state)
{
    health_of("\0\0\0\0\x02\x08\x01", 7, 0, GRPC_HEALTH_SERVING);
    health_of("\0\0\0\0\x02\x08\x02", 7, 0, GRPC_HEALTH_NOT_SERVING);
    health_of("\0\0\0\0\x00", 5, 0, GRPC_HEALTH_UNKNOWN);
    health_of("\0\0\0\0\x02\x08\x63", 7, 0, GRPC_HEALTH_UNKNOWN); /* a status of the future */
    /* fields that are not known: a string, a fixed64, a fixed32, a varint; the last of several counts */
    health_of("\0\0\0\0\x05\x12\x01x\x08\x01", 10, 0, GRPC_HEALTH_SERVING);
    health_of("\0\0\0\0\x0d\x11"
              "12345678"
              "\x08\x02\x08\x01",
              18, 0, GRPC_HEALTH_SERVING);
    health_of("\0\0\0\0\x09\x15"
              "1234"
              "\x18\xff\x01\x08",
              14, -ERR_UPSTREAM_BAD_BODY, 0);
}

static void what_is_no_such_message_is_malformed(void **state)
{
    health_of("", 0, -ERR_UPSTREAM_BAD_BODY, 0);
    health_of("\x01\0\0\0\x02\x08\x01", 7, -ERR_UPSTREAM_BAD_BODY, 0);       /* compressed */
    health_of("\0\0\0\0\x03\x08\x01", 7, -ERR_UPSTREAM_BAD_BODY, 0);         /* shorter than it says */
    health_of("\0\0\0\0\x01\x08\x01", 7, -ERR_UPSTREAM_BAD_BODY, 0);         /* bytes behind it */
    health_of("\0\0\0\0\x03\x12\x7fx", 8, -ERR_UPSTREAM_BAD_BODY, 0);        /* a length beyond the end */
    health_of("\0\0\0\0\x02\x0b\x01", 7, -ERR_UPSTREAM_BAD_BODY, 0);         /* a group */
    health_of("\xff\xff\xff\xff\xff\x08\x01", 7, -ERR_UPSTREAM_BAD_BODY, 0); /* a length that is none */
    health_of("\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 16, -ERR_UPSTREAM_BAD_BODY, 0);
}

/* ---- ends ---- */

static void a_probe_can_be_cancelled_at_any_turn(void **state)
{
    for (int type = PROBE_TCP; type <= PROBE_AGENT; type++) {
        check.type = type;
        for (int turns = 0; turns < 4; turns++) {
            struct probe *probe = start(NULL);
            assert_non_null(probe);
            for (int i = 0; i < turns && told == 0; i++)
                loop_turn(&bench.loop, 0);
            if (told == 0)
                probe_cancel(probe);
            told = 0;
            for (int i = 0; i < 5; i++)
                loop_turn(&bench.loop, 0);
            assert_int_equal(told, 0);
        }
    }
}

static void whichever_call_fails_a_probe_tells_once_and_leaves_nothing(void **state)
{
    check.pace.timeout_ms = 30;
    for (int type = PROBE_TCP; type <= PROBE_AGENT; type++) {
        bool reached = true;
        uint64_t n = 1;
        for (; reached; n++) {
            told = 0;
            check.type = type;
            conf.protocol = type == PROBE_GRPC ? UPSTREAM_H2 : UPSTREAM_HTTP1;
            sys_torture_arm(n);
            struct probe *probe = start(NULL);
            for (int i = 0; i < 4; i++)
                loop_turn(&bench.loop, 0);
            reached = sys_torture_calls() >= n;
            sys_torture_disarm();
            turn_until(&bench.loop, told == (probe ? 1 : 0));
            turn_until(&bench.loop, service.ended == service.accepted);
            loop_turn(&bench.loop, 0);
            assert_int_equal(bench.memory.held_bytes, 0);
        }
        assert_true(n > 5);
    }
}

int main(void)
{
#define PROBE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        PROBE_TEST(a_connection_that_opens_is_enough_for_tcp),
        PROBE_TEST(nobody_who_listens_is_a_refusal),
        PROBE_TEST(another_port_and_address_can_be_asked),
        PROBE_TEST(a_unix_socket_has_no_other_port),
        PROBE_TEST(the_request_is_what_the_settings_say),
        PROBE_TEST(the_services_proxy_header_says_that_it_is_our_own),
        PROBE_TEST(statuses_up_to_399_will_do_unless_others_are_expected),
        PROBE_TEST(a_head_is_enough_when_the_body_does_not_matter),
        PROBE_TEST(interim_answers_are_passed_by),
        PROBE_TEST(what_is_no_answer_fails_in_its_own_words),
        PROBE_TEST(silence_ends_with_the_timeout),
        PROBE_TEST(a_text_is_found_however_the_body_is_cut),
        PROBE_TEST(a_body_that_lacks_the_text_fails),
        PROBE_TEST(a_text_is_looked_for_in_the_first_64_kib_alone),
        PROBE_TEST(an_agents_line_is_read_however_it_comes),
        cmocka_unit_test(the_request_is_one_frame_with_the_services_name),
        cmocka_unit_test(an_answer_says_how_the_service_is),
        cmocka_unit_test(what_is_no_such_message_is_malformed),
        PROBE_TEST(a_probe_can_be_cancelled_at_any_turn),
        PROBE_TEST(whichever_call_fails_a_probe_tells_once_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
