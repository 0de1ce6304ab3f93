/*
 * Hops: for each peer and each chain of them, who the client is, what of the fields is believed, and what a service is
 * told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "exchange/exchange.h"
#include "exchange/forwarding.h"
#include "net/facts.h"

struct bench {
    struct memory memory;
    struct network trusted[2];
    struct forwarding_conf conf;
    struct address peer;
    struct stream down;
    struct message request;
    struct exchange x;
};

static void set_up(struct bench *b, const char *peer)
{
    const char *why;
    memset(b, 0, sizeof(*b));
    assert_int_equal(memory_init(&b->memory, NULL, 0), 0);
    assert_int_equal(network_parse(SLICE("10.0.0.0/8"), &b->trusted[0], &why), 0);
    assert_int_equal(network_parse(SLICE("unix:"), &b->trusted[1], &why), 0);
    b->conf.trusted.items = b->trusted;
    b->conf.trusted.count = ARRAY_LEN(b->trusted);
    if (strcmp(peer, "unix:") == 0)
        b->peer.family = AF_UNIX;
    else
        assert_int_equal(address_parse_ip(slice_from(peer), &b->peer), 0);
    b->down.peer = &b->peer;
    b->x.arena = arena_new(&b->memory, SIZE_MAX);
    b->x.down = &b->down;
    b->x.request = &b->request;
    b->request.version = HTTP_1_1;
    b->x.record.scheme = SLICE("http");
    b->x.record.authority = SLICE("shop.example");
}

static void tear_down(struct bench *b)
{
    arena_free(b->x.arena);
    memory_done(&b->memory);
}

static void add(struct bench *b, const char *name, const char *value)
{
    if (value)
        assert_int_equal(fields_add(&b->request.fields, b->x.arena, slice_from(name), slice_from(value)), 0);
}

static void assert_field(const struct message *message, const char *name, const char *wanted, const char *what)
{
    const struct field *field = fields_find_name(&message->fields, slice_from(name));
    struct slice got = field ? field->value : SLICE("(none)");
    if (!slice_eq(got, slice_from(wanted ? wanted : "(none)")))
        fail_msg("%s: %s is %.*s", what, name, SLICE_ARG(got));
}

static void the_client_is_the_right_most_hop_that_is_not_trusted(void **state)
{
    static const struct {
        const char *peer, *list, *forwarded; /* what came */
        const char *client, *list_left, *forwarded_left;
    } cases[] = {
        /* an untrusted peer's fields are its own inventions */
        { "1.2.3.4", NULL, NULL, "1.2.3.4", NULL, NULL },
        { "1.2.3.4", "9.9.9.9", "for=9.9.9.9", "1.2.3.4", NULL, NULL },
        /* a trusted one's are read from the right */
        { "10.0.0.1", NULL, NULL, "10.0.0.1", NULL, NULL },
        { "10.0.0.1", "9.9.9.9", NULL, "9.9.9.9", "9.9.9.9", NULL },
        { "10.0.0.1", "6.6.6.6, 9.9.9.9", NULL, "9.9.9.9", "9.9.9.9", NULL },
        { "10.0.0.1", "6.6.6.6, 9.9.9.9, 10.0.0.2", NULL, "9.9.9.9", "9.9.9.9, 10.0.0.2", NULL },
        { "10.0.0.1", "10.0.0.3, 10.0.0.2", NULL, "10.0.0.3", "10.0.0.3, 10.0.0.2", NULL },
        { "10.0.0.1", "9.9.9.9:1234, [2001:db8::1]:80", NULL, "2001:db8::1", "[2001:db8::1]:80", NULL },
        { "unix:", "9.9.9.9", NULL, "9.9.9.9", "9.9.9.9", NULL },
        /* what is no address ends the chain */
        { "10.0.0.1", "junk", NULL, "10.0.0.1", NULL, NULL },
        { "10.0.0.1", "9.9.9.9, junk, 10.0.0.2", NULL, "10.0.0.2", "10.0.0.2", NULL },
        { "10.0.0.1", "9.9.9.9,", NULL, "10.0.0.1", NULL, NULL },
        /* Forwarded says the same with more words */
        { "10.0.0.1", NULL, "for=9.9.9.9;proto=https", "9.9.9.9", NULL, "for=9.9.9.9;proto=https" },
        { "10.0.0.1", NULL, "for=6.6.6.6, For=\"[2001:db8::1]:80\";by=x, for=10.0.0.2", "2001:db8::1", NULL,
          "For=\"[2001:db8::1]:80\";by=x, for=10.0.0.2" },
        { "10.0.0.1", NULL, "for=_hidden, for=10.0.0.2", "10.0.0.2", NULL, "for=10.0.0.2" },
        { "10.0.0.1", NULL, "for=\"6.6.6.6, for=9.9.9.9", "10.0.0.1", NULL, NULL },
        /* where the two name different clients, the one that everyone writes is believed */
        { "10.0.0.1", "9.9.9.9", "for=9.9.9.9", "9.9.9.9", "9.9.9.9", "for=9.9.9.9" },
        { "10.0.0.1", "9.9.9.9", "for=6.6.6.6", "9.9.9.9", "9.9.9.9", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        char what[64];
        snprintf(what, sizeof(what), "case %zu", i);
        set_up(&b, cases[i].peer);
        add(&b, "X-Forwarded-For", cases[i].list);
        add(&b, "Forwarded", cases[i].forwarded);
        assert_int_equal(forwarding_apply(&b.x, &b.conf), 0);
        if (!slice_eq(b.x.record.client, slice_from(cases[i].client)))
            fail_msg("%s: the client is %.*s", what, SLICE_ARG(b.x.record.client));
        assert_field(&b.request, "X-Forwarded-For", cases[i].list_left, what);
        assert_field(&b.request, "Forwarded", cases[i].forwarded_left, what);
        tear_down(&b);
    }
}

static void lines_of_a_list_are_one_list(void **state)
{
    struct bench b;
    set_up(&b, "10.0.0.1");
    add(&b, "X-Forwarded-For", "6.6.6.6");
    add(&b, "X-Forwarded-For", "9.9.9.9, 10.0.0.2");
    assert_int_equal(forwarding_apply(&b.x, &b.conf), 0);
    assert_true(slice_eq(b.x.record.client, SLICE("9.9.9.9")));
    assert_field(&b.request, "X-Forwarded-For", "9.9.9.9, 10.0.0.2", "lines");
    tear_down(&b);
}

static void a_longer_way_than_anyone_takes_is_not_believed(void **state)
{
    struct bench b;
    char list[1024] = "9.9.9.9";
    for (int i = 0; i < 70; i++) {
        size_t len = strlen(list);
        snprintf(list + len, sizeof(list) - len, ",10.0.0.2");
    }
    set_up(&b, "10.0.0.1");
    add(&b, "X-Forwarded-For", list);
    assert_int_equal(forwarding_apply(&b.x, &b.conf), 0);
    assert_true(slice_eq(b.x.record.client, SLICE("10.0.0.1")));
    tear_down(&b);
}

static void an_untrusted_peer_says_nothing_of_scheme_and_host_either(void **state)
{
    static const char *const names[] = { "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP" };
    for (int trusted = 0; trusted < 2; trusted++) {
        struct bench b;
        set_up(&b, trusted ? "10.0.0.1" : "1.2.3.4");
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            add(&b, names[i], "said");
        assert_int_equal(forwarding_apply(&b.x, &b.conf), 0);
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            assert_field(&b.request, names[i], trusted ? "said" : NULL, "scheme and host");
        tear_down(&b);
    }
}

static void our_hop_is_put_behind_those_that_are_believed(void **state)
{
    struct bench b;
    set_up(&b, "10.0.0.1");
    b.conf.x_forwarded = b.conf.forwarded = true;
    b.conf.via = "front";
    add(&b, "X-Forwarded-For", "9.9.9.9");
    add(&b, "X-Forwarded-Proto", "https");
    add(&b, "Via", "1.0 cdn");
    assert_int_equal(forwarding_apply(&b.x, &b.conf), 0);
    assert_int_equal(forwarding_add_hop(&b.x, &b.conf, &b.request), 0);
    assert_field(&b.request, "X-Forwarded-For", "9.9.9.9, 10.0.0.1", "hop");
    assert_field(&b.request, "X-Forwarded-Proto", "https", "hop");
    assert_field(&b.request, "X-Forwarded-Host", "shop.example", "hop");
    assert_field(&b.request, "Forwarded", "for=10.0.0.1;host=\"shop.example\";proto=http", "hop");
    assert_field(&b.request, "Via", "1.0 cdn, 1.1 front", "hop");
    tear_down(&b);
}

static void an_ipv6_or_unix_peer_is_named_as_the_rfc_says(void **state)
{
    struct bench b;
    set_up(&b, "2001:db8::1");
    b.conf.forwarded = true;
    assert_int_equal(forwarding_apply(&b.x, &b.conf), 0);
    assert_int_equal(forwarding_add_hop(&b.x, &b.conf, &b.request), 0);
    assert_field(&b.request, "Forwarded", "for=\"[2001:db8::1]\";host=\"shop.example\";proto=http", "IPv6");
    tear_down(&b);
    set_up(&b, "unix:");
    b.conf.forwarded = b.conf.x_forwarded = true;
    assert_int_equal(forwarding_apply(&b.x, &b.conf), 0);
    assert_int_equal(forwarding_add_hop(&b.x, &b.conf, &b.request), 0);
    assert_field(&b.request, "Forwarded", "for=unknown;host=\"shop.example\";proto=http", "unix");
    assert_field(&b.request, "X-Forwarded-For", "unknown", "unix");
    tear_down(&b);
}

static void nothing_is_told_that_is_switched_off(void **state)
{
    struct bench b;
    set_up(&b, "1.2.3.4");
    b.conf.via = "off";
    assert_int_equal(forwarding_apply(&b.x, &b.conf), 0);
    assert_int_equal(forwarding_add_hop(&b.x, &b.conf, &b.request), 0);
    assert_field(&b.request, "X-Forwarded-For", NULL, "off");
    assert_field(&b.request, "Forwarded", NULL, "off");
    assert_field(&b.request, "Via", NULL, "off");
    tear_down(&b);
}

/* ---- the client's certificate ---- */

static const struct {
    const char *name, *value;
} told[] = {
    { "X-Client-Cert-Subject", "CN=caf\\C3\\A9\\0D\\0A" },
    { "X-Client-Cert-San", "DNS:a.example" },
    { "X-Client-Cert-Sha256", "00ff" },
    { "X-Client-Cert-Verify", "SUCCESS" },
};

static int every_part[] = { PART_CERTIFICATE, PART_CHAIN, PART_SUBJECT, PART_SANS, PART_SHA256, PART_VERIFY };

static void tell(struct bench *b)
{
    b->conf.client_certificate = (struct conf_list){ every_part, ARRAY_LEN(every_part) };
    assert_int_equal(forwarding_apply(&b->x, &b->conf), 0);
    assert_int_equal(forwarding_add_hop(&b->x, &b->conf, &b->request), 0);
}

static void a_proven_client_is_told_of_in_fields(void **state)
{
    static const char certificate[] = "\x30\x0f"
                                      "0123456789abcde",
                      chain[] = "\x30\x0e"
                                "0123456789abcd\x30\x10"
                                "0123456789abcdef";
    struct bench b;
    set_up(&b, "1.2.3.4");
    struct conn_facts facts = {
        .secure = true,
        .proof = PROOF_VERIFIED,
        .subject = SLICE("CN=caf\xc3\xa9\r\n"),
        .sans = SLICE("DNS:a.example"),
        .sha256 = SLICE("00ff"),
        .certificate = { certificate, sizeof(certificate) - 1 },
        .chain = { chain, sizeof(chain) - 1 },
    };
    b.down.facts = &facts;
    add(&b, "X-Client-Cert-Subject", "CN=root");
    tell(&b);
    for (size_t i = 0; i < ARRAY_LEN(told); i++)
        assert_field(&b.request, told[i].name, told[i].value, "told");
    assert_field(&b.request, "Client-Cert", ":MA8wMTIzNDU2Nzg5YWJjZGU=:", "RFC 9440");
    assert_field(&b.request, "Client-Cert-Chain", ":MA4wMTIzNDU2Nzg5YWJjZA==:, :MBAwMTIzNDU2Nzg5YWJjZGVm:", "RFC 9440");
    tear_down(&b);
}

static void what_a_client_says_of_its_certificate_is_removed(void **state)
{
    static const char *const names[] = { "Client-Cert",       "client-cert-chain",    "X-Client-Cert-Subject",
                                         "x_client_cert_san", "X-CLIENT-CERT_SHA256", "X-Client-Cert-Verify" };
    for (int trusted = 0; trusted < 2; trusted++) {
        struct bench b;
        set_up(&b, trusted ? "10.0.0.1" : "1.2.3.4");
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            add(&b, names[i], "SUCCESS");
        tell(&b);
        for (size_t i = 0; i + 1 < ARRAY_LEN(names); i++)
            assert_field(&b.request, names[i], NULL, "said by the client");
        assert_field(&b.request, "X-Client-Cert-Verify", "NONE", "said by us");
        tear_down(&b);
    }
}

static void without_the_option_these_fields_are_the_clients_own(void **state)
{
    struct bench b;
    set_up(&b, "1.2.3.4");
    add(&b, "Client-Cert", ":MA8=:");
    assert_int_equal(forwarding_apply(&b.x, &b.conf), 0);
    assert_int_equal(forwarding_add_hop(&b.x, &b.conf, &b.request), 0);
    assert_field(&b.request, "Client-Cert", ":MA8=:", "off");
    assert_field(&b.request, "X-Client-Cert-Verify", NULL, "off");
    tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_client_is_the_right_most_hop_that_is_not_trusted),
        cmocka_unit_test(lines_of_a_list_are_one_list),
        cmocka_unit_test(a_longer_way_than_anyone_takes_is_not_believed),
        cmocka_unit_test(an_untrusted_peer_says_nothing_of_scheme_and_host_either),
        cmocka_unit_test(our_hop_is_put_behind_those_that_are_believed),
        cmocka_unit_test(an_ipv6_or_unix_peer_is_named_as_the_rfc_says),
        cmocka_unit_test(nothing_is_told_that_is_switched_off),
        cmocka_unit_test(a_proven_client_is_told_of_in_fields),
        cmocka_unit_test(what_a_client_says_of_its_certificate_is_removed),
        cmocka_unit_test(without_the_option_these_fields_are_the_clients_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
