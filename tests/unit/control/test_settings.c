/*
 * The configuration's schema: what is in force when nothing is said, and what is refused across fields.
 */
#include "configuring.h"

#include "base/assert.h"
#include "observe/log.h"

#define REST "routes: [ { respond: 204 } ]\n"
#define FULL "listeners: [ '127.0.0.1:8080' ]\n" REST

static void what_is_not_said_has_its_default(void **state)
{
    struct configured c;
    configure(&c, FULL);
    assert_int_equal(c.rc, 0);
    const struct settings *s = &c.settings;
    assert_int_equal(s->workers, 0);
    assert_string_equal(s->user, "nobody");
    assert_null(s->admin);
    assert_int_equal(s->log_level, LOG_LEVEL_NOTICE);
    assert_int_equal(s->limits.connections, 100000);
    assert_int_equal(s->limits.memory_bytes, 1 << 30);
    assert_int_equal(s->limits.head_bytes, 32768);
    assert_int_equal(s->limits.target_bytes, 8192);
    assert_int_equal(s->limits.fields, 128);
    assert_int_equal(s->limits.body_bytes, 0);
    assert_false(s->limits.underscores || s->limits.escaped_slashes || s->limits.empty_segments);
    assert_int_equal(s->timeouts.request_head_ms, 10000);
    assert_int_equal(s->timeouts.body_idle_ms, 30000);
    assert_int_equal(s->timeouts.keep_alive_ms, 65000);
    assert_int_equal(s->timeouts.exchange_ms, 0);
    assert_int_equal(s->timeouts.drain_ms, 30000);
    assert_true(s->forwarding.x_forwarded);
    assert_false(s->forwarding.forwarded);
    assert_int_equal(s->forwarding.trusted.count, 0);
    assert_string_equal(s->forwarding.via, "maitred");
    assert_int_equal(s->resolver.servers.count, 0);
    const struct listener_conf *listener = s->listeners.items;
    assert_int_equal(listener->backlog, 4096);
    assert_int_equal(listener->unix_mode, 0);
    configured_done(&c);
}

static void what_makes_no_sense_is_refused_with_a_word_on_why(void **state)
{
    static const struct {
        const char *yaml, *told;
    } cases[] = {
        { REST, "listeners" },
        { "listeners: []\n" REST, "at least one entry" },
        { "listeners: [ ':80', ':80' ]\n" REST, "listened on already by listeners[0]" },
        { "listeners: [ '127.0.0.1:9900' ]\nadmin: '127.0.0.1:9900'\n" REST, "listened on already by listeners[0]" },
        { "listeners: [ 'unix:/a' ]\nadmin: 'unix:/a'\n" REST, "listened on already by listeners[0]" },
        { FULL "admin: '0.0.0.0:9900'\n", "for this machine alone" },
        { FULL "admin: ':9900'\n", "for this machine alone" },
        { FULL "workers: 0\n", "from 1 to 256" },
        { FULL "workers: 257\n", "from 1 to 256" },
        { FULL "workers: many\n", "from 1 to 256" },
        { FULL "limits: { head: 2KiB, target: 4KiB }\n", "raise `head`" },
        { FULL "resolver: { servers: [ ns.example ] }\n", "name server" },
        { FULL "forwarding: { trusted: [ 10.0.0.1/8 ] }\n", "expected an address or a network" },
        { FULL "forwarding: { via: 'a b' }\n", "host-like name" },
        { "listeners: [ { address: 'unix:/a', mode: 999 } ]\n" REST, "in octal" },
        { "listeners: [ { address: 'unix:/a', mode: 7 } ]\n" REST, "in octal" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct configured c;
        configure(&c, cases[i].yaml);
        if (c.rc == 0 || !configured_told(&c, cases[i].told))
            fail_msg("not refused for %s: %s", cases[i].told, cases[i].yaml);
        configured_done(&c);
    }
}

static void what_stands_for_a_list_or_a_struct_is_read_as_one(void **state)
{
    struct configured c;
    configure(&c, "listeners: 'unix:/run/x.sock'\nadmin: '[::1]:9900'\nworkers: 256\n"
                  "forwarding: { trusted: 'unix:' }\nresolver: { servers: '127.0.0.1:53' }\n" REST);
    assert_int_equal(c.rc, 0);
    const struct listener_conf *listener = c.settings.listeners.items;
    assert_int_equal(c.settings.listeners.count, 1);
    assert_int_equal(listener->address.family, AF_UNIX);
    assert_int_equal(c.settings.admin->address.port, 9900);
    assert_int_equal(c.settings.workers, 256);
    assert_int_equal(c.settings.forwarding.trusted.count, 1);
    assert_string_equal(((const char **)c.settings.resolver.servers.items)[0], "127.0.0.1:53");
    configured_done(&c);
}

static void permissions_are_octal(void **state)
{
    struct configured c;
    configure(&c, "listeners: [ { address: 'unix:/a', mode: 0660 }, { address: 'unix:/b', mode: '600' } ]\n" REST);
    assert_int_equal(c.rc, 0);
    const struct listener_conf *listeners = c.settings.listeners.items;
    assert_int_equal(listeners[0].unix_mode, 0660);
    assert_int_equal(listeners[1].unix_mode, 0600);
    configured_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_said_has_its_default),
        cmocka_unit_test(what_makes_no_sense_is_refused_with_a_word_on_why),
        cmocka_unit_test(what_stands_for_a_list_or_a_struct_is_read_as_one),
        cmocka_unit_test(permissions_are_octal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
