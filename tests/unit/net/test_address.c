/*
 * Addresses and networks: text both ways, sockaddr both ways, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include <cmocka.h>

#include "net/address.h"

static struct address parsed(const char *text)
{
    struct address address;
    const char *why = NULL;

    if (address_parse(slice_from(text), &address, &why) < 0)
        fail_msg("%s: %s", text, why);
    return address;
}

static void what_is_parsed_is_printed_back(void **state)
{
    static const char *const texts[] = {
        "1.2.3.4:80",    "0.0.0.0:0",           "255.255.255.255:65535", "[::1]:8443",
        "[fe80::1%3]:1", "[2001:db8::a:b]:443", "unix:/run/x.sock",
    };
    char text[ADDRESS_TEXT_MAX];

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct address address = parsed(texts[i]);
        assert_int_equal(address_format(&address, true, text), strlen(texts[i]));
        assert_string_equal(text, texts[i]);
    }
}

static void a_port_alone_means_any_address_of_both_families(void **state)
{
    struct address address = parsed(":8080");
    char text[ADDRESS_TEXT_MAX];

    address_format(&address, true, text);
    assert_string_equal(text, "[::]:8080");
    assert_int_equal(address_format(&address, false, text), 2);
    assert_string_equal(text, "::");
}

static void what_is_not_an_address_is_refused_with_a_reason(void **state)
{
    static const char *const texts[] = {
        "",         "example.com:80", "1.2.3.4",     "1.2.3.4:", "1.2.3.4:65536",  "1.2.3.4:-1",       "1.2.3.4:8o",
        "1.2.3:80", "01.2.3.4:1",     "1.2.3.256:1", "::1:80",   "[::1]",          "[::1]80",          "[::1]:",
        "[::1:80",  "[1.2.3.4]:80",   "[]:80",       "[::g]:80", "1.2.3.4:000080", "[fe80::1%eth0]:1", "1.2.3.4%1:80",
        "unix:",    "1.2.3.4 :80",    "[::1%]:80",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct address address;
        const char *why = NULL;
        if (address_parse(slice_from(texts[i]), &address, &why) != -ERR_BAD_TARGET)
            fail_msg("taken: \"%s\"", texts[i]);
        assert_non_null(why);
        assert_int_equal(address_parse(slice_from(texts[i]), &address, NULL), -ERR_BAD_TARGET);
    }
}

static void a_unix_path_fits_or_is_refused(void **state)
{
    struct address address;
    struct sockaddr_storage at;
    char text[200] = "unix:";

    memset(text + 5, 'p', 107);
    assert_int_equal(address_parse(slice_make(text, 112), &address, NULL), 0);
    assert_int_equal(address_to_sockaddr(&address, &at), offsetof(struct sockaddr_un, sun_path) + 108);
    assert_int_equal(strlen(((struct sockaddr_un *)&at)->sun_path), 107);
    memset(text + 5, 'p', 108);
    assert_int_equal(address_parse(slice_make(text, 113), &address, NULL), -ERR_BAD_TARGET);
    assert_int_equal(address_parse(slice_make("unix:a\0b", 8), &address, NULL), -ERR_BAD_TARGET);
}

static void names_and_ports_are_split(void **state)
{
    struct slice host;
    uint16_t port;

    assert_true(address_split(SLICE("example.com:8080"), &host, &port));
    assert_true(slice_eq(host, SLICE("example.com")));
    assert_int_equal(port, 8080);
    assert_true(address_split(SLICE("[fd00::2]:1"), &host, &port));
    assert_true(slice_eq(host, SLICE("fd00::2")));
    assert_false(address_split(SLICE("example.com"), &host, &port));
    assert_false(address_split(SLICE("example.com:http"), &host, &port));
    assert_false(address_split(SLICE("a:1:2"), &host, &port));
}

static void an_address_survives_the_sockaddr(void **state)
{
    static const char *const texts[] = { "1.2.3.4:80", "[fe80::1%3]:1", "[::ffff:1.2.3.4]:9" };

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct address address = parsed(texts[i]), back;
        struct sockaddr_storage at;
        socklen_t len = address_to_sockaddr(&address, &at);
        address_from_sockaddr((const struct sockaddr *)&at, len, &back);
        assert_true(address_eq(&address, &back));
        address_from_sockaddr((const struct sockaddr *)&at, 1, &back);
        assert_int_equal(back.family, AF_UNSPEC);
    }
}

static void a_mapped_address_is_unmapped(void **state)
{
    struct address mapped = parsed("[::ffff:10.1.2.3]:80"), plain = parsed("10.1.2.3:80"), other = parsed("[::1]:80");

    assert_false(address_eq(&mapped, &plain));
    address_unmap(&mapped);
    assert_true(address_eq(&mapped, &plain));
    address_unmap(&other);
    assert_int_equal(other.family, AF_INET6);
}

static void loopback_is_known_in_each_form(void **state)
{
    static const char *const yes[] = { "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/x" };
    static const char *const no[] = { "128.0.0.1:1", "[::]:1", "[::2]:1", "[::ffff:128.0.0.1]:1" };
    struct address address;

    for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
        address = parsed(yes[i]);
        assert_true(address_is_loopback(&address));
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++) {
        address = parsed(no[i]);
        assert_false(address_is_loopback(&address));
    }
}

static bool contains(const char *network_text, const char *address_text)
{
    struct network network;
    struct address address = parsed(address_text);
    const char *why = NULL;

    if (network_parse(slice_from(network_text), &network, &why) < 0)
        fail_msg("%s: %s", network_text, why);
    return network_contains(&network, &address);
}

static void networks_contain_what_their_prefix_says(void **state)
{
    assert_true(contains("10.0.0.0/8", "10.255.0.1:1"));
    assert_false(contains("10.0.0.0/8", "11.0.0.1:1"));
    assert_true(contains("0.0.0.0/0", "200.0.0.1:1"));
    assert_false(contains("0.0.0.0/0", "[::1]:1"));
    assert_true(contains("192.168.4.0/22", "192.168.7.255:1"));
    assert_false(contains("192.168.4.0/22", "192.168.8.0:1"));
    assert_true(contains("127.0.0.1", "127.0.0.1:99"));
    assert_false(contains("127.0.0.1", "127.0.0.2:99"));
    assert_true(contains("10.0.0.0/8", "[::ffff:10.1.1.1]:1"));
    assert_true(contains("fd00::/8", "[fdff::1]:1"));
    assert_false(contains("fd00::/8", "[fe00::1]:1"));
    assert_true(contains("2001:db8::/33", "[2001:db8:7fff::1]:1"));
    assert_false(contains("2001:db8::/33", "[2001:db8:8000::1]:1"));
    assert_true(contains("::/0", "[1::]:1"));
    assert_true(contains("unix:", "unix:/any"));
    assert_false(contains("unix:", "127.0.0.1:1"));
}

static void what_is_not_a_network_is_refused_with_a_reason(void **state)
{
    static const char *const texts[] = {
        "",      "10.0.0.0/33", "10.0.0.0/",  "10.0.0.1/8",  "10.0.0.0/8/8", "fd00::/129", "example.com",
        "[::1]", "10.0.0.0:80", "fd00::1/64", "10.0.0.0/-1", "128.0.0.0/0"
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct network network;
        const char *why = NULL;
        if (network_parse(slice_from(texts[i]), &network, &why) == 0)
            fail_msg("taken: \"%s\"", texts[i]);
        assert_non_null(why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_parsed_is_printed_back),
        cmocka_unit_test(a_port_alone_means_any_address_of_both_families),
        cmocka_unit_test(what_is_not_an_address_is_refused_with_a_reason),
        cmocka_unit_test(a_unix_path_fits_or_is_refused),
        cmocka_unit_test(names_and_ports_are_split),
        cmocka_unit_test(an_address_survives_the_sockaddr),
        cmocka_unit_test(a_mapped_address_is_unmapped),
        cmocka_unit_test(loopback_is_known_in_each_form),
        cmocka_unit_test(networks_contain_what_their_prefix_says),
        cmocka_unit_test(what_is_not_a_network_is_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
