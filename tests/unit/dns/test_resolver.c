/*
 * The resolver against a small DNS server in the same process and on the same loop: it answers from a table, counts
 * what it is asked, and may stay silent.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/sys.h"
#include "dns/resolver.h"
#include "loop/loop.h"

enum {
    TYPE_A = 1,
    TYPE_CNAME = 5,
    TYPE_AAAA = 28,
    RCODE_OK = 0,
    RCODE_FAILED = 2,
    RCODE_ABSENT = 3,
    DATAGRAM_MAX = 1232
};

/* ---- the server ---- */

struct record {
    const char *name;
    int type;
    const char *value; /* address; for an alias the other name */
    uint32_t ttl_s;
};

static const struct record zone[] = {
    { "two.test.", TYPE_A, "10.0.0.2", 30 },       { "two.test.", TYPE_A, "10.0.0.1", 20 },
    { "two.test.", TYPE_AAAA, "fd00::1", 60 },     { "four.test.", TYPE_A, "10.4.0.1", 0 },
    { "six.test.", TYPE_AAAA, "fd00::6", 90 },     { "alias.test.", TYPE_CNAME, "two.test.", 7 },
    { "long.test.", TYPE_A, "10.9.0.1", 4000000 },
};

static struct loop loop;
static struct io server, server_listener;
static char server_text[64];
static int questions;
static struct resolver *resolver;

struct message {
    uint8_t bytes[4096];
    size_t len;
};

static void put16(struct message *message, unsigned value)
{
    message->bytes[message->len++] = (uint8_t)(value >> 8);
    message->bytes[message->len++] = (uint8_t)value;
}

static void put_name(struct message *message, const char *name)
{
    for (const char *dot; (dot = strchr(name, '.')); name = dot + 1) {
        message->bytes[message->len++] = (uint8_t)(dot - name);
        memcpy(message->bytes + message->len, name, (size_t)(dot - name));
        message->len += (size_t)(dot - name);
    }
    message->bytes[message->len++] = 0;
}

static void put_record(struct message *message, const char *name, int type, uint32_t ttl_s, const char *value)
{
    struct message data = { .len = 0 };

    if (type == TYPE_CNAME) {
        put_name(&data, value);
    } else {
        inet_pton(type == TYPE_A ? AF_INET : AF_INET6, value, data.bytes);
        data.len = type == TYPE_A ? 4 : 16;
    }
    put_name(message, name);
    put16(message, (unsigned)type);
    put16(message, 1);
    put16(message, ttl_s >> 16);
    put16(message, ttl_s & 0xffff);
    put16(message, (unsigned)data.len);
    memcpy(message->bytes + message->len, data.bytes, data.len);
    message->len += data.len;
    message->bytes[7]++; /* the count of answers */
}

/* Reads the question's name to text; returns where its type stands. */
static size_t question_name(const uint8_t *bytes, size_t len, char name[256])
{
    size_t at = 12, out = 0;

    while (at < len && bytes[at] != 0) {
        size_t label = bytes[at];
        assert_true(at + label + 5 < len + 1 && out + label + 1 < 255);
        memcpy(name + out, bytes + at + 1, label);
        out += label;
        name[out++] = '.';
        at += label + 1;
    }
    name[out] = '\0';
    return at + 1;
}

static int put_answers(struct message *message, const char *name, int type)
{
    bool known = false;
    char value[32];

    for (size_t i = 0; i < ARRAY_LEN(zone); i++) {
        if (strcasecmp(zone[i].name, name) != 0)
            continue;
        known = true;
        if (zone[i].type == TYPE_CNAME) {
            put_record(message, name, TYPE_CNAME, zone[i].ttl_s, zone[i].value);
            put_answers(message, zone[i].value, type);
        } else if (zone[i].type == type) {
            put_record(message, name, type, zone[i].ttl_s, zone[i].value);
        }
    }
    if (strcasecmp(name, "many.test.") == 0) {
        known = true;
        for (int i = 0; i < 80 && type == TYPE_A; i++) {
            snprintf(value, sizeof(value), "10.1.0.%d", (i * 37) % 80);
            put_record(message, name, TYPE_A, 50, value);
        }
    }
    if (strcasecmp(name, "broken.test.") == 0)
        return RCODE_FAILED;
    return known ? RCODE_OK : RCODE_ABSENT;
}

/* Turns a question into its answer; false for silence. */
static bool answer(struct message *message)
{
    char name[256];
    size_t type_at = question_name(message->bytes, message->len, name);
    int type = message->bytes[type_at] << 8 | message->bytes[type_at + 1];

    questions++;
    memset(message->bytes + 2, 0, 10);
    message->bytes[2] = 0x81; /* an answer, recursion desired */
    message->bytes[5] = 1;    /* one question */
    message->len = type_at + 4;
    message->bytes[3] = (uint8_t)(0x80 | put_answers(message, name, type));
    return strcasecmp(name, "silent.test.") != 0;
}

static void server_datagram(struct io *io)
{
    struct message message;
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    ssize_t got = recvfrom(io->fd, message.bytes, 512, 0, (struct sockaddr *)&from, &from_len);

    if (got < 12)
        return;
    message.len = (size_t)got;
    if (!answer(&message))
        return;
    if (message.len > DATAGRAM_MAX) { /* cut: the asker comes back over TCP */
        message.len = DATAGRAM_MAX;
        message.bytes[2] |= 2;
        message.bytes[7] = 0;
    }
    sendto(io->fd, message.bytes, message.len, 0, (struct sockaddr *)&from, from_len);
}

/* One connection at a time, one question on it. */
static struct io connection;
static struct message stream;

static void server_stream(struct io *io)
{
    ssize_t got = recv(io->fd, stream.bytes + stream.len, sizeof(stream.bytes) - stream.len, 0);

    if (got <= 0) {
        loop_close(&loop, io);
        return;
    }
    stream.len += (size_t)got;
    if (stream.len < 2 || stream.len < 2u + (unsigned)(stream.bytes[0] << 8 | stream.bytes[1]))
        return;
    struct message message = { .len = stream.len - 2 };
    memcpy(message.bytes, stream.bytes + 2, message.len);
    answer(&message);
    stream.len = 0;
    put16(&stream, (unsigned)message.len);
    memcpy(stream.bytes + 2, message.bytes, message.len);
    assert_int_equal(send(io->fd, stream.bytes, message.len + 2, MSG_NOSIGNAL), message.len + 2);
    stream.len = 0;
}

static void server_accept(struct io *io)
{
    int fd = sys->accept(io->fd, NULL, NULL);

    assert_true(fd >= 0);
    loop_close(&loop, &connection);
    io_init(&connection, fd, server_stream);
    stream.len = 0;
    assert_int_equal(loop_watch(&loop, &connection, IO_LEVEL_READ), 0);
}

/* ---- the asker ---- */

struct asker {
    struct dns_query query;
    int completed;
    struct asker *next; /* looked up from the completion */
};

static void lookup(struct asker *asker, const char *name, enum dns_family family)
{
    resolver_lookup(resolver, slice_from(name), 8080, family, &asker->query);
}

static void on_complete(struct op *op)
{
    struct asker *asker = container_of(op, struct asker, query.op);

    asker->completed++;
    if (asker->next)
        lookup(asker->next, "four.test", DNS_IPV4_ONLY);
}

static void wait_for(struct asker *asker)
{
    while (asker->completed == 0)
        loop_turn(&loop, -1);
    assert_int_equal(asker->completed, 1);
    assert_false(asker->query.op.pending);
}

static struct asker *ask(const char *name, enum dns_family family)
{
    static struct asker asker;

    asker = (struct asker){ .query.op.on_complete = on_complete };
    lookup(&asker, name, family);
    wait_for(&asker);
    return &asker;
}

static const char *text_of(const struct dns_answer *answer)
{
    static char text[2048];
    char one[ADDRESS_TEXT_MAX];
    size_t len = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < answer->n && len < 1900; i++) {
        address_format(&answer->v[i], true, one);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i ? " " : "", one);
    }
    return text;
}

static int start_resolver(uint32_t timeout_ms, uint32_t tries)
{
    const char *const servers[] = { server_text };
    struct resolver_options options = { servers, 1, timeout_ms, tries };

    return resolver_new(&loop, &options, &resolver);
}

static int set_up(void **state)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(at);
    int fd = -1, listener = -1;

    questions = 0;
    connection.fd = -1;
    if (loop_init(&loop, NULL) < 0)
        return -1;
    /* A port that is free for TCP is not always free for UDP. */
    for (int tries = 0; tries < 50 && fd < 0; tries++) {
        at.sin_port = 0;
        if (listener >= 0)
            close(listener);
        listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (bind(listener, (struct sockaddr *)&at, len) < 0 || listen(listener, 4) < 0 ||
            getsockname(listener, (struct sockaddr *)&at, &len) < 0)
            return -1;
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (bind(fd, (struct sockaddr *)&at, len) < 0) {
            close(fd);
            fd = -1;
        }
    }
    snprintf(server_text, sizeof(server_text), "127.0.0.1:%d", ntohs(at.sin_port));
    io_init(&server, fd, server_datagram);
    io_init(&server_listener, listener, server_accept);
    if (loop_watch(&loop, &server, IO_LEVEL_READ) < 0 || loop_watch(&loop, &server_listener, IO_LEVEL_READ) < 0)
        return -1;
    return start_resolver(5000, 2);
}

static int tear_down(void **state)
{
    resolver_free(resolver);
    loop_close(&loop, &server);
    loop_close(&loop, &server_listener);
    loop_close(&loop, &connection);
    uint32_t watched = loop.watched, armed = loop.timers_armed;
    loop_done(&loop);
    return watched == 1 && armed == 0 ? 0 : -1;
}

static void both_families_come_sorted_with_the_shortest_ttl(void **state)
{
    struct dns_answer *answer = &ask("two.test", DNS_IPV4_FIRST)->query.answer;

    assert_int_equal(answer->err, ERR_NONE);
    assert_string_equal(text_of(answer), "10.0.0.1:8080 10.0.0.2:8080 [fd00::1]:8080");
    assert_int_equal(answer->ttl_s, 20);
    answer = &ask("two.test", DNS_IPV6_FIRST)->query.answer;
    assert_string_equal(text_of(answer), "[fd00::1]:8080 10.0.0.1:8080 10.0.0.2:8080");
}

static void one_family_alone_is_asked_for_alone(void **state)
{
    struct dns_answer *answer = &ask("two.test", DNS_IPV6_ONLY)->query.answer;

    assert_string_equal(text_of(answer), "[fd00::1]:8080");
    assert_int_equal(answer->ttl_s, 60);
    assert_int_equal(questions, 1);
    answer = &ask("two.test", DNS_IPV4_ONLY)->query.answer;
    assert_string_equal(text_of(answer), "10.0.0.1:8080 10.0.0.2:8080");
    assert_int_equal(questions, 2);
}

static void a_name_with_one_family_resolves_when_both_are_welcome(void **state)
{
    assert_string_equal(text_of(&ask("six.test", DNS_IPV4_FIRST)->query.answer), "[fd00::6]:8080");
    assert_string_equal(text_of(&ask("four.test", DNS_IPV6_FIRST)->query.answer), "10.4.0.1:8080");
}

static void ttls_are_kept_within_reason(void **state)
{
    assert_int_equal(ask("four.test", DNS_IPV4_ONLY)->query.answer.ttl_s, DNS_TTL_MIN_S);
    assert_int_equal(ask("long.test", DNS_IPV4_ONLY)->query.answer.ttl_s, DNS_TTL_MAX_S);
}

static void the_ttl_of_an_alias_counts_too(void **state)
{
    struct dns_answer *answer = &ask("alias.test", DNS_IPV4_ONLY)->query.answer;

    assert_string_equal(text_of(answer), "10.0.0.1:8080 10.0.0.2:8080");
    assert_int_equal(answer->ttl_s, 7);
}

static void an_answer_too_long_for_a_datagram_comes_over_tcp_and_what_is_beyond_the_limit_is_left_out(void **state)
{
    assert_int_equal(ask("many.test", DNS_IPV4_ONLY)->query.answer.n, DNS_ADDRESSES_MAX);
    assert_int_equal(questions, 2);
}

static void a_name_that_is_not_there_is_told_from_a_server_that_fails(void **state)
{
    struct dns_answer *answer = &ask("nothing.test.", DNS_IPV4_FIRST)->query.answer;

    assert_int_equal(answer->err, ERR_NAME_UNRESOLVED);
    assert_true(answer->absent);
    assert_int_equal(answer->n, 0);
    assert_int_equal(answer->ttl_s, DNS_TTL_FAILED_S);
    assert_non_null(answer->why);
    answer = &ask("broken.test.", DNS_IPV4_FIRST)->query.answer;
    assert_int_equal(answer->err, ERR_NAME_UNRESOLVED);
    assert_false(answer->absent);
}

static void a_family_that_is_not_there_is_an_absence(void **state)
{
    struct dns_answer *answer = &ask("six.test.", DNS_IPV4_ONLY)->query.answer;

    assert_int_equal(answer->err, ERR_NAME_UNRESOLVED);
    assert_true(answer->absent);
}

static void a_silent_server_fails_the_lookup_in_time(void **state)
{
    resolver_free(resolver);
    assert_int_equal(start_resolver(20, 2), 0);
    struct dns_answer *answer = &ask("silent.test.", DNS_IPV4_ONLY)->query.answer;
    assert_int_equal(answer->err, ERR_NAME_UNRESOLVED);
    assert_false(answer->absent);
    assert_int_equal(questions, 2);
}

static void a_cancelled_lookup_never_completes(void **state)
{
    struct asker cancelled = { .query.op.on_complete = on_complete }, other = { .query.op.on_complete = on_complete };

    lookup(&cancelled, "two.test", DNS_IPV4_FIRST);
    lookup(&other, "four.test", DNS_IPV4_ONLY);
    assert_true(cancelled.query.op.pending);
    op_cancel(&cancelled.query.op);
    memset(&cancelled.query, 0xee, sizeof(cancelled.query)); /* its owner is gone */
    wait_for(&other);
    while (loop.timers_armed > 0) /* until c-ares has nothing under way */
        loop_turn(&loop, -1);
    assert_int_equal(cancelled.completed, 0);
}

static void numbers_and_bad_names_are_answered_at_once(void **state)
{
    static char long_name[300];
    struct asker asker = { .query.op.on_complete = on_complete };

    lookup(&asker, "192.0.2.1", DNS_IPV6_ONLY);
    assert_int_equal(asker.completed, 1);
    assert_string_equal(text_of(&asker.query.answer), "192.0.2.1:8080");
    assert_true(asker.query.answer.ttl_s == UINT32_MAX);
    lookup(&asker, "fd00::9", DNS_IPV4_ONLY);
    assert_int_equal(asker.completed, 2);
    assert_string_equal(text_of(&asker.query.answer), "[fd00::9]:8080");
    lookup(&asker, "", DNS_IPV4_ONLY);
    assert_int_equal(asker.completed, 3);
    assert_int_equal(asker.query.answer.err, ERR_NAME_UNRESOLVED);
    memset(long_name, 'a', 299);
    lookup(&asker, long_name, DNS_IPV4_ONLY);
    assert_int_equal(asker.completed, 4);
    assert_int_equal(asker.query.answer.err, ERR_NAME_UNRESOLVED);
    assert_int_equal(questions, 0);
}

static void the_hosts_file_is_honoured(void **state)
{
    struct dns_answer *answer = &ask("localhost", DNS_IPV4_ONLY)->query.answer;

    assert_string_equal(text_of(answer), "127.0.0.1:8080");
    assert_int_equal(questions, 0);
}

static void a_completion_may_look_up_again(void **state)
{
    struct asker second = { .query.op.on_complete = on_complete };
    struct asker first = { .query.op.on_complete = on_complete, .next = &second };

    lookup(&first, "two.test", DNS_IPV4_ONLY);
    wait_for(&first);
    wait_for(&second);
    assert_string_equal(text_of(&second.query.answer), "10.4.0.1:8080");
}

static void freeing_the_resolver_completes_what_is_pending(void **state)
{
    struct asker asker = { .query.op.on_complete = on_complete };

    lookup(&asker, "silent.test.", DNS_IPV4_FIRST);
    resolver_free(resolver);
    resolver = NULL;
    assert_int_equal(asker.completed, 1);
    assert_int_equal(asker.query.answer.err, ERR_NAME_UNRESOLVED);
}

static void servers_that_are_no_addresses_are_refused(void **state)
{
    static const char *const bad[] = { "dns.example", "10.0.0.1:0", "unix:/x", "10.0.0.1:99999" };
    struct resolver *none = NULL;

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct resolver_options options = { .servers = &bad[i], .servers_count = 1 };
        assert_int_equal(resolver_new(&loop, &options, &none), -ERR_BAD_TARGET);
    }
    static const char *const good[] = { "10.0.0.1", "::1", "[::1]:5353" };
    struct resolver_options options = { .servers = good, .servers_count = ARRAY_LEN(good) };
    assert_int_equal(resolver_new(&loop, &options, &none), 0);
    resolver_free(none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(both_families_come_sorted_with_the_shortest_ttl),
        TEST(one_family_alone_is_asked_for_alone),
        TEST(a_name_with_one_family_resolves_when_both_are_welcome),
        TEST(ttls_are_kept_within_reason),
        TEST(the_ttl_of_an_alias_counts_too),
        TEST(an_answer_too_long_for_a_datagram_comes_over_tcp_and_what_is_beyond_the_limit_is_left_out),
        TEST(a_name_that_is_not_there_is_told_from_a_server_that_fails),
        TEST(a_family_that_is_not_there_is_an_absence),
        TEST(a_silent_server_fails_the_lookup_in_time),
        TEST(a_cancelled_lookup_never_completes),
        TEST(numbers_and_bad_names_are_answered_at_once),
        TEST(the_hosts_file_is_honoured),
        TEST(a_completion_may_look_up_again),
        TEST(freeing_the_resolver_completes_what_is_pending),
        TEST(servers_that_are_no_addresses_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
