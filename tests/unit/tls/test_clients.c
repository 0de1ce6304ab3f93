/* Client certificates: required, optional, by rule, and what is known of who came. */
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "pair.h"
#include "tls/worker.h"

static struct tls_settings asking(enum tls_client_certificate mode)
{
    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a");
    s.client_certificate = mode;
    s.ca_file = certificate_path("ca", ".pem");
    return s;
}

/* A client with that certificate, or with none; connects once. */
static void come(struct pair *p, const struct tls_settings *s, const char *name, enum tls_version version)
{
    struct tls_files files = { .certificate = name ? certificate_path(name, ".pem") : NULL,
                               .key = name ? certificate_path(name, ".key") : NULL };
    struct tls_settings c = client_settings();

    c.certificates = &files;
    c.certificate_count = name ? 1 : 0;
    c.version_max = version;
    struct tls_layer *server = server_layer(0, s), *client = client_layer(1, &c, "a.example");
    pair_connect(p, server, client);
    tls_layer_drop(server);
    tls_layer_drop(client);
}

static void who_came_is_known(void **state)
{
    struct pair p;

    certificate_make("user", "ec", "DNS:one.example,URI:spiffe://x/y,email:a@b.example", NULL);
    struct tls_settings s = asking(TLS_CERTIFICATE_REQUIRED);
    s.keep_certificate = TLS_KEEP_CERTIFICATE;
    come(&p, &s, "user", TLS_VERSION_1_3);
    const struct conn_facts *f = p.server.t.facts;
    assert_int_equal(f->proof, PROOF_VERIFIED);
    assert_true(text_is(f->subject, "CN=user,O=Test"));
    assert_true(text_is(f->issuer, "CN=ca,O=Test"));
    assert_true(text_is(f->sans, "DNS:one.example,URI:spiffe://x/y,email:a@b.example"));
    assert_int_equal(f->sha256.len, 64);
    assert_true(f->serial.len >= 2 && f->serial.len % 2 == 0);
    assert_true(f->certificate.len > 200);
    assert_int_equal((unsigned char)f->certificate.at[0], 0x30);
    pair_close(&p);
}

static void a_long_name_is_cut_between_its_parts_or_its_characters(void **state)
{
    static const struct {
        const char *name;
        size_t len_max, kept;
    } cases[] = {
        { "CN=a,O=b", 8, 8 },
        { "CN=a,O=b", 7, 4 },
        { "CN=a,O=b,C=c", 9, 8 },
        { "CN=a\\,b,O=b", 8, 7 }, /* the escaped comma is none */
        { "CN=a\\,b,O=b", 5, 4 },
        { "CN=\\C3\\A4\\C3\\A4", 8, 3 },
        { "CN=\\C3\\A4\\C3\\A4", 9, 9 },
        { "CN=abcdef", 5, 5 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(tls_name_cut(slice_from(cases[i].name), cases[i].len_max), cases[i].kept);
}

static void clients_that_have_shown_a_chain_that_is_wanted_are_not_resumed(void **state)
{
    struct pair p;

    certificate_make("user", "ec", "DNS:one.example,URI:spiffe://x/y,email:a@b.example", NULL);
    for (enum tls_version version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++)
        for (enum tls_keep keep = TLS_KEEP_TEXTS; keep <= TLS_KEEP_CHAIN; keep++) {
            struct tls_settings s = asking(TLS_CERTIFICATE_OPTIONAL), c = client_settings();
            char key[128], path[128];
            (void)snprintf(key, sizeof(key), "%s", certificate_path("user", ".key"));
            (void)snprintf(path, sizeof(path), "%s", certificate_path("user", ".pem"));
            const struct tls_files own = { .certificate = path, .key = key };
            c.certificates = &own;
            c.certificate_count = 1;
            c.version_max = version;
            s.keep_certificate = keep;
            struct tls_layer *server = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
            for (int round = 0; round < 2; round++) {
                pair_connect(&p, server, client);
                pair_say(&p.server.t, &p.client.t, "with the ticket");
                assert_int_equal(p.server.t.facts->resumed, round == 1 && keep != TLS_KEEP_CHAIN);
                assert_true(text_is(p.server.t.facts->subject, "CN=user,O=Test"));
                assert_int_equal(atomic_load(&tls_worker_counters(workers[0])->open[TLS_SERVER][version - 1]), 1);
                pair_close(&p);
                assert_int_equal(atomic_load(&tls_worker_counters(workers[0])->open[TLS_SERVER][version - 1]), 0);
            }
            tls_layer_drop(server);
            tls_layer_drop(client);
        }
}

static void none_is_refused_when_required_and_taken_when_optional(void **state)
{
    struct pair p;

    for (enum tls_version version = TLS_VERSION_1_2; version <= TLS_VERSION_1_3; version++) {
        struct tls_settings s = asking(TLS_CERTIFICATE_REQUIRED);
        come(&p, &s, NULL, version);
        assert_int_equal(p.server.established, -ERR_CERTIFICATE_REQUIRED);
        pair_close(&p);
        s = asking(TLS_CERTIFICATE_OPTIONAL);
        come(&p, &s, NULL, version);
        assert_int_equal(p.server.established, 0);
        assert_int_equal(p.server.t.facts->proof, PROOF_NONE);
        assert_int_equal(p.server.t.facts->subject.len, 0);
        pair_close(&p);
    }
}

static void a_bad_one_is_refused_even_when_optional(void **state)
{
    struct pair p;

    certificate_make("foreign", "ec", "DNS:one.example", "other-ca");
    certificate_make_expired("bygone", "DNS:one.example");
    for (enum tls_client_certificate mode = TLS_CERTIFICATE_OPTIONAL; mode <= TLS_CERTIFICATE_REQUIRED; mode++) {
        struct tls_settings s = asking(mode);
        come(&p, &s, "foreign", TLS_VERSION_1_2);
        assert_int_equal(p.server.established, -ERR_CERTIFICATE_REFUSED);
        assert_int_equal(p.server.reason, TLS_REASON_AUTHORITY);
        assert_string_equal(p.client.failure, "unknown CA");
        pair_close(&p);
        come(&p, &s, "bygone", TLS_VERSION_1_2);
        assert_int_equal(p.server.reason, TLS_REASON_EXPIRED);
        assert_string_equal(p.client.failure, "certificate expired");
        pair_close(&p);
    }
}

static void rules_for_names_decide(void **state)
{
    static const struct {
        const char *rule;
        bool fits;
    } cases[] = {
        { "DNS:one.example", true },    { "DNS:ONE.example", true },    { "DNS:*.example", true },
        { "DNS:*.one.example", false }, { "DNS:two.example", false },   { "URI:spiffe://x/y", true },
        { "URI:spiffe://x/*", true },   { "URI:spiffe://x/", false },   { "URI:spiffe://X/y", false },
        { "email:a@b.example", true },  { "email:a@B.EXAMPLE", true },  { "email:*@b.example", true },
        { "email:A@b.example", false }, { "email:*@c.example", false }, { "DNS:spiffe", false },
    };
    struct pair p;

    certificate_make("user", "ec", "DNS:one.example,URI:spiffe://x/y,email:a@b.example", NULL);
    struct tls_settings s = asking(TLS_CERTIFICATE_REQUIRED);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        s.allowed_names = (struct tls_texts){ &cases[i].rule, 1 };
        come(&p, &s, "user", TLS_VERSION_1_3);
        if ((p.server.established == 0) != cases[i].fits)
            fail_msg("%s: %d %s", cases[i].rule, p.server.established, p.server.failure);
        if (!cases[i].fits) {
            assert_int_equal(p.server.established, -ERR_CERTIFICATE_REFUSED);
            assert_int_equal(p.server.reason, TLS_REASON_NOT_ALLOWED);
        }
        pair_close(&p);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_came_is_known),
        TEST(a_long_name_is_cut_between_its_parts_or_its_characters),
        TEST(clients_that_have_shown_a_chain_that_is_wanted_are_not_resumed),
        TEST(none_is_refused_when_required_and_taken_when_optional),
        TEST(a_bad_one_is_refused_even_when_optional),
        TEST(rules_for_names_decide),
    };
    return cmocka_run_group_tests(tests, certificates_begin, certificates_end);
}
