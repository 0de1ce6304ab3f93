/*
 * PROXY headers: what is read from them, what is refused, any cut the same, and that what is written reads back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/crc32c.h"
#include "net/proxy_header.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define INET4     "\xc0\0\x02\x01\xc6\x33\x64\x07\x12\x67\x01\xbb" /* 192.0.2.1:4711 to 198.51.100.7:443 */

/* A header of version 2 put together piece by piece. */
static struct {
    char bytes[70000];
    size_t len;
} made;

static void add(const char *bytes, size_t len)
{
    memcpy(made.bytes + made.len, bytes, len);
    made.len += len;
}
#define ADD(literal) add(literal, sizeof(literal) - 1)

static void begin(unsigned command, unsigned family)
{
    made.len = 0;
    ADD(SIGNATURE);
    made.bytes[made.len++] = (char)command;
    made.bytes[made.len++] = (char)family;
    ADD("\0\0");
}

static void add_tlv(unsigned type, const char *value, size_t len)
{
    char head[3] = { (char)type, (char)(len >> 8), (char)len };

    add(head, 3);
    add(value, len);
}
#define ADD_TLV(type, literal) add_tlv(type, literal, sizeof(literal) - 1)

static struct slice finish(void)
{
    made.bytes[14] = (char)((made.len - 16) >> 8);
    made.bytes[15] = (char)(made.len - 16);
    return slice_make(made.bytes, made.len);
}

static struct slice finish_with_sum(void)
{
    ADD_TLV(3, "\0\0\0\0");
    struct slice all = finish();
    uint32_t sum = crc32c(0, all);
    for (int i = 0; i < 4; i++)
        made.bytes[made.len - 4 + (size_t)i] = (char)(sum >> (24 - 8 * i));
    return all;
}

static struct proxy_header parsed(struct slice bytes)
{
    struct proxy_header header;
    size_t len;

    assert_int_equal(proxy_header_length(bytes, &len), 0);
    assert_int_equal(len, bytes.len);
    assert_int_equal(proxy_header_parse(bytes, &header), 0);
    return header;
}

/* By its length or by what it holds. */
static void assert_refused(struct slice bytes)
{
    struct proxy_header header;
    size_t len = 0;
    int err = proxy_header_length(bytes, &len);

    if (err == 0)
        err = len == bytes.len ? proxy_header_parse(bytes, &header) : 0;
    if (err != -ERR_BAD_PROXY_HEADER)
        fail_msg("not refused: %.*s", SLICE_ARG(bytes));
}

static void assert_address(const struct address *address, const char *expected)
{
    char text[ADDRESS_TEXT_MAX];

    address_format(address, true, text);
    assert_string_equal(text, expected);
}

static void assert_addresses(const struct proxy_header *header, const char *source, const char *destination)
{
    assert_false(header->local);
    assert_address(&header->source, source);
    assert_address(&header->destination, destination);
}

/* ---- version 1 ---- */

static void a_line_of_version_1_gives_addresses(void **state)
{
    struct proxy_header header = parsed(SLICE("PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n"));
    assert_int_equal(header.version, 1);
    assert_addresses(&header, "192.0.2.1:4711", "198.51.100.7:443");
    header = parsed(SLICE("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n"));
    assert_addresses(&header, "[2001:db8::1]:65535", "[::1]:0");
    header = parsed(SLICE("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.7 1 2\r\n"));
    assert_addresses(&header, "192.0.2.1:1", "198.51.100.7:2");
    header = parsed(SLICE("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                          "65535 65535\r\n"));
    assert_int_equal(header.source.port, 65535);
}

static void an_unknown_connection_is_the_balancers(void **state)
{
    assert_true(parsed(SLICE("PROXY UNKNOWN\r\n")).local);
    assert_true(parsed(SLICE("PROXY UNKNOWN what ever stands here\r\n")).local);
}

static void a_malformed_line_is_refused(void **state)
{
    static const char *const lines[] = {
        "PROXY\r\n",
        "PROXY \r\n",
        "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx",
        "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8\r\n",
        "PROXY TCP4 1.2.3.4\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP6 [::1] [::1] 1 2\r\n",
        "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 00000000000000000002\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 99999999999999999999 2\r\n",
        "GET / HTTP/1.1\r\n",
        "\r\n",
        "\r\n\r\n",
        "QUIT",
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        struct proxy_header header;
        struct slice line = slice_from(lines[i]);
        size_t len;
        if (proxy_header_length(line, &len) == 0 && (len == 0 || proxy_header_parse(line, &header) == 0) &&
            !slice_eq(line, SLICE("\r\n")) && !slice_eq(line, SLICE("\r\n\r\n"))) /* those begin version 2 */
            fail_msg("taken: %s", lines[i]);
    }
}

static void a_line_has_107_bytes_at_most(void **state)
{
    char line[300];
    size_t len;

    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(proxy_header_length(slice_make(line, 106), &len), 0);
    assert_int_equal(len, 0);
    assert_int_equal(proxy_header_length(slice_make(line, 107), &len), -ERR_BAD_PROXY_HEADER);
    memcpy(line + 105, "\r\n", 2);
    assert_true(parsed(slice_make(line, 107)).local);
    memcpy(line + 105, "x\r\n", 3);
    assert_int_equal(proxy_header_length(slice_make(line, 300), &len), -ERR_BAD_PROXY_HEADER);
}

static void a_nul_in_an_address_is_refused(void **state)
{
    assert_refused(SLICE("PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n"));
    assert_refused(SLICE("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\0\r\n"));
}

/* ---- version 2 ---- */

static void a_header_of_version_2_gives_addresses(void **state)
{
    begin(0x21, 0x11);
    ADD(INET4);
    struct proxy_header header = parsed(finish());
    assert_int_equal(header.version, 2);
    assert_addresses(&header, "192.0.2.1:4711", "198.51.100.7:443");
    begin(0x21, 0x21);
    ADD("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\x12\x67\x01\xbb");
    header = parsed(finish());
    assert_addresses(&header, "[2001:db8::1]:4711", "[::1]:443");
    begin(0x21, 0x31);
    memset(made.bytes + made.len, 'a', 216);
    made.len += 216;
    header = parsed(finish());
    assert_addresses(&header, "unix:", "unix:");
}

static void a_local_header_holds_what_it_likes(void **state)
{
    begin(0x20, 0);
    assert_true(parsed(finish()).local);
    begin(0x20, 0xff);
    ADD("\x05\xff\xff");
    assert_true(parsed(finish()).local);
    begin(0x20, 0x11);
    ADD(INET4);
    struct proxy_header header = parsed(finish());
    assert_true(header.local);
    assert_int_equal(header.source.family, AF_UNSPEC);
}

static void an_unspecified_family_keeps_what_else_is_said(void **state)
{
    begin(0x21, 0);
    ADD_TLV(5, "id");
    struct proxy_header header = parsed(finish());
    assert_true(header.local);
    assert_true(slice_eq(header.unique_id, SLICE("id")));
}

static void further_facts_are_read(void **state)
{
    begin(0x21, 0x11);
    ADD(INET4);
    ADD_TLV(1, "h2");
    ADD_TLV(2, "www.example");
    ADD_TLV(4, "nothing");
    ADD_TLV(5, "id\0\xff");
    ADD_TLV(0xea, "what a cloud says");
    ADD_TLV(0x30, "blue");
    ADD_TLV(0x20, "\x07\0\0\0\0\x21\0\7TLSv1.3\x22\0\2me\x23\0\3AES\x24\0\1x");
    struct proxy_header header = parsed(finish_with_sum());
    assert_true(slice_eq(header.alpn, SLICE("h2")));
    assert_true(slice_eq(header.authority, SLICE("www.example")));
    assert_true(slice_eq(header.unique_id, SLICE("id\0\xff")));
    assert_true(slice_eq(header.netns, SLICE("blue")));
    assert_true(header.tls.told && header.tls.verified && header.tls.cert_conn && header.tls.cert_session);
    assert_true(slice_eq(header.tls.version, SLICE("TLSv1.3")));
    assert_true(slice_eq(header.tls.common_name, SLICE("me")));
    assert_true(slice_eq(header.tls.cipher, SLICE("AES")));
}

static void a_certificate_that_was_not_shown_is_not_verified(void **state)
{
    begin(0x21, 0x11);
    ADD(INET4);
    ADD_TLV(0x20, "\x01\0\0\0\0");
    assert_false(parsed(finish()).tls.verified);
    begin(0x21, 0x11);
    ADD(INET4);
    ADD_TLV(0x20, "\x03\0\0\0\1");
    assert_false(parsed(finish()).tls.verified);
}

static void a_wrong_sum_is_refused(void **state)
{
    begin(0x21, 0x11);
    ADD(INET4);
    ADD_TLV(5, "id");
    struct slice all = finish_with_sum();
    (void)parsed(all);
    for (size_t i = 16; i < all.len; i++) {
        made.bytes[i] ^= 1;
        if (i != 33) /* the sum's type: what it is then has none */
            assert_refused(all);
        made.bytes[i] ^= 1;
    }
}

static void lengths_that_lie_are_refused(void **state)
{
    begin(0x21, 0x11); /* addresses cut short */
    add(INET4, 11);
    assert_refused(finish());
    begin(0x21, 0x21);
    add(INET4, 12);
    assert_refused(finish());
    begin(0x21, 0x11); /* a TLV that goes on behind the header */
    ADD(INET4 "\x05\0\x04"
              "abc");
    assert_refused(finish());
    begin(0x21, 0x11);
    ADD(INET4 "\x05\xff\xff"
              "abc");
    assert_refused(finish());
    begin(0x21, 0x11); /* half a TLV */
    ADD(INET4 "\x05\0");
    assert_refused(finish());
    begin(0x21, 0x11); /* and the same within TLS */
    ADD(INET4);
    ADD_TLV(0x20, "\x01\0\0\0\0\x21\0\7TLSv1.");
    assert_refused(finish());
    begin(0x21, 0x11);
    ADD(INET4);
    ADD_TLV(0x20, "\x01\0\0\0");
    assert_refused(finish());
    begin(0x21, 0x11);
    ADD(INET4);
    ADD_TLV(0x3, "abc");
    assert_refused(finish());
}

static void what_is_said_twice_is_refused(void **state)
{
    static const uint8_t types[] = { 1, 2, 5, 0x30 };

    for (size_t i = 0; i < sizeof(types); i++) {
        begin(0x21, 0x11);
        ADD(INET4);
        ADD_TLV(types[i], "");
        ADD_TLV(types[i], "x");
        assert_refused(finish());
    }
    begin(0x21, 0x11);
    ADD(INET4);
    ADD_TLV(0x20, "\x01\0\0\0\0");
    ADD_TLV(0x20, "\x01\0\0\0\0");
    assert_refused(finish());
}

static void texts_have_their_bounds(void **state)
{
    char text[256];

    memset(text, 'x', sizeof(text));
    begin(0x21, 0x11);
    ADD(INET4);
    add_tlv(5, text, 128);
    assert_int_equal(parsed(finish()).unique_id.len, 128);
    begin(0x21, 0x11);
    ADD(INET4);
    add_tlv(5, text, 129);
    assert_refused(finish());
    begin(0x21, 0x11);
    ADD(INET4);
    add_tlv(2, text, 256);
    assert_refused(finish());
}

static void other_versions_commands_and_families_are_refused(void **state)
{
    for (unsigned command = 0; command < 256; command++) {
        begin(command, 0x11);
        ADD(INET4);
        if (command != 0x20 && command != 0x21)
            assert_refused(finish());
    }
    for (unsigned family = 0; family < 256; family++) {
        begin(0x21, family);
        memset(made.bytes + made.len, 0, 216);
        made.len += 216;
        if (family != 0 && family != 0x11 && family != 0x21 && family != 0x31)
            assert_refused(finish());
    }
}

static void a_header_has_4_kib_at_most(void **state)
{
    static char zeros[4096];

    begin(0x21, 0x11);
    ADD(INET4);
    add_tlv(4, zeros, 4096 - made.len - 3);
    (void)parsed(finish());
    begin(0x21, 0x11);
    ADD(INET4);
    add_tlv(4, zeros, 4096 - made.len - 2);
    assert_refused(slice_make(finish().at, 16)); /* as soon as it says so */
}

/* ---- in pieces ---- */

static void a_cut_makes_no_difference(void **state)
{
    struct proxy_header header;
    size_t len;

    begin(0x21, 0x11);
    ADD(INET4);
    ADD_TLV(5, "id");
    struct slice all = finish_with_sum();
    for (size_t cut = 0; cut < all.len; cut++) {
        assert_int_equal(proxy_header_length(slice_make(all.at, cut), &len), 0);
        assert_int_equal(len, cut < 16 ? 0 : all.len);
        assert_int_equal(proxy_header_parse(slice_make(all.at, cut), &header), -ERR_BAD_PROXY_HEADER);
        assert_true(proxy_header_may_begin(slice_make(all.at, cut)));
    }
    all = SLICE("PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n");
    for (size_t cut = 0; cut < all.len; cut++) {
        assert_int_equal(proxy_header_length(slice_make(all.at, cut), &len), 0);
        assert_int_equal(len, 0);
        assert_true(proxy_header_may_begin(slice_make(all.at, cut)));
    }
}

static void what_is_behind_a_header_does_not_count(void **state)
{
    size_t len;

    assert_int_equal(proxy_header_length(SLICE("PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n"), &len), 0);
    assert_int_equal(len, 15);
    begin(0x20, 0);
    finish();
    ADD("GET / HTTP/1.1\r\n");
    assert_int_equal(proxy_header_length(slice_make(made.bytes, made.len), &len), 0);
    assert_int_equal(len, 16);
}

static void another_protocol_is_known_by_its_first_bytes(void **state)
{
    size_t len;

    assert_int_equal(proxy_header_length(SLICE("G"), &len), -ERR_BAD_PROXY_HEADER);
    assert_int_equal(proxy_header_length(SLICE("PRI * HTTP/2.0\r\n"), &len), -ERR_BAD_PROXY_HEADER);
    assert_int_equal(proxy_header_length(SLICE("\x16\x03\x01"), &len), -ERR_BAD_PROXY_HEADER);
    assert_int_equal(proxy_header_length(SLICE("\r\n\r\n\0\r\nQUIT\r"), &len), -ERR_BAD_PROXY_HEADER);
    assert_false(proxy_header_may_begin(SLICE("PO")));
    assert_true(proxy_header_may_begin(SLICE("P")));
}

/* ---- writing ---- */

static struct address at(const char *text)
{
    struct address address;

    assert_int_equal(address_parse(slice_from(text), &address, NULL), 0);
    return address;
}

static void version_1_is_written(void **state)
{
    static const struct {
        const char *source, *destination, *line;
    } cases[] = {
        { "192.0.2.1:4711", "198.51.100.7:443", "PROXY TCP4 192.0.2.1 198.51.100.7 4711 443\r\n" },
        { "[2001:db8::1]:1", "[::1]:2", "PROXY TCP6 2001:db8::1 ::1 1 2\r\n" },
        { "192.0.2.1:1", "[::1]:2", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n" },
        { "[fe80::1%3]:1", "[fe80::2%3]:2", "PROXY TCP6 fe80::1 fe80::2 1 2\r\n" },
        { "unix:", "unix:/x", "PROXY UNKNOWN\r\n" },
        { "192.0.2.1:1", "unix:/x", "PROXY UNKNOWN\r\n" },
    };
    char bytes[PROXY_WRITE_MAX];

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct proxy_header header = { .version = 1, .destination = at(cases[i].destination) };
        header.source = strcmp(cases[i].source, "unix:") == 0 ? (struct address){ .family = AF_UNIX, .path = "" }
                                                              : at(cases[i].source);
        size_t len = proxy_header_write(&header, bytes);
        assert_true(slice_eq(slice_make(bytes, len), slice_from(cases[i].line)));
        (void)parsed(slice_make(bytes, len));
    }
    struct proxy_header local = { .version = 1, .local = true };
    assert_int_equal(proxy_header_write(&local, bytes), 15);
}

static void version_2_reads_back(void **state)
{
    char bytes[PROXY_WRITE_MAX];
    struct proxy_header header = {
        .version = 2,
        .source = at("[2001:db8::1]:1"),
        .destination = at("198.51.100.7:443"),
        .alpn = SLICE("h2"),
        .authority = SLICE("www.example"),
        .unique_id = SLICE("id"),
        .tls = { .told = true,
                 .cert_conn = true,
                 .verified = true,
                 .version = SLICE("TLSv1.3"),
                 .cipher = SLICE("AES"),
                 .common_name = SLICE("me") },
    };
    size_t len = proxy_header_write(&header, bytes);
    struct proxy_header back = parsed(slice_make(bytes, len));
    assert_addresses(&back, "[2001:db8::1]:1", "198.51.100.7:443");
    assert_true(slice_eq(back.alpn, header.alpn) && slice_eq(back.authority, header.authority));
    assert_true(slice_eq(back.unique_id, header.unique_id));
    assert_true(back.tls.told && back.tls.verified && back.tls.cert_conn && !back.tls.cert_session);
    assert_true(slice_eq(back.tls.version, header.tls.version) && slice_eq(back.tls.cipher, header.tls.cipher));
    assert_true(slice_eq(back.tls.common_name, header.tls.common_name));
    bytes[20] ^= 1; /* it has a sum */
    assert_refused(slice_make(bytes, len));
}

static void version_2_says_local(void **state)
{
    char bytes[PROXY_WRITE_MAX];
    struct proxy_header header = { .version = 2, .local = true, .unique_id = SLICE("x") };
    size_t len = proxy_header_write(&header, bytes);

    assert_true(parsed(slice_make(bytes, len)).local);
    assert_memory_equal(bytes + 12, "\x20\0\0\x07", 4);
}

static void what_is_too_long_is_left_out(void **state)
{
    static char text[70000];
    char bytes[PROXY_WRITE_MAX];

    memset(text, 'x', sizeof(text));
    for (size_t len = 100; len <= sizeof(text); len = len < 400 ? len + 1 : len * 2) {
        struct slice all = slice_make(text, len);
        struct proxy_header header = {
            .version = 2,
            .source = at("192.0.2.1:1"),
            .destination = at("192.0.2.2:2"),
            .alpn = all,
            .authority = all,
            .unique_id = all,
            .tls = { .told = true, .version = all, .cipher = all, .common_name = all },
        };
        struct proxy_header back = parsed(slice_make(bytes, proxy_header_write(&header, bytes)));
        assert_int_equal(back.authority.len, len <= 255 ? len : 0);
        assert_int_equal(back.unique_id.len, len <= 128 ? len : 0);
        assert_int_equal(back.tls.common_name.len, len <= 255 ? len : 0);
    }
}

static void the_sum_is_the_one_that_is_known(void **state)
{
    static const char zeros[32];

    assert_int_equal(crc32c(0, SLICE("123456789")), 0xe3069283);
    assert_int_equal(crc32c(0, slice_make(zeros, 32)), 0x8a9136aa); /* RFC 3720 B.4 */
    assert_int_equal(crc32c(crc32c(0, SLICE("1234")), SLICE("56789")), 0xe3069283);
}

static void only_the_trusted_are_trusted(void **state)
{
    const struct network networks[] = {
        { { .family = AF_INET, .ip = { 10 } }, 8 },
        { { .family = AF_INET6, .ip = { 0xfd } }, 8 },
    };
    struct proxy_rules rules = { networks, 2, true };
    struct address peer = at("10.1.2.3:1");

    assert_true(proxy_rules_trust(&rules, &peer));
    peer = at("[fd00::1]:1");
    assert_true(proxy_rules_trust(&rules, &peer));
    peer = at("11.1.2.3:1");
    assert_false(proxy_rules_trust(&rules, &peer));
    rules.from_count = 0;
    assert_false(proxy_rules_trust(&rules, &peer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_of_version_1_gives_addresses),
        cmocka_unit_test(an_unknown_connection_is_the_balancers),
        cmocka_unit_test(a_malformed_line_is_refused),
        cmocka_unit_test(a_line_has_107_bytes_at_most),
        cmocka_unit_test(a_nul_in_an_address_is_refused),
        cmocka_unit_test(a_header_of_version_2_gives_addresses),
        cmocka_unit_test(a_local_header_holds_what_it_likes),
        cmocka_unit_test(an_unspecified_family_keeps_what_else_is_said),
        cmocka_unit_test(further_facts_are_read),
        cmocka_unit_test(a_certificate_that_was_not_shown_is_not_verified),
        cmocka_unit_test(a_wrong_sum_is_refused),
        cmocka_unit_test(lengths_that_lie_are_refused),
        cmocka_unit_test(what_is_said_twice_is_refused),
        cmocka_unit_test(texts_have_their_bounds),
        cmocka_unit_test(other_versions_commands_and_families_are_refused),
        cmocka_unit_test(a_header_has_4_kib_at_most),
        cmocka_unit_test(a_cut_makes_no_difference),
        cmocka_unit_test(what_is_behind_a_header_does_not_count),
        cmocka_unit_test(another_protocol_is_known_by_its_first_bytes),
        cmocka_unit_test(version_1_is_written),
        cmocka_unit_test(version_2_reads_back),
        cmocka_unit_test(version_2_says_local),
        cmocka_unit_test(what_is_too_long_is_left_out),
        cmocka_unit_test(the_sum_is_the_one_that_is_known),
        cmocka_unit_test(only_the_trusted_are_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
