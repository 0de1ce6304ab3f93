/*
 * SRV answers, byte by byte: what is read, what is left out, and that no cut or loop in a message leads anywhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "dns/resolver.h"
#include "dns/srv.h"

struct message {
    uint8_t bytes[4096];
    size_t len;
};

static void put(struct message *m, const void *bytes, size_t len)
{
    assert_true(m->len + len <= sizeof(m->bytes));
    memcpy(m->bytes + m->len, bytes, len);
    m->len += len;
}

static void put16(struct message *m, unsigned value)
{
    const uint8_t bytes[] = { (uint8_t)(value >> 8), (uint8_t)value };
    put(m, bytes, 2);
}

static void put_name(struct message *m, const char *name)
{
    while (*name) {
        size_t len = strcspn(name, ".");
        uint8_t byte = (uint8_t)len;
        put(m, &byte, 1);
        put(m, name, len);
        name += len + (name[len] == '.');
    }
    put(m, "", 1);
}

enum { QUESTION_AT = 12 };

static struct message begin(unsigned flags, unsigned answers)
{
    struct message m = { .len = 0 };
    put16(&m, 7);
    put16(&m, 0x8180 | flags);
    put16(&m, 1);
    put16(&m, answers);
    put16(&m, 0);
    put16(&m, 0);
    put_name(&m, "_http._tcp.users.test");
    put16(&m, 33);
    put16(&m, 1);
    return m;
}

static void put_record(struct message *m, unsigned type, uint32_t ttl, const struct message *data)
{
    put16(m, 0xc000 | QUESTION_AT);
    put16(m, type);
    put16(m, 1);
    put16(m, ttl >> 16);
    put16(m, ttl & 0xffff);
    put16(m, (unsigned)data->len);
    put(m, data->bytes, data->len);
}

static void put_srv(struct message *m, uint32_t ttl, unsigned priority, unsigned weight, unsigned port,
                    const char *host)
{
    struct message data = { .len = 0 };
    put16(&data, priority);
    put16(&data, weight);
    put16(&data, port);
    put_name(&data, host);
    put_record(m, 33, ttl, &data);
}

static struct srv_answer *read_it(const struct message *m)
{
    static struct srv_answer answer;
    srv_read(m->bytes, m->len, &answer);
    return &answer;
}

static void assert_record(const struct srv_answer *a, unsigned at, unsigned priority, unsigned weight, unsigned port,
                          const char *host)
{
    assert_true(at < a->n);
    assert_int_equal(a->v[at].priority, priority);
    assert_int_equal(a->v[at].weight, weight);
    assert_int_equal(a->v[at].port, port);
    assert_string_equal(a->v[at].host, host);
}

static void records_come_sorted_with_the_shortest_time(void **state)
{
    struct message m = begin(0, 3);
    put_srv(&m, 60, 20, 0, 8080, "c.users.test");
    put_srv(&m, 30, 10, 5, 8080, "B.Users.Test");
    put_srv(&m, 90, 10, 9, 8081, "a.users.test");
    const struct srv_answer *a = read_it(&m);
    assert_int_equal(a->err, ERR_NONE);
    assert_int_equal(a->n, 3);
    assert_int_equal(a->ttl_s, 30);
    assert_record(a, 0, 10, 9, 8081, "a.users.test");
    assert_record(a, 1, 10, 5, 8080, "b.users.test");
    assert_record(a, 2, 20, 0, 8080, "c.users.test");
}

static void a_compressed_host_and_an_alias_are_followed(void **state)
{
    struct message m = begin(0, 2), data = { .len = 0 };
    put_name(&data, "elsewhere.test");
    put_record(&m, 5, 7, &data);
    data.len = 0;
    put16(&data, 1);
    put16(&data, 2);
    put16(&data, 80);
    put(&data, "\1x", 2);
    put16(&data, 0xc000 | (QUESTION_AT + 11)); /* "users.test" of the question */
    put_record(&m, 33, 60, &data);
    const struct srv_answer *a = read_it(&m);
    assert_int_equal(a->ttl_s, 7);
    assert_record(a, 0, 1, 2, 80, "x.users.test");
}

static void what_is_no_host_is_left_out(void **state)
{
    struct message m = begin(0, 4);
    put_srv(&m, 60, 1, 1, 80, "");         /* "not available here" */
    put_srv(&m, 60, 1, 1, 0, "a.test");    /* no port */
    put_srv(&m, 60, 1, 1, 80, "a b.test"); /* no name of a host */
    put_srv(&m, 60, 1, 1, 80, "good.test");
    const struct srv_answer *a = read_it(&m);
    assert_int_equal(a->n, 1);
    assert_record(a, 0, 1, 1, 80, "good.test");
}

static void pointers_that_lead_forward_or_to_themselves_end(void **state)
{
    for (unsigned to = 0; to < 4; to++) {
        struct message m = begin(0, 1), data = { .len = 0 };
        put16(&data, 1);
        put16(&data, 1);
        put16(&data, 80);
        put(&data, "\1x", 2);
        size_t here = m.len + 12 + 6 + 2;
        put16(&data, (unsigned)(0xc000 | (here + to - 2))); /* the label before, itself, and behind it */
        put_record(&m, 33, 60, &data);
        const struct srv_answer *a = read_it(&m);
        assert_int_equal(a->n, 0);
        assert_int_equal(a->err, ERR_NAME_UNRESOLVED);
    }
}

static void times_are_kept_within_bounds(void **state)
{
    static const struct {
        uint32_t sent, kept;
    } cases[] = { { 0, DNS_TTL_MIN_S }, { 0x7fffffff, DNS_TTL_MAX_S }, { 0x80000000, DNS_TTL_MIN_S }, { 5, 5 } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct message m = begin(0, 1);
        put_srv(&m, cases[i].sent, 1, 1, 80, "a.test");
        assert_int_equal(read_it(&m)->ttl_s, cases[i].kept);
    }
}

static void more_records_than_there_is_room_for_are_left_out(void **state)
{
    struct message m = begin(0, SRV_RECORDS_MAX + 6);
    for (int i = 0; i < SRV_RECORDS_MAX + 6; i++)
        put_srv(&m, 60, 1, 1, (unsigned)i + 1, "a.test");
    assert_int_equal(read_it(&m)->n, SRV_RECORDS_MAX);
}

static void failures_are_told_apart(void **state)
{
    struct message failed = begin(2, 0), absent = begin(3, 0), empty = begin(0, 0);
    assert_false(read_it(&failed)->absent);
    assert_true(read_it(&absent)->absent);
    assert_true(read_it(&empty)->absent);
    assert_int_equal(read_it(&empty)->err, ERR_NAME_UNRESOLVED);
}

static void a_message_cut_anywhere_is_malformed(void **state)
{
    struct message m = begin(0, 2);
    put_srv(&m, 60, 1, 1, 80, "a.test");
    put_srv(&m, 60, 1, 1, 80, "b.test");
    for (size_t len = 0; len < m.len; len++) {
        static struct srv_answer answer;
        srv_read(m.bytes, len, &answer);
        assert_int_equal(answer.n, 0);
        assert_int_equal(answer.err, ERR_NAME_UNRESOLVED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_sorted_with_the_shortest_time),
        cmocka_unit_test(a_compressed_host_and_an_alias_are_followed),
        cmocka_unit_test(what_is_no_host_is_left_out),
        cmocka_unit_test(pointers_that_lead_forward_or_to_themselves_end),
        cmocka_unit_test(times_are_kept_within_bounds),
        cmocka_unit_test(more_records_than_there_is_room_for_are_left_out),
        cmocka_unit_test(failures_are_told_apart),
        cmocka_unit_test(a_message_cut_anywhere_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
