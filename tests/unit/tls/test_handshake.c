/* What both ends agree on, which certificate is shown, and what is told of a handshake that fails. */
#include <errno.h>
#include <unistd.h>

#include "pair.h"

static void both_ends_agree_and_know_what_on(void **state)
{
    struct pair p;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a"), c = client_settings();
    struct tls_layer *server = server_layer(0, &s), *client = client_layer(1, &c, "a.example");
    pair_connect(&p, server, client);
    assert_int_equal(p.server.established, 0);
    assert_int_equal(p.client.established, 0);
    for (int i = 0; i < 2; i++) {
        const struct conn_facts *f = i ? p.client.t.facts : p.server.t.facts;
        assert_true(f->secure);
        assert_false(f->resumed);
        assert_true(text_is(f->version, "TLSv1.3"));
        assert_true(text_is(f->cipher, "TLS_AES_128_GCM_SHA256"));
        assert_true(text_is(f->alpn, "h2"));
    }
    assert_true(text_is(p.server.t.facts->sni, "a.example"));
    pair_say(&p.client.t, &p.server.t, "hello");
    pair_say(&p.server.t, &p.client.t, "good day");
    pair_close(&p);
    tls_layer_drop(server);
    tls_layer_drop(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_ends_agree_and_know_what_on, pair_set_up, pair_tear_down),
    };
    return cmocka_run_group_tests(tests, certificates_begin, certificates_end);
}
