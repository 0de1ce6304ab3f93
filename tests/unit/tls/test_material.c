/* What is said of files that are missing, malformed or do not fit, and what stays the same when nothing has changed. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "pair.h"

static int load(const struct tls_settings *settings, struct tls_material **ret_material)
{
    reports[0] = '\0';
    return tls_material_load(settings, &reporter, ret_material);
}

static void refuse_files(const char *certificate, const char *key, const char *expected)
{
    struct tls_files files = { .certificate = certificate, .key = key };
    const struct tls_settings s = { .role = TLS_SERVER, .certificates = &files, .certificate_count = 1 };
    struct tls_material *material;

    assert_int_equal(load(&s, &material), -ERR_SYSTEM);
    if (strncmp(reports, "error: ", 7) != 0 || !strstr(reports, expected))
        fail_msg("`%s` is not in: %s", expected, reports);
}

static void each_problem_of_a_file_has_words_of_its_own(void **state)
{
    char command[600];

    certificate_make("a", "ec", "DNS:a.example", NULL);
    certificate_make("b", "ec", "DNS:b.example,DNS:exact.wild.example", NULL);
    const char *a = certificate_path("a", ".pem"), *key = certificate_path("a", ".key");
    const char *junk = certificate_path("junk", ".pem"), *locked = certificate_path("locked", ".key");
    const char *broken = certificate_path("broken", ".pem"), *empty = certificate_path("empty", ".pem");
    file_write(junk, "this is no PEM\n");
    file_write(empty, "");
    file_write(broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    (void)snprintf(command, sizeof(command), "openssl pkey -in %s -aes128 -passout pass:secret -out %s", key, locked);
    assert_int_equal(system(command), 0);
    refuse_files("/nowhere/x.pem", key,
                 "/nowhere/x.pem: there is no such file; paths are relative to the configuration's folder");
    refuse_files(a, "/nowhere/x.key",
                 "/nowhere/x.key: there is no such file; paths are relative to the configuration's folder");
    refuse_files(junk, key, "there is no certificate in PEM form");
    refuse_files(empty, key, "the file is empty");
    refuse_files(broken, key, "the certificate is malformed");
    refuse_files(a, junk, "there is no private key in PEM form");
    refuse_files(a, locked, "encrypted with a passphrase");
    refuse_files(a, certificate_path("b", ".key"), "does not belong to the certificate");
    refuse_files("/", key, "/: cannot be read");
    assert_null(strstr(reports, "PRIVATE"));
}

static void all_problems_are_told_at_once(void **state)
{
    static const char *const rules[] = { "one.example" };
    struct tls_files files[] = { { .certificate = "/nowhere/1" }, { .certificate = "/nowhere/2" } };
    const struct tls_settings s = { .role = TLS_SERVER,
                                    .certificates = files,
                                    .certificate_count = 2,
                                    .ciphers = "NONSENSE",
                                    .ciphersuites = "NONSENSE",
                                    .curves = "NONSENSE",
                                    .client_certificate = TLS_CERTIFICATE_REQUIRED,
                                    .allowed_names = { rules, 1 } };
    struct tls_material *material;
    int lines = 0;

    assert_int_equal(load(&s, &material), -ERR_SYSTEM);
    for (const char *at = reports; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 7);
}

static void an_expired_certificate_is_a_warning(void **state)
{
    struct tls_material *material;

    certificate_make_expired("old", "DNS:a.example");
    struct tls_settings s = server_settings("old");
    assert_int_equal(load(&s, &material), 0);
    assert_non_null(strstr(reports, "warning: "));
    assert_non_null(strstr(reports, "has expired"));
    tls_material_drop(material);
}

static void certificates_and_what_they_are_for_can_be_listed(void **state)
{
    struct tls_certificate_info info;
    struct tls_material *material;

    certificate_make("both-rsa", "rsa", "DNS:both.example", NULL);
    certificate_make("b", "ec", "DNS:b.example,DNS:exact.wild.example", NULL);
    struct tls_settings s = server_settings("both-rsa b");
    assert_int_equal(load(&s, &material), 0);
    assert_string_equal(reports, "");
    assert_true(tls_material_certificate(material, 1, &info));
    assert_string_equal(info.key_type, "ECDSA");
    assert_int_equal(info.names.count, 2);
    assert_string_equal(info.names.at[1], "exact.wild.example");
    assert_string_equal(info.subject, "CN=b,O=Test");
    assert_true(info.not_after_s > 1600000000);
    assert_true(tls_material_certificate(material, 0, &info));
    assert_string_equal(info.key_type, "RSA");
    assert_false(tls_material_certificate(material, 2, &info));
    tls_material_drop(material);
}

static void a_fingerprint_changes_with_contents_and_settings_alone(void **state)
{
    struct tls_material *one, *same, *other;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    certificate_make("b", "ec", "DNS:b.example,DNS:exact.wild.example", NULL);
    struct tls_settings s = server_settings("a");
    assert_int_equal(load(&s, &one), 0);
    assert_int_equal(load(&s, &same), 0);
    assert_memory_equal(tls_material_fingerprint(one), tls_material_fingerprint(same), 32);
    s.alpn.count = 1;
    assert_int_equal(load(&s, &other), 0);
    assert_memory_not_equal(tls_material_fingerprint(one), tls_material_fingerprint(other), 32);
    tls_material_drop(other);
    s = server_settings("b");
    assert_int_equal(load(&s, &other), 0);
    assert_memory_not_equal(tls_material_fingerprint(one), tls_material_fingerprint(other), 32);
    tls_material_drop(other);
    tls_material_drop(one);
    tls_material_drop(same);
}

static void a_name_that_two_certificates_have_is_the_first_ones(void **state)
{
    struct tls_material *material;

    certificate_make("a", "ec", "DNS:a.example", NULL);
    certificate_make("a2", "ec", "DNS:a.example", NULL);
    struct tls_settings s = server_settings("a a2");
    assert_int_equal(load(&s, &material), 0);
    assert_non_null(strstr(reports, "warning: "));
    assert_non_null(strstr(reports, "a2.pem: the name `a.example` is served by"));
    tls_material_drop(material);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_problem_of_a_file_has_words_of_its_own),
        TEST(all_problems_are_told_at_once),
        TEST(an_expired_certificate_is_a_warning),
        TEST(certificates_and_what_they_are_for_can_be_listed),
        TEST(a_fingerprint_changes_with_contents_and_settings_alone),
        TEST(a_name_that_two_certificates_have_is_the_first_ones),
    };
    return cmocka_run_group_tests(tests, certificates_begin, certificates_end);
}
