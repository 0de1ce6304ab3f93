/* Resumption: across workers, after a reload, with other keys, and never past a rule. */
#include <unistd.h>

#include "base/memory.h"
#include "pair.h"

/* The ticket comes with the server's first bytes. */
static bool resumed_after_talk(struct tls_layer *server, struct tls_layer *client)
{
    struct pair p;

    pair_connect(&p, server, client);
    assert_int_equal(p.server.established, 0);
    assert_int_equal(p.client.established, 0);
    pair_say(&p.client.t, &p.server.t, "hello");
    pair_say(&p.server.t, &p.client.t, "good day");
    bool resumed = p.server.t.facts->resumed;
    assert_int_equal(p.client.t.facts->resumed, resumed);
    pair_close(&p);
    return resumed;
}

static void resume_on_two_workers(enum tls_version version)
{
    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    c.version_max = version;
    struct tls_layer *one = server_layer(0, &s), *two = server_layer(1, &s), *client = client_layer(1, &c, "a.example");
    assert_false(resumed_after_talk(one, client));
    assert_true(resumed_after_talk(two, client));
    assert_true(resumed_after_talk(one, client));
    assert_int_equal(tls_worker_counters(workers[1])->handshakes[TLS_SERVER][version == TLS_VERSION_1_3][1], 1);
    tls_layer_drop(one);
    tls_layer_drop(two);
    tls_layer_drop(client);
}

static void a_session_of_1_3_goes_on_at_another_worker(void **state)
{
    resume_on_two_workers(TLS_VERSION_1_3);
}

static void a_session_of_1_2_goes_on_at_another_worker(void **state)
{
    resume_on_two_workers(TLS_VERSION_1_2);
}

static struct tls_context *context_of(const struct tls_settings *settings, int worker)
{
    struct tls_material *material;
    struct tls_context *context;

    assert_int_equal(tls_material_load(settings, &reporter, &material), 0);
    assert_int_equal(tls_context_new(workers[worker], material, &context), 0);
    tls_material_drop(material);
    return context;
}

static void renewed_certificates_serve_at_once_and_sessions_go_on(void **state)
{
    struct pair open;

    certificate_make("first", "ec", "DNS:a.example", NULL);
    certificate_make("renewed", "ec", "DNS:a.example", "other-ca");
    struct tls_settings s = server_settings("first"), c = client_settings();
    struct tls_layer *server = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
    pair_connect(&open, server, client);
    pair_say(&open.server.t, &open.client.t, "before");
    s = server_settings("renewed");
    struct tls_context *renewed = context_of(&s, 0);
    tls_layer_use(server, renewed);
    tls_context_drop(renewed);
    pair_say(&open.client.t, &open.server.t, "the old connection stays");
    pair_close(&open);
    assert_true(resumed_after_talk(server, client));
    /* Whoever does not resume sees the new one. */
    struct tls_settings fresh = client_settings();
    fresh.ca_file = certificate_path("other-ca", ".pem");
    struct tls_layer *other = client_layer(1, &fresh, "a.example");
    assert_false(resumed_after_talk(server, other));
    tls_layer_drop(server);
    tls_layer_drop(client);
    tls_layer_drop(other);
}

static void a_session_is_bound_to_the_names_of_its_server(void **state)
{
    certificate_make("a", "ec", "DNS:a.example", NULL);
    certificate_make("ab", "ec", "DNS:a.example,DNS:b.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    struct tls_layer *one = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
    s = server_settings("ab");
    struct tls_layer *two = server_layer(0, &s);
    assert_false(resumed_after_talk(one, client));
    assert_false(resumed_after_talk(two, client));
    assert_true(resumed_after_talk(two, client));
    tls_layer_drop(one);
    tls_layer_drop(two);
    tls_layer_drop(client);
}

static void a_session_does_not_pass_a_rule_for_clients(void **state)
{
    static const char *const rules[] = { "DNS:*.clients.example" };

    certificate_make("a", "ec", "DNS:a.example", NULL);
    certificate_make("user", "ec", "DNS:one.clients.example", NULL);
    struct tls_files files = { .certificate = certificate_path("user", ".pem"),
                               .key = certificate_path("user", ".key") };
    struct tls_settings s = server_settings("a"), c = client_settings();
    c.certificates = &files;
    c.certificate_count = 1;
    struct tls_layer *open = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
    s.client_certificate = TLS_CERTIFICATE_REQUIRED;
    s.ca_file = certificate_path("ca", ".pem");
    struct tls_layer *required = server_layer(0, &s);
    s.allowed_names = (struct tls_texts){ rules, 1 };
    struct tls_layer *ruled = server_layer(0, &s);
    assert_false(resumed_after_talk(open, client));
    assert_false(resumed_after_talk(required, client));
    assert_true(resumed_after_talk(required, client));
    assert_false(resumed_after_talk(ruled, client));
    assert_true(resumed_after_talk(ruled, client));
    tls_layer_drop(open);
    tls_layer_drop(required);
    tls_layer_drop(ruled);
    tls_layer_drop(client);
}

static void a_client_forgets_its_session_when_its_trust_changes(void **state)
{
    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    struct tls_layer *server = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
    assert_false(resumed_after_talk(server, client));
    struct tls_context *context = context_of(&c, 1);
    tls_layer_use(client, context);
    tls_context_drop(context);
    assert_false(resumed_after_talk(server, client));
    tls_layer_drop(server);
    tls_layer_drop(client);
}

static void without_tickets_nothing_is_resumed(void **state)
{
    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    s.no_tickets = true;
    struct tls_layer *server = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
    assert_false(resumed_after_talk(server, client));
    assert_false(resumed_after_talk(server, client));
    c.version_max = TLS_VERSION_1_2;
    struct tls_layer *old = client_layer(1, &c, "a.example");
    assert_false(resumed_after_talk(server, old));
    assert_false(resumed_after_talk(server, old));
    tls_layer_drop(server);
    tls_layer_drop(client);
    tls_layer_drop(old);
}

static void keys_rotate_and_old_ones_open_tickets_for_a_while(void **state)
{
    const struct tls_ticket_settings hourly = { .rotate_s = 3600, .accept_s = 3600 };
    uint64_t now_ms = loop.now_ms;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    struct tls_layer *server = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
    assert_int_equal(tls_tickets_use(&hourly, &reporter), 0);
    (void)tls_tickets_rotate(now_ms += 3700 * 1000);
    assert_false(resumed_after_talk(server, client));
    (void)tls_tickets_rotate(now_ms + 10 * 1000); /* not yet */
    assert_true(resumed_after_talk(server, client));
    (void)tls_tickets_rotate(now_ms += 3700 * 1000);
    assert_true(resumed_after_talk(server, client)); /* with the old key; and a ticket of the new one */
    (void)tls_tickets_rotate(now_ms += 3700 * 1000);
    assert_true(resumed_after_talk(server, client));
    (void)tls_tickets_rotate(now_ms += 3700 * 1000);
    (void)tls_tickets_rotate(now_ms += 3700 * 1000);
    assert_false(resumed_after_talk(server, client));
    assert_int_equal(tls_tickets_use(&hourly, &reporter), 0); /* a reload keeps them */
    assert_true(resumed_after_talk(server, client));
    tls_layer_drop(server);
    tls_layer_drop(client);
}

static void key_files_are_shared_and_bad_ones_change_nothing(void **state)
{
    static const char *paths[2];
    char text[81];

    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    struct tls_layer *server = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
    paths[0] = certificate_path("one", ".ticket");
    paths[1] = certificate_path("two", ".ticket");
    for (int i = 0; i < 2; i++) {
        memset(text, 'a' + i, 80);
        text[80] = '\0';
        file_write(paths[i], text);
    }
    const struct tls_ticket_settings first = { .key_files = { paths, 1 } };
    const struct tls_ticket_settings second = { .key_files = { paths + 1, 1 } };
    const struct tls_ticket_settings both = { .key_files = { paths, 2 } };
    assert_int_equal(tls_tickets_use(&second, &reporter), 0);
    assert_false(resumed_after_talk(server, client));
    assert_int_equal(tls_tickets_use(&both, &reporter), 0);
    assert_true(resumed_after_talk(server, client));
    assert_int_equal(tls_tickets_use(&second, &reporter), 0);
    assert_false(resumed_after_talk(server, client));
    file_write(paths[0], "too short");
    assert_int_equal(tls_tickets_use(&first, &reporter), -ERR_SYSTEM);
    assert_non_null(strstr(reports, "80 bytes, this one has 9"));
    assert_true(resumed_after_talk(server, client));
    assert_int_equal(tls_tickets_use(&(struct tls_ticket_settings){ 0 }, &reporter), 0);
    tls_layer_drop(server);
    tls_layer_drop(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_session_of_1_3_goes_on_at_another_worker),
        TEST(a_session_of_1_2_goes_on_at_another_worker),
        TEST(renewed_certificates_serve_at_once_and_sessions_go_on),
        TEST(a_session_is_bound_to_the_names_of_its_server),
        TEST(a_session_does_not_pass_a_rule_for_clients),
        TEST(a_client_forgets_its_session_when_its_trust_changes),
        TEST(without_tickets_nothing_is_resumed),
        TEST(keys_rotate_and_old_ones_open_tickets_for_a_while),
        TEST(key_files_are_shared_and_bad_ones_change_nothing),
    };
    return cmocka_run_group_tests(tests, certificates_begin, certificates_end);
}
